"""How ranges of activations are found: min-max, percentile and entropy, as int8-static.

    python bench/ranges.py --checkpoint models/out/l1-digits.safetensors
        --calibration models/out/digits-images/train --images models/out/digits-images/test

Exports fp32 once in the forms of int8-static, quantises it with each way of ranges, and prints
SNR on the images against fp32 and top-1 of both. Needs the `export` extra.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from fca_edge.accuracy.data import read_tree
from fca_edge.accuracy.evaluate import predict
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.commands.shared import steps, table
from fca_edge.export.facts import moved, read_facts
from fca_edge.export.pipeline import run_export
from fca_edge.export.plan import Request
from fca_edge.export.quantize import table as quantize
from fca_edge.export.quantize.calibration import sample, stream
from fca_edge.export.quantize.recipe import Recipe
from fca_edge.export.source import Wanted
from fca_edge.harness.stats import snr_db
from fca_edge.preprocess import load
from fca_edge.verify import in_layout, run_artefact

OUT = Path(__file__).with_name("out") / "ranges"
RANGES = ("minmax", "percentile", "entropy")
CALIBRATION_IMAGES, CHECKS = 64, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--variant")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="labelled, one folder a class")
    arguments = parser.parse_args()
    shutil.rmtree(OUT, ignore_errors=True)
    wanted = Wanted(arguments.variant, arguments.checkpoint, None, None, None)
    made = table("format", "ranges", "SNR dB", "worst", "top-1 %", "of fp32")
    with steps() as report:
        for kind in ("onnx", "tflite"):
            full = exported(wanted, kind, report)
            for ranges in RANGES if kind == "onnx" else RANGES[:1]:
                report(f"{kind}, {ranges}")
                made.add_row(kind, ranges, *row(full, ranges, arguments))
    Console().print(made)


def exported(wanted: Wanted, kind: str, report) -> Path:
    """Write fp32 in the forms that 8-bit files have."""
    request = Request(wanted, OUT, (kind,), precisions=("int8",), force=True)
    captured: list[Path] = []

    def keep(path: Path, output, recipe, inputs):
        target = OUT / f"base.{kind}"
        target.write_bytes(path.read_bytes())
        captured.append(target)
        return (), {}

    run_export(request, report, choose=keep)
    return captured[0]


def row(full: Path, ranges: str, arguments: argparse.Namespace) -> list[str]:
    """Quantise with one way of ranges, and compare."""
    (artefact,) = OUT.glob(f"*-int8{full.suffix}")
    facts = moved(read_facts(artefact), full)
    inputs = stream(sample(arguments.calibration, CALIBRATION_IMAGES, 0), facts.how, facts.layout)
    small = full.with_name(f"{ranges}{full.suffix}")
    quantize.run(full, small, replace(Recipe("int8-static"), ranges=ranges), inputs)
    images = [load(p, facts.how) for p in sample(arguments.images, CHECKS, 1)]
    array = in_layout(np.stack(images), facts.layout)
    runtime = "onnxruntime" if full.suffix == ".onnx" else "litert"
    right, got = (run_artefact(p, runtime, array)[0]["logits"] for p in (full, small))
    ratios = [snr_db(a, b) for a, b in zip(right, got)]
    data = read_tree(arguments.images, facts.labels, facts.num_classes, None, 0)
    with ArtefactRunner(facts, runtime) as one, ArtefactRunner(moved(facts, small), runtime) as two:
        found, _ = predict([one, two], data, lambda count: None)
    top = [100 * float((p.rank == 0).mean()) for p in found]
    return [f"{snr_db(right, got):.1f}", f"{min(ratios):.1f}", f"{top[1]:.2f}", f"{top[0]:.2f}"]


if __name__ == "__main__":
    main()
