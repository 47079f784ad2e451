"""From a proven fp32 artefact to smaller ones: one file a precision and format."""

from fca_edge.export.quantize.recipe import Outcome, Recipe
from fca_edge.export.quantize.table import layers, run

__all__ = ["Outcome", "Recipe", "layers", "run"]
