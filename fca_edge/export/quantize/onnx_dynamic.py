"""ONNX int8: MatMulInteger with weights per channel, activations quantised at run time.

Weights are unsigned: on x86-64 without VNNI, products of unsigned activations and signed weights
are added in 16 bits and saturate (15.6 dB on L1 where unsigned weights have 32.3).
"""

from __future__ import annotations

from pathlib import Path

import onnx

from fca_edge.export.quantize import onnx_file, onnx_quiet
from fca_edge.export.quantize.recipe import Inputs, Outcome, Recipe

HEAD = "the head, whose error is the logits' own"
GEMM = "a Gemm, which onnxruntime.quantization renames and then leaves alone"


def without_weight_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model without the recorded shapes of its weights.

    Releases of ONNX Runtime up to 1.23 transpose a Gemm's weight in place, and then stop at the
    shape that was recorded for it before.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {tensor.name for tensor in copy.graph.initializer}
    shapes = [value for value in copy.graph.value_info if value.name not in weights]
    del copy.graph.value_info[:]
    copy.graph.value_info.extend(shapes)
    return copy


def quantize(path_in: Path, path_out: Path, recipe: Recipe, inputs: Inputs | None) -> Outcome:
    """Quantise the weights of matrix products; calibration plays no part."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    original = onnx_file.load(path_in)
    chosen, kept = onnx_file.divide(original, recipe)
    for name, is_head in onnx_file.gemms(original).items():
        if chosen.pop(name, None) is not None:
            kept[name] = HEAD if is_head else GEMM
    if not chosen:
        return onnx_file.save_float(original, kept, path_out)
    with onnx_quiet.quiet():
        quantize_dynamic(
            without_weight_shapes(original),
            path_out,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=list(chosen.values()),
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )
    model = onnx_file.load(path_out)
    stored = onnx_file.store_small(model, onnx_quiet.left_of(original, model))
    onnx_file.save(model, original, path_out)
    how = "weights uint8 per output channel (min-max), activations uint8 at run time"
    return Outcome(how, tuple(chosen), kept, stored)
