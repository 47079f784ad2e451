"""From a proven fp32 artefact to smaller ones: one file a precision and format."""

from __future__ import annotations

from pathlib import Path

from fca_edge.export.quantize.recipe import Inputs, Outcome, Recipe

__all__ = ["Outcome", "Recipe", "layers", "run"]


def layers(path: Path) -> tuple[str, ...]:
    """Names of the layers of an fp32 artefact that int8 may quantise; see `table.layers`."""
    # The methods bring onnx and others along, which checks of the command line do without.
    from fca_edge.export.quantize import table

    return table.layers(path)


def run(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None = None) -> Outcome:
    """Make a smaller file of an fp32 artefact; see `table.run`."""
    from fca_edge.export.quantize import table

    return table.run(path_in, path_out, recipe, inputs)
