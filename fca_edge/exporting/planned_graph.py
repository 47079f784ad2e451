"""What memory planning needs of a graph, whatever its format, and the planning itself.

An arena planner places every activation at an offset such that two that are alive at the
same time do not overlap. The greedy order, largest first and each into the smallest gap
that takes it, is what TFLite and XNNPACK do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

ALIGNMENT_BYTES = 64
# Output channels a packed block holds on NEON; a last block that is not full is padded.
PACKED_CHANNELS = 8
BIAS_BYTES, SCALE_BYTES = 4, 4
# Taps that XNNPACK's depthwise kernels are made for; weights are padded to the next.
DEPTHWISE_TAPS = (3, 4, 9, 25)


@dataclass(frozen=True)
class Step:
    """One operator: names of what it reads and writes.

    Attributes:
        view: its result is its first input under another shape, in the same place.
        packed_bytes: what a runtime that repacks weights stores for it.
        macs: its multiply-accumulates.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    view: bool = False
    packed_bytes: int = 0
    macs: int = 0


@dataclass
class Graph:
    """A graph of an artefact.

    Attributes:
        weights: bytes of each distinct constant by its content.
        sizes: bytes of every value that is not a constant.
    """

    weights: dict[bytes, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lifetime:
    """Bytes that are needed from one step to another, both included."""

    size: int
    first: int
    last: int


def count_packed_bytes(channels: int, inner: int, item_bytes: int) -> int:
    """Bytes of a packed weight of a convolution or product: bias, then `inner` items per channel.

    Channels are padded to full blocks. Weights of one byte carry a scale a channel as well.
    """
    scale = SCALE_BYTES if item_bytes == 1 else 0
    return align(channels, PACKED_CHANNELS) * (BIAS_BYTES + scale + inner * item_bytes)


def count_packed_depthwise_bytes(channels: int, taps: int, item_bytes: int) -> int:
    """Bytes of a packed depthwise weight; taps are padded to those of a kernel.

    More taps than any has run as a grouped product, where each channel fills a block alone.
    """
    padded = next((n for n in DEPTHWISE_TAPS if n >= taps), None)
    if padded is None:
        return channels * count_packed_bytes(1, taps, item_bytes)
    return count_packed_bytes(channels, padded, item_bytes)


def count_arena_bytes(graph: Graph) -> int:
    """Place every activation of a graph, largest first; returns the height of the arena."""
    placed: list[tuple[int, Lifetime]] = []
    top = 0
    for item in sorted(find_lifetimes(graph), key=lambda item: (-item.size, item.first)):
        # `placed` is in the order of offsets, so that gaps are met from below.
        offset = find_smallest_gap(item, placed)
        top = max(top, offset + item.size)
        placed.append((offset, item))
        placed.sort(key=lambda entry: entry[0])
    return top


def find_smallest_gap(item: Lifetime, placed: Iterable[tuple[int, Lifetime]]) -> int:
    """Offset of the smallest gap between those alive meanwhile that takes an item, or the top."""
    best, best_gap, end = None, 0, 0
    for offset, other in placed:
        if other.last < item.first or item.last < other.first:
            continue
        gap = offset - end
        if gap >= item.size and (best is None or gap < best_gap):
            best, best_gap = end, gap
        end = max(end, offset + other.size)
    return end if best is None else best


def find_lifetimes(graph: Graph) -> list[Lifetime]:
    """How long each storage is needed: from the step that writes it to the last that reads it.

    Views share the storage of what they view. Inputs stay until the end, for they are the
    caller's; so do outputs.
    """
    root: dict[str, str] = {}
    first: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    last: dict[str, int] = {}
    for number, step in enumerate(graph.steps):
        for name in step.reads:
            if name in graph.sizes:
                last[root.get(name, name)] = number
        for name in step.writes:
            if step.view and step.reads[0] in graph.sizes:
                root[name] = root.get(step.reads[0], step.reads[0])
            else:
                first[name] = last[name] = number
    for name in (*graph.inputs, *graph.outputs):
        last[root.get(name, name)] = len(graph.steps)
    return [
        Lifetime(align(graph.sizes[name], ALIGNMENT_BYTES), start, last[name])
        for name, start in first.items()
        if name in graph.sizes
    ]


def align(number: int, to: int) -> int:
    """Round up to a multiple."""
    return -(-number // to) * to


def count_macs(result: Iterable[int], inner: int) -> int:
    """Multiply-accumulates of a result whose every element sums `inner` products."""
    return prod(result) * inner
