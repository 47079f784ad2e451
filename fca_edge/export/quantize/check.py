"""Whether each 8-bit weight is the float weight rounded: what an SNR of logits is too coarse for.

A scale that is a third off in one layer of a trained network changes the logits by less than
int8 itself does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from fca_edge.errors import NotEquivalentError
from fca_edge.export.quantize import onnx_file
from fca_edge.export.quantize.recipe import Array, Outcome
from fca_edge.export.quantize.tflite_file import TfliteFile
from fca_edge.export.quantize.tflite_layers import weighty

# Half a step of rounding, and that of computing the step in float32.
LARGEST_STEPS = 0.51


def weights(base: Path, path: Path, outcome: Outcome) -> None:
    """Compare the weights of a quantised file with those of its fp32 file.

    Raises:
        NotEquivalentError: a weight is more than half a step off, or a layer was not quantised.
    """
    pairs = tflite_pairs if path.suffix == ".tflite" else onnx_pairs
    seen = set()
    for name, exact, steps, scale in pairs(base, path):
        off = float((np.abs(steps * scale - exact) / scale).max())
        if not off <= LARGEST_STEPS:
            raise NotEquivalentError(
                f"{path.name} is refused: a weight of {name} is {off:.2f} steps"
                " from its float value."
            )
        seen.add(name)
    missing = sorted(set(outcome.quantised) - seen)
    if missing:
        raise NotEquivalentError(f"{path.name} is refused: {missing[0]} was not quantised.")


def tflite_pairs(base: Path, path: Path) -> Iterator[tuple[str, Array, Array, Array]]:
    """Yield (layer, float weights, whole steps, step) of 8-bit products; steps by channel first."""
    file = TfliteFile.read(path)
    found = {file.name(op.outputs[0]): (op, weight) for _, op, weight in weighty(file)}
    before = TfliteFile.read(base)
    for name, operator, exact in weighty(before):
        output = before.name(operator.outputs[0])
        # ai-edge-quantizer gives the float name to what dequantises a static product's output.
        made = found.get(output) or found.get(f"{output}_quantized")
        if made is None or made[1].dtype != np.int8:
            continue
        scales = file.graph.tensors[made[0].inputs[1]].quantization.scale
        exact = exact.reshape(made[1].shape)  # a Linear layer's may have become a kernel
        shape = (-1,) + (1,) * (exact.ndim - 1)
        yield name, exact, made[1].astype(np.float64), np.asarray(scales).reshape(shape)


def onnx_pairs(base: Path, path: Path) -> Iterator[tuple[str, Array, Array, Array]]:
    """Yield (layer, float weights, whole steps, step) of 8-bit products, as stored."""
    made = {tensor.name: tensor for tensor in onnx_file.load(path).graph.initializer}
    for name, _, tensor in onnx_file.weighty(onnx_file.load(base)):
        parts = [made.get(f"{tensor.name}_{part}") for part in ("quantized", "scale", "zero_point")]
        there = [part for part in parts if part is not None]
        if len(there) < len(parts):
            continue
        stored, scale, zero = (numpy_helper.to_array(part).astype(np.float64) for part in there)
        exact = numpy_helper.to_array(tensor)
        if exact.shape != stored.shape:  # a Gemm that became a MatMul has its weight transposed
            exact = exact.T
        axes = (-1, 1) if scale.size == exact.shape[0] != exact.shape[1] else (1, -1)
        yield name, exact, stored - zero.reshape(axes), scale.reshape(axes)
