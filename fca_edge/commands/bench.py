"""`fca-edge bench`: latency and memory, with provenance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fca_edge.commands.bench_table import bench_table, footer
from fca_edge.commands.shared import (
    ERR,
    FILE,
    FOLDER,
    OUT,
    claim_json,
    counted,
    force_option,
    json_option,
    put_json,
    steps,
)
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.harness.plan import SUITES, Job, job_for
from fca_edge.harness.run import process_count, run_jobs
from fca_edge.harness.runtimes import RUNTIMES
from fca_edge.harness.targets.resolve import resolve
from fca_edge.records import Plan, to_document
from fca_edge.zoo.specs import ZOO


@click.command()
@click.argument("artefacts", nargs=-1, type=FILE)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--target", default="local", show_default=True, help="Where to measure: local, or arm."
)
@click.option(
    "--runs", type=click.IntRange(min=1), default=20, show_default=True, help="Samples a process."
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Fresh processes a model.",
)
@click.option("--warmup", type=click.IntRange(min=0), default=5, show_default=True)
@click.option("--runtime", type=click.Choice(list(RUNTIMES)), help="Instead of each file's own.")
@click.option(
    "--suite",
    type=click.Choice(list(SUITES)),
    help="Networks to measure besides ARTEFACTs; standard where there are none.",
)
@click.option(
    "--out",
    type=FOLDER,
    default=Path("models/out/suite"),
    show_default=True,
    help="Where the suite's artefacts are.",
)
@force_option
@json_option
def command(
    artefacts: tuple[Path, ...],
    threads: int,
    target: str,
    runs: int,
    processes: int,
    warmup: int,
    runtime: str | None,
    suite: str | None,
    out: Path,
    force: bool,
    json_file: Path | None,
) -> None:
    """Measure latency and peak memory of artefacts, interleaved in fresh processes.

    Without ARTEFACTs a suite of networks is measured; what is missing of it is exported
    first, with random weights.

    \b
    Examples:
      fca-edge bench --threads 4 --target local
      fca-edge bench models/out/*.tflite --runs 50 --json records.json
      fca-edge bench --suite quick --threads 1
    """
    claim_json(json_file, force)
    place = resolve(target)
    try:
        jobs = [job_for(path, runtime) for path in artefacts]
        if suite is not None or not jobs:
            jobs += suite_jobs(suite or "standard", out, runtime)
        plan = Plan(threads, 1, warmup, runs, processes)
        with counted(process_count(jobs, plan)) as step:
            records = run_jobs(jobs, plan, place, step)
    finally:
        place.close()
    if not put_json(to_document(records), json_file, force):
        OUT.print(bench_table(records))
        for line in footer(records):
            OUT.print(line, style="dim")


def suite_jobs(suite: str, out: Path, runtime: str | None) -> list[Job]:
    """Return the jobs of a suite that a runtime can do, exporting what is not there.

    Raises:
        FcaEdgeError: a file in the suite's folder is of another size than the zoo's.
    """
    names = {variant: ZOO[variant].name for variant in SUITES[suite]}
    missing = [v for v, name in names.items() if not all(there(out, name))]
    if missing:
        export_missing(missing, out)
    wanted = (".onnx", ".tflite") if runtime is None else (RUNTIMES[runtime].suffix,)
    files = [out / f"{name}-fp32{suffix}" for name in names.values() for suffix in wanted]
    jobs = [job_for(path, runtime) for path in files]
    for job in jobs:
        spec = ZOO[job.artefact.variant]
        if (job.artefact.img_size, job.artefact.num_classes) != (spec.img_size, spec.num_classes):
            raise FcaEdgeError(
                f"{job.path}: not of the suite's size; remove it or choose another --out."
            )
    return jobs


def there(out: Path, name: str) -> list[bool]:
    """Tell which files of a network are in the folder with their manifests."""
    files = [out / f"{name}-fp32{suffix}" for suffix in (".onnx", ".tflite")]
    return [file.is_file() and Path(f"{file}.json").is_file() for file in files]


def export_missing(variants: list[str], out: Path) -> None:
    """Export networks with random weights, one after the other."""
    with steps() as report:
        report("importing torch")
        try:
            from fca_edge.export.pipeline import run_export
            from fca_edge.export.plan import Request
            from fca_edge.export.source import Wanted
        except ModuleNotFoundError:
            raise UsageError(
                f"{out} lacks artefacts of {', '.join(variants)}, and exporting needs torch:"
                " run `pip install 'fca-edge[export]'`, or name ARTEFACTs."
            ) from None

        for variant in variants:

            def tell(text: str, variant: str = variant) -> None:
                report(f"{variant}: {text}")

            wanted: Any = Wanted(variant, None, None, None, None)
            run_export(Request(wanted, out, force=True), tell)
    ERR.print(f"exported {', '.join(variants)} with random weights to {out}")
