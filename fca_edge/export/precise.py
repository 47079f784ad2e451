"""From the fp32 file of an output to the file in its precision, with the metadata it had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fca_edge.errors import NotEquivalentError
from fca_edge.export.forms import EIGHT_BITS
from fca_edge.export.plan import Output, Request, recipe_of
from fca_edge.export.prepare import Prepared
from fca_edge.export.quantize import calibration, check, onnx_file, table
from fca_edge.export.quantize.hints import hint
from fca_edge.export.quantize.recipe import Inputs, Recipe
from fca_edge.export.tflite import emit

# Sees an fp32 file that will be quantised; returns the layers to keep in float, and what the
# manifest keeps of the choice.
Choose = Callable[[Path, Output, Recipe, Inputs | None], tuple[tuple[str, ...], dict[str, Any]]]


def convert(
    request: Request,
    prepared: Prepared,
    output: Output,
    path: Path,
    choose: Choose | None = None,
) -> tuple[dict[str, int], dict[str, Any]]:
    """Replace a written fp32 file by its smaller one; returns its operators, and what was done.

    Raises:
        NotEquivalentError: the metadata did not survive.
        FcaEdgeError: the file cannot be quantised, or an image cannot be read.
    """
    recipe = recipe_of(request, output)
    sample = calibration.of(request, prepared.source.preprocessing, output)
    inputs = sample.inputs if sample else None
    base = path.with_name(f"fp32-of-{path.name}")
    path.rename(base)
    mix = None
    if choose is not None and output.precision in EIGHT_BITS:
        keep, mix = choose(base, output, recipe, inputs)
        recipe = replace(recipe, keep_float=tuple(dict.fromkeys([*recipe.keep_float, *keep])))
    outcome = table.run(base, path, recipe, inputs)
    check.weights(base, path, outcome)
    before, after = metadata(base), metadata(path)
    base.unlink()
    if before != after:
        raise NotEquivalentError(f"{output.file}: its metadata did not survive quantisation.")
    reader = emit if output.profile.format == "tflite" else onnx_file
    counts = reader.operator_counts(path)
    made = {**asdict(outcome), "recipe": asdict(recipe), "mix": mix}
    made["calibration"] = sample.describe() if sample else None
    return counts, {**made, "hint": hint(output.precision, path.suffix, recipe.half_arithmetic)}


def metadata(path: Path) -> Any:
    """Read a file's metadata, of either format."""
    return emit.read_metadata(path) if path.suffix == ".tflite" else onnx_file.metadata(path)
