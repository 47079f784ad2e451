"""Peak memory of artefacts over the empty runtime, and what it consists of.

    python bench/memory.py models/out/fcaformer_l1-fp32.tflite ... [--out FILE.md]
    python bench/memory.py            exports L1 and L2 with random weights, as each --optimize
                                      says, and measures them

Every row is a fresh process on this machine, at 1 thread. *Plain* is the runtime as it comes,
*lean* is `fca-edge lean`: cold makes its folder, warm finds it; *all* releases the pages of
the runtime's own libraries too, which an empty runtime has resident and never reads again.
"""

import argparse
import json
import platform
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import psutil

from fca_edge.device import LEAN
from fca_edge.export.forms import OPTIMIZE
from fca_edge.export.pipeline import run_export
from fca_edge.export.plan import Request
from fca_edge.export.source import Wanted
from fca_edge.lean_settings import read_settings
from fca_edge.measure.jobs import Job, job_for
from fca_edge.runtimes import interpreter
from fca_edge.targets.plan import AgentPlan

HERE = Path(__file__).parent
OUT, RESULTS = HERE / "out" / "memory", HERE / "results"
PROBE = HERE / "memory_probe.py"
MIB = 2**20
MODES: dict[str, dict | None] = {
    "plain": None,
    "lean, cold": {"cold": True},
    "lean, warm": {},
    "lean, warm, all": {"release": "all"},
}
# Variant, precision -> MiB over the empty runtime that the project promises of the forms of
# --optimize memory, lean, warm.
BOUNDS = {("l1", "fp32"): 42, ("l1", "int8"): 20, ("l2", "fp32"): 95, ("l2", "int8"): 40}
JUDGED = "lean, warm"
HEAD = (
    "file",
    "runtime",
    "how",
    "empty runtime",
    "peak",
    "after load",
    "packed, mapped",
    "file, mapped",
    "libraries",
    "anonymous",
    "planned arena",
    "load ms",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artefacts", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, help="Table to write.")
    arguments = parser.parse_args()
    paths = arguments.artefacts or exported()
    print("\t".join(HEAD), flush=True)
    rows, missed = [], []
    for path in paths:
        job = job_for(path)
        for how in MODES:
            rows.append(row_of(job, how))
            print("\t".join(rows[-1]), flush=True)
            missed += shortfall(job, how, rows[-1])
    out = arguments.out or RESULTS / f"memory-{platform.machine()}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(document(rows))
    sys.exit("missed: " + "; ".join(missed) if missed else 0)


def exported() -> list[Path]:
    """Export the networks of the table with random weights, in a folder for each choice."""
    requests = [
        Request(
            Wanted(variant, None, None, None, None),
            OUT / name,
            force=True,
            optimize=name,
            precisions=("fp32", "int8") if name == "memory" else ("fp32",),
        )
        for variant in ("l1", "l2")
        for name in OPTIMIZE
    ]
    return [item.path for request in requests for item in run_export(request, print)]


def shortfall(job: Job, how: str, row: list[str]) -> list[str]:
    """Tell where a row is above what is promised of it."""
    bound = BOUNDS.get((job.artefact.variant, job.artefact.precision))
    found = float(row[HEAD.index("peak")])
    judged = how == JUDGED and job.path.parent.name == "memory"
    if not judged or bound is None or found <= bound:
        return []
    return [f"{job.path.name} on {job.runtime.name}, {found} MiB where {bound} are promised"]


def row_of(job: Job, how: str) -> list[str]:
    """Measure one artefact in one way."""
    plan = AgentPlan(job.runtime, str(job.path.resolve()), "memory", iterations=4)
    if MODES[how] is not None:
        settings = {**read_settings(job.path), **MODES[how]}
        plan = replace(plan, lean=str(LEAN), settings=settings)
    command = [str(interpreter(job.runtime)), "-E", str(PROBE)]
    done = subprocess.run(
        command, input=json.dumps(plan.to_document()), capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{job.path} {how}: {done.stderr.strip().splitlines()[-1]}")
    moment = json.loads(done.stdout.strip().splitlines()[-1])
    ready, end = moment["ready"], moment["done"]
    kinds = by_kind(job.path, ready["by_name"], end["by_name"])
    planned = job.artefact.planned
    return [
        f"{job.path.parent.name}/{job.path.name}",
        job.runtime.name,
        how,
        mib(ready["peak_rss_bytes"]),
        mib(end["peak_rss_bytes"] - ready["peak_rss_bytes"]),
        mib(moment["loaded"]["rss_bytes"] - ready["rss_bytes"]),
        *(mib(kinds[kind]) for kind in ("packed", "file", "libraries")),
        mib(end["anonymous_bytes"] - ready["anonymous_bytes"]),
        mib(planned.arena_bytes) if planned else "",
        f"{moment['loaded']['seconds'] * 1e3:.0f}",
    ]


def by_kind(path: Path, ready: dict[str, int], end: dict[str, int]) -> dict[str, int]:
    """Sort what was added after the empty runtime by what it was mapped from."""
    kinds = {"packed": 0, "file": 0, "libraries": 0}
    for name in {*ready, *end}:
        kind = "libraries" if name.startswith("/") else None
        kind = "packed" if f"{path.name}.cache/" in name else kind
        kind = "file" if name == str(path.resolve()) else kind
        if kind:
            kinds[kind] += end.get(name, 0) - ready.get(name, 0)
    return kinds


def mib(size: int) -> str:
    return f"{size / MIB:.1f}"


def document(rows: list[list[str]]) -> str:
    """Write the table with what it was measured on."""
    lines = [
        f"# Memory over the empty runtime, {platform.machine()}",
        "",
        f"MiB. {date.today()}, {psutil.cpu_count()} cores, {platform.system()}"
        f" {platform.release()}, 1 thread, `python bench/memory.py`. The parts are those after"
        " four inferences, against the empty runtime; a part below nought was given back. Peaks are"
        " over the empty runtime; with it they are the process's.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
