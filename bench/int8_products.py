"""What int8 can gain on this processor at most: layers of FcaFormer-L1's sizes and nothing else.

    python bench/int8_products.py [--processes 7]

Files of eight pairs of Linear layers, as they stand in a stage's blocks, fp32 and int8 as the
export writes it, LiteRT, 1 thread, interleaved fresh processes. Between the products is nothing
that stays in float, so a network gains less. Needs the `export` extra.
"""

import argparse
from pathlib import Path

import torch
from fca_edge.export.quantize.forms import tflite_profile
from rich.console import Console
from torch import nn

from fca_edge.commands.shared import counted, table
from fca_edge.export.forms import PROFILES
from fca_edge.export.quantize import table as quantize
from fca_edge.export.quantize.recipe import Recipe
from fca_edge.export.tflite.emit import to_tflite
from fca_edge.measure.jobs import job_for
from fca_edge.measure.session import process_count, run_jobs
from fca_edge.records import Plan
from fca_edge.stats import ratio
from fca_edge.targets.local import LocalTarget
from fca_edge.zoo.specs import ZOO

OUT = Path(__file__).with_name("out") / "int8_products"
PAIRS, EXPANSION = 8, 4
STEM = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=7)
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    pairs = [written(width, side) for width, side in sizes()]
    jobs = [job_for(path, "litert") for pair in pairs for path in pair]
    plan, target = Plan(1, 1, 5, 20, arguments.processes), LocalTarget()
    with counted(process_count(jobs, plan, target)) as step:
        outcome = run_jobs(jobs, plan, target, step)
    records = {record.artefact.file: record for record in outcome.records}
    made = table("channels x side", "int8 over fp32", "interval")
    for full, small in pairs:
        middle, low, high = ratio(records[small.name], records[full.name])
        interval = "" if low is None or high is None else f"{low:.2f}–{high:.2f}"
        made.add_row(full.stem.removeprefix("fp32-"), f"{middle:.2f}", interval)
    Console().print(made)


def sizes() -> list[tuple[int, int]]:
    """Return (channels, side) of each stage."""
    spec = ZOO["l1"]
    return [(w, spec.img_size // (STEM << n)) for n, w in enumerate(spec.dims)]


class Products(nn.Module):
    """Pairs of Linear layers on (B, C, H, W), channels last inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        wide = EXPANSION * width
        pairs = [(nn.Linear(width, wide), nn.Linear(wide, width)) for _ in range(PAIRS)]
        self.layers = nn.Sequential(*(layer for pair in pairs for layer in pair))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to the same."""
        return self.layers(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def written(width: int, side: int) -> tuple[Path, Path]:
    """Write a stage's products in fp32 and in int8."""
    full, small = (OUT / f"{precision}-{width}x{side}.tflite" for precision in ("fp32", "int8"))
    example = torch.zeros(1, width, side, side)
    program = torch.export.export(Products(width).eval(), (example,))
    to_tflite(program, tflite_profile(PROFILES["modern"], "int8"), "{}", full)
    quantize.run(full, small, Recipe("int8"))
    return full, small


if __name__ == "__main__":
    main()
