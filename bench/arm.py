"""What is promised of emulated ARM, for FcaFormer-L1: instructions and agreement.

    python bench/arm.py [VARIANT]

Instructions of one inference at 1 thread, three processes each, on every emulated core, plain
and folded, ONNX and TFLite; then how close the logits are to those of this machine, at 1 and at 4
threads. Exits with 1 where a bound of the design is missed.
"""

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from fca_edge.commands.bench_table import hot_sheet
from fca_edge.commands.shared import table
from fca_edge.commands.tables import print_sheets
from fca_edge.measure.agreement import check_agreement
from fca_edge.measure.jobs import Job, job_for
from fca_edge.measure.record import JobEvents, build_record
from fca_edge.measure.session import EMULATED_TIMEOUT_SECONDS, build_plan, run_task
from fca_edge.records import Plan, Record
from fca_edge.stats import counted
from fca_edge.targets.resolve import resolve

OUT = Path(__file__).with_name("out") / "arm"
PLAN = Plan(threads=1, batch=1, warmups=1, iterations=1, processes=3)
CORES = (
    *("qemu:aarch64:a53", "qemu:aarch64:a72", "qemu:aarch64:a76"),
    *("qemu:armv7:a7", "qemu:armv7:a15"),
)
MOST_SPREAD = 1e-3
# Same file, other kernels: float32 in another order of summation keeps this.
LEAST_DB = 110.0
THREADS = (1, 4)
CONSOLE = Console(width=150)


def main() -> None:
    variant = sys.argv[1] if len(sys.argv) > 1 else "l1"
    files = exported(variant)
    missed = []
    counts = table("file", "runtime", "target", "M instr.", "spread", "FMA bound", "times bound")
    agree = table("file", "runtime", "target", "threads", "dB")
    for name in CORES:
        target = resolve(name)
        for path in files:
            job = job_for(path, None, target.runtimes)
            if job.artefact.profile not in wanted_of(name, job):
                continue
            record = cost(job, target)
            missed += report(counts, record, name)
            for threads in THREADS if name in ("qemu:aarch64:a72", "qemu:armv7:a15") else ():
                found = check_agreement(job, target, threads, EMULATED_TIMEOUT_SECONDS)
                assert found is not None
                decibel = found.snr_db
                words = "same" if decibel is None else f"{decibel:.1f}"
                agree.add_row(path.name, job.runtime.name, name, str(threads), words)
                missed += [path.name] if decibel is not None and decibel < LEAST_DB else []
            if name in ("qemu:aarch64:a72", "qemu:armv7:a15") and "plain" not in path.name:
                print_sheets([hot_sheet(record, 10)])
        target.close()
    CONSOLE.print(counts)
    CONSOLE.print(agree)
    print("missed:", ", ".join(missed) or "nothing")
    sys.exit(bool(missed))


def wanted_of(target: str, job: Job) -> tuple[str, ...]:
    """Profiles of the files that are counted on a target: those that it would be given."""
    if "armv7" in target:
        return ("onnx", job.runtime.name)
    return ("onnx", "modern")


def exported(variant: str) -> list[Path]:
    """Export a network folded and as it is, for every profile."""
    profiles = "modern,tflite-2.14,onnxruntime-xnnpack"
    for words in ((), ("--no-fold",)):
        command = [sys.executable, "-m", "fca_edge", "export", "--variant", variant, *words]
        command += ["--profile", profiles, "--out", str(OUT), "--force"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sorted([*OUT.glob("*.onnx"), *OUT.glob("*.tflite")])


def cost(job: Job, target, plan: Plan = PLAN) -> Record:
    """Count a job's instructions."""
    events, info = JobEvents(), target.info()
    for _ in range(plan.processes):
        one = build_plan("cost", job, {job.path: target.push(job.path)}, plan, info)
        run_task("cost", job, one, target, info, events)
    return build_record(job, plan, info, events)


def report(counts, record: Record, name: str) -> list[str]:
    """Add a row; returns the file's name where counts do not repeat."""
    assert record.cost is not None
    found, bound = counted(record.cost), record.cost.bound or 0
    counts.add_row(
        record.artefact.file,
        f"{record.runtime.name} {record.runtime.version}",
        name,
        f"{found.median / 1e6:.1f}",
        f"{found.spread:.4%}",
        f"{bound / 1e6:.1f}",
        f"{found.median / bound:.2f}",
    )
    print(record.artefact.file, name, record.runtime.name, record.cost.instructions, flush=True)
    return [record.artefact.file] if found.spread > MOST_SPREAD else []


if __name__ == "__main__":
    main()
