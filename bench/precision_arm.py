"""Instructions of every precision on every emulated core, each beside the fp32 file.

    python bench/precision_arm.py [VARIANT] [--cores qemu:aarch64:a76,...] [--out FILE.json]

One process a file: counts repeat to a tenth of a per cent (`bench/arm.py`). Records go to
bench/results/precision-arm-VARIANT.json, and `bench/precision.py` makes the table from them.
"""

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from arm import CORES, PLAN, cost

from fca_edge.errors import FcaEdgeError
from fca_edge.measure.agreement import check_agreement
from fca_edge.measure.jobs import Job, job_for
from fca_edge.measure.session import EMULATED_TIMEOUT_SECONDS
from fca_edge.records import Record, to_document
from fca_edge.store import write_json
from fca_edge.targets.base import Target
from fca_edge.targets.resolve import resolve

HERE = Path(__file__).parent
OUT, RESULTS = HERE / "out" / "precision", HERE / "results"
# Folder -> words of the export that fills it. Half arithmetic is allowed in a file of its own;
# what 32-bit boards run is of another profile.
EXPORTS = {
    "modern": ("--precision", "fp32,int8", "--optimize", "latency"),
    "half": (
        *("--precision", "fp16,int8", "--format", "tflite"),
        *("--profile", "litert-fp16", "--optimize", "latency"),
    ),
    "2.14": ("--precision", "fp32,int8", "--format", "tflite", "--profile", "tflite-2.14"),
}
WANTED = {"aarch64": ("modern", "half"), "armv7": ("modern", "2.14")}
HAS_HALVES = "a76"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variant", nargs="?", default="l1")
    parser.add_argument("--cores", default=",".join(CORES))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folders = exported(arguments.variant)
    records = []
    out = arguments.out or RESULTS / f"precision-arm-{arguments.variant}.json"
    for name in arguments.cores.split(","):
        target = resolve(name)
        for path in files_for(name, folders):
            try:
                job = job_for(path, None, target.runtimes)
                records.append(measured(job, target))
            except FcaEdgeError as error:
                print(f"{name}\t{path.parent.name}/{path.name}\t{error}", flush=True)
                continue
            print(line(name, path, records[-1]), flush=True)
        target.close()
        write_json(out, to_document(records))


def exported(variant: str) -> dict[str, Path]:
    """Export a network in every precision; returns the folders."""
    folders = {name: OUT / variant / name for name in EXPORTS}
    for name, words in EXPORTS.items():
        command = [sys.executable, "-m", "fca_edge", "export", "--variant", variant, *words]
        subprocess.run([*command, "--out", str(folders[name]), "--force"], check=True)
    return folders


def files_for(target: str, folders: dict[str, Path]) -> list[Path]:
    """Choose what a board would be given: halves only where a core computes in them."""
    machine = "armv7" if "armv7" in target else "aarch64"
    found = []
    for name in WANTED[machine]:
        if name == "half" and not target.endswith(HAS_HALVES):
            continue
        # Only LiteRT, which 32-bit boards do not have, runs the modern TFLite file as it should.
        kinds = ("*.onnx",) if machine == "armv7" and name == "modern" else ("*.onnx", "*.tflite")
        found += [path for kind in kinds for path in sorted(folders[name].glob(kind))]
    return found


def measured(job: Job, target: Target) -> Record:
    """Count one inference, and compare the logits with this machine's."""
    found = check_agreement(job, target, PLAN.threads, EMULATED_TIMEOUT_SECONDS)
    return replace(cost(job, target, replace(PLAN, processes=1)), agreement=found)


def line(name: str, path: Path, record: Record) -> str:
    """Write what was found, as progress."""
    assert record.cost is not None and record.agreement is not None
    count = record.cost.instructions[0][0] / 1e6
    return f"{name}\t{path.parent.name}/{path.name}\t{count:.1f} M\t{record.agreement.snr_db} dB"


if __name__ == "__main__":
    main()
