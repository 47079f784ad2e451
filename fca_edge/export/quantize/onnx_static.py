"""ONNX int8-static: QuantizeLinear and DequantizeLinear around products, ranges by calibration."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fca_edge.export.quantize import onnx_file, onnx_quiet
from fca_edge.export.quantize.recipe import Array, Inputs, Outcome, Recipe

METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}


class OneInput:
    """A reader of one input, as ONNX Runtime's calibrators want it."""

    def __init__(self, array: Array) -> None:
        self.left: list[dict[str, Array]] = [{"image": array}]

    def get_next(self) -> dict[str, Array] | None:
        """Return the input once, then None."""
        return self.left.pop() if self.left else None


def quantize(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None) -> Outcome:
    """Quantise matrix products with the ranges that the inputs show."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    assert inputs is not None
    original = onnx_file.load(path_in)
    chosen, kept = onnx_file.divide(original, recipe)
    if not chosen:
        return onnx_file.save_float(original, kept, path_out)
    with onnx_quiet.quiet():
        quantizer = QDQQuantizer(
            onnx_file.load(path_in),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QUInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges(path_in, recipe, inputs),
            nodes_to_quantize=list(chosen.values()),
            nodes_to_exclude=[],
            op_types_to_quantize=list(onnx_file.PRODUCTS),
            extra_options={},
        )
        quantizer.quantize_model()
        # It appends what it adds; a file's nodes must stand in the order in which they run.
        quantizer.model.topological_sort()
        model = quantizer.model.model
    stored = onnx_file.store_small(model, onnx_quiet.left_of(original, model))
    onnx_file.save(model, original, path_out)
    how = f"weights and activations uint8, ranges by {recipe.ranges} of calibration inputs"
    return Outcome(how, tuple(chosen), kept, stored)


def ranges(path: Path, recipe: Recipe, inputs: Inputs) -> Any:
    """Collect the ranges of activations, one input at a time so that memory stays flat."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    method = CalibrationMethod[METHODS[recipe.ranges]]
    with tempfile.TemporaryDirectory(prefix="fca-edge-") as folder:
        calibrator = create_calibrator(
            path,
            list(onnx_file.PRODUCTS),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=method,
        )
        for array in inputs():
            calibrator.collect_data(OneInput(array))
        found = calibrator.compute_data()
        del calibrator
    return found
