"""Memory that an artefact needs by its own graph, without running it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fca_edge.exporting.planned_graph import Graph, count_arena_bytes
from fca_edge.records import Planned


@dataclass(frozen=True)
class Footprint:
    """Planned memory, and the multiply-accumulates of the graph's convolutions and products.

    None where the graph does not tell: how many boxes a detector finds, its picture decides.
    """

    planned: Planned | None
    macs: int | None


def measure_footprint(path: Path) -> Footprint:
    """Plan the memory of an .onnx or .tflite file, for batch 1.

    `weights_bytes` are the constants as the file stores them, each distinct content once.

    `packed_bytes` are the weights of convolutions and products a second time, as LiteRT's
    XNNPACK packs them for each operator on NEON: in blocks of 8 output channels (16 on AVX-512)
    with the bias in front, one-byte weights with a scale a channel. Depthwise taps are padded
    to 3, 4, 9 or 25; with more, every channel takes a block (not so in tflite-runtime 2.14).
    ONNX Runtime packs in blocks too, whatever the taps, and frees what it has packed.

    `arena_bytes` are the activations, placed greedily by size at offsets of 64 bytes. Assumed:
    an activation lives from the operator that writes it to the last that reads it, inputs and
    outputs live throughout; reshapes share the place of what they reshape; no other operator
    works in place; no kernel needs room of its own; what is computed of constants alone is
    computed at load and is neither weight nor activation.

    Raises:
        FcaEdgeError: a shape that the file does not tell.
    """
    graph = read(path)
    packed = sum(step.packed_bytes for step in graph.steps)
    memory = Planned(sum(graph.weights.values()), packed, count_arena_bytes(graph))
    return Footprint(memory, sum(step.macs for step in graph.steps))


def read(path: Path) -> Graph:
    """Read the graph of a file of either format."""
    if path.suffix == ".onnx":
        from fca_edge.exporting import planned_onnx

        return planned_onnx.read_graph(path)
    from fca_edge.exporting import planned_tflite

    return planned_tflite.read_graph(path)
