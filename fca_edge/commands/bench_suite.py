"""The networks that `fca-edge bench` measures when no artefact is named."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from fca_edge.commands.shared import ERR, steps
from fca_edge.errors import INSTALL_ALL, FcaEdgeError
from fca_edge.measure.jobs import SUITES, Job, job_for
from fca_edge.runtimes import RUNTIMES
from fca_edge.zoo.specs import ZOO


def suite_jobs(suite: str, out: Path, runtime: str | None, on_target: Collection[str]) -> list[Job]:
    """Return the jobs of a suite that a runtime can do, exporting what is not there.

    Raises:
        FcaEdgeError: a file in the suite's folder is of another size than the zoo's.
    """
    names = {variant: ZOO[variant].name for variant in SUITES[suite]}
    missing = [v for v, name in names.items() if not all(there(out, name))]
    if missing:
        export_missing(missing, out)
    names_there = on_target if runtime is None else (runtime,)
    wanted = dict.fromkeys(RUNTIMES[name].suffix for name in RUNTIMES if name in names_there)
    files = [out / f"{name}-fp32{suffix}" for name in names.values() for suffix in wanted]
    jobs = [job_for(path, runtime, on_target) for path in files]
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
            raise FcaEdgeError(
                f"{out} lacks artefacts of {', '.join(variants)}, and exporting needs torch:"
                f" {INSTALL_ALL}, or name ARTEFACTs."
            ) from None

        for variant in variants:

            def tell(text: str, variant: str = variant) -> None:
                report(f"{variant}: {text}")

            wanted: Any = Wanted(variant, None, None, None, None)
            run_export(Request(wanted, out, force=True), tell)
    ERR.print(f"exported {', '.join(variants)} with random weights to {out}")
