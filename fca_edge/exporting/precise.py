"""From the fp32 file of an output to the file in its precision, with the metadata it had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fca_edge.embedded import read_embedded
from fca_edge.errors import NotEquivalentError
from fca_edge.exporting import onnx as onnx_file
from fca_edge.exporting import quantize
from fca_edge.exporting.forms import EIGHT_BITS
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.quantize import Inputs, Recipe, calibration
from fca_edge.exporting.tflite import file as tflite_file
from fca_edge.manifest import Artefact, Manifest

# Sees an fp32 file that will be quantised; returns the layers to keep in float, and what the
# manifest keeps of the choice.
Choose = Callable[[Artefact, Output, Recipe, Inputs | None], tuple[tuple[str, ...], dict[str, Any]]]


def convert(
    manifest: Manifest,
    output: Output,
    path: Path,
    choose: Choose | None = None,
) -> tuple[dict[str, int], dict[str, Any]]:
    """Replace a written fp32 file by its smaller one; returns its operators, and what was done.

    Args:
        manifest: what is known of the file, as its metadata says it.

    Raises:
        NotEquivalentError: the metadata did not survive.
        FcaEdgeError: the file cannot be quantised, or an image cannot be read.
    """
    recipe, sample = output.recipe, None
    if output.calibration is not None:
        preprocessing = manifest.source.preprocessing
        sample = calibration.draw_images(output.calibration, preprocessing, output.layout)
    inputs = sample.inputs if sample else None
    base = path.with_name(f"fp32-of-{path.name}")
    path.rename(base)
    mix = None
    if choose is not None and output.precision in EIGHT_BITS:
        keep, mix = choose(Artefact(base, manifest), output, recipe, inputs)
        recipe = replace(recipe, keep_float=tuple(dict.fromkeys([*recipe.keep_float, *keep])))
    outcome = quantize.run(base, path, recipe, inputs)
    quantize.check_weights(base, path, outcome)
    survived = read_embedded(path) == read_embedded(base)
    base.unlink()
    if not survived:
        raise NotEquivalentError(f"{output.file}: its metadata did not survive quantisation.")
    format_module = tflite_file if path.suffix == ".tflite" else onnx_file
    account = {**asdict(outcome), "recipe": asdict(recipe), "mix": mix}
    account["calibration"] = sample.describe() if sample else None
    account["hint"] = quantize.find_hint(recipe, path.suffix)
    return format_module.count_operators(path), account
