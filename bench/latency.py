"""Ours against the plain torch.onnx export on ONNX Runtime, 1 thread, one interleaved run.

    python bench/latency.py [--threads 1] [--json FILE] [VARIANT ...]

With FCA_EDGE_LITERT_TORCH naming the Python of an environment that has litert-torch,
its file of the same network is measured in the same run. Ratios are process by process.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from fca_edge.commands.bench_table import bench_sheet, footer
from fca_edge.commands.shared import counted, put_json, table
from fca_edge.commands.tables import Notes, print_sheets, say
from fca_edge.export.pipeline import run_export
from fca_edge.export.plan import Request
from fca_edge.export.source import Wanted
from fca_edge.measure.jobs import Job, job_for
from fca_edge.measure.session import process_count, run_jobs
from fca_edge.records import Plan, Record, to_document
from fca_edge.stats import ratio
from fca_edge.targets.local import LocalTarget
from fca_edge.zoo.specs import ZOO

HERE = Path(__file__).parent
OUT = HERE / "out" / "latency"
VARIANTS = ("l1", "l2", "convnext_tiny", "swin_tiny")
# Largest ratio of our TFLite file's latency that the project promises, at 1 thread.
BOUNDS = {
    "fcaformer_l1-fp32-plain.onnx": 0.95,
    "fcaformer_l1-litert-torch-plain.tflite": 0.75,
}
PEER = "FCA_EDGE_LITERT_TORCH"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", default=VARIANTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    jobs = [job for variant in arguments.variants for job in jobs_of(variant)]
    plan = Plan(arguments.threads, 1, warmups=5, iterations=20, processes=7)
    target = LocalTarget()
    with counted(process_count(jobs, plan, target)) as step:
        outcome = run_jobs(jobs, plan, target, step)
    for job, error in outcome.failures:
        sys.exit(f"{job.artefact.file}: {error}")
    records = outcome.records
    console = Console(width=150)
    notes = Notes()
    print_sheets([bench_sheet(records, notes)], wide=True)
    for line in (*footer(records), *notes.lines()):
        say(line)
    put_json(to_document(records), arguments.json, force=True)
    missed = []
    for variant in arguments.variants:
        found = ratios(
            console, variant, [r for r in records if name_of(variant) in r.artefact.file]
        )
        missed += [n for n, bound in BOUNDS.items() if n in found and found[n] > bound]
    if missed:
        sys.exit(f"missed against {', '.join(missed)}")


def name_of(variant: str) -> str:
    return ZOO[variant].name


def jobs_of(variant: str) -> list[Job]:
    """Export the files of a network: plain ONNX, folded ONNX, TFLite modern, and the peer's."""
    wanted = Wanted(variant, None, None, None, None)
    files = [item.path for item in run_export(Request(wanted, OUT, force=True), print)]
    plain = Request(wanted, OUT, ("onnx",), fold=False, force=True)
    files += [item.path for item in run_export(plain, print)]
    if PEER in os.environ and variant == "l1":
        files += peers_of(variant)
    return [job_for(path) for path in files]


def peers_of(variant: str) -> list[Path]:
    """Let litert-torch convert the same network: as it is, folded, and folded and split.

    A form that it cannot convert is named and left out.
    """
    made = []
    for form in ("plain", "folded", "split"):
        path = OUT / f"{name_of(variant)}-litert-torch-{form}.tflite"
        script = HERE / "peers" / "convert_litert_torch.py"
        command = [os.environ[PEER], str(script), variant, str(path), form]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            print(f"litert-torch, {form}: {done.stderr.strip().splitlines()[-1]}")
        else:
            made.append(path)
    return made


def ratios(console: Console, variant: str, records: list[Record]) -> dict[str, float]:
    """Print and return our TFLite file's latency over each other file's."""
    found = {}
    ours = next(r for r in records if r.artefact.file == f"{name_of(variant)}-fp32.tflite")
    made = table(f"{ours.artefact.file} over", "ratio", "interval")
    for other in records:
        if other is not ours:
            middle, low, high = ratio(ours, other)
            found[other.artefact.file] = middle
            interval = "" if low is None or high is None else f"{low:.3f}–{high:.3f}"
            made.add_row(other.artefact.file, f"{middle:.3f}", interval)
    console.print(made)
    return found


if __name__ == "__main__":
    main()
