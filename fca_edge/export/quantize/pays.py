"""Whether a static file is quicker than the dynamic one here: one interleaved run."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from fca_edge.errors import FcaEdgeError
from fca_edge.export.quantize import table
from fca_edge.export.quantize.recipe import Recipe
from fca_edge.harness.call import call_agent
from fca_edge.harness.runtimes import RUNTIMES, interpreter

ROUNDS, ITERATIONS, WARMUPS = 5, 15, 3
# Noise of such a run: less than this is no win.
LARGEST_RATIO = 0.97


def judge(base: Path, static: Path, recipe: Recipe, runtime: str) -> dict[str, Any]:
    """Time a static file against int8 of the same fp32 file, in fresh alternating processes.

    Returns:
        Median ratio of their latencies, and the runtime.

    Raises:
        FcaEdgeError: it is not quicker; with the figures.
    """
    dynamic = base.with_name(f"int8-of-{static.name}")
    table.run(base, dynamic, Recipe("int8", recipe.keep_float))
    ratios, times = [], []
    for _ in range(ROUNDS):
        pair = latency_ns(static, runtime), latency_ns(dynamic, runtime)
        ratios.append(pair[0] / pair[1])
        times.append(pair)
    dynamic.unlink()
    ratio = median(ratios)
    if ratio > LARGEST_RATIO:
        ours, theirs = (median(column) / 1e6 for column in zip(*times))
        raise FcaEdgeError(
            f"{static.name} is refused: {ours:.2f} ms where int8 takes {theirs:.2f} on {runtime}"
            f" here, {ratio:.2f} of its time; take --precision int8."
        )
    return {"runtime": runtime, "time_over_int8": ratio, "rounds": ROUNDS}


def latency_ns(path: Path, runtime: str) -> float:
    """Median latency of one fresh process at 1 thread."""
    made = RUNTIMES[runtime]
    plan = {
        "runtime": made.agent_name,
        "artefact": str(path.resolve()),
        "threads": 1,
        "mode": "latency",
        "warmup": WARMUPS,
        "iterations": ITERATIONS,
        "seed": 0,
    }
    return float(median(call_agent(interpreter(made), plan)["samples"]["latency_ns"]))
