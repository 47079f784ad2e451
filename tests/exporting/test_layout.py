"""Views of tensors: what the layout emits computes what the program meant."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fca_edge.exporting.tflite.builder import GraphBuilder
from fca_edge.exporting.tflite.file import OPERATOR_NAMES
from fca_edge.exporting.tflite.layout import Layout, Value, view, view_plain


def evaluate(builder: GraphBuilder, source: np.ndarray, tensor: int) -> np.ndarray:
    """Run the RESHAPE and TRANSPOSE operators of a graph in NumPy."""
    known = {0: source}
    for op in builder.operators:
        data, second = known[op.inputs[0]], builder.buffers[builder.tensors[op.inputs[1]].buffer]
        shape = builder.shape(op.outputs[0])
        if OPERATOR_NAMES[op.code] == "RESHAPE":
            assert tuple(second) == shape
            known[op.outputs[0]] = data.reshape(shape)
        else:
            known[op.outputs[0]] = data.transpose(second)
            assert known[op.outputs[0]].shape == shape
    return known[tensor]


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[str, tuple[int, ...]]]]:
    """A shape, and permutations and reshapes that follow each other."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=2, max_size=4)))
    now, steps = shape, []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            dims = tuple(draw(st.permutations(range(len(now)))))
            steps.append(("permute", dims))
            now = tuple(now[d] for d in dims)
        else:
            now = draw(reshapes(now))
            steps.append(("reshape", now))
    return shape, steps


@st.composite
def reshapes(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Another shape of as many elements: dimensions merged, split, and 1s put in."""
    primes = [f for n in shape for f in {1: [], 2: [2], 3: [3], 4: [2, 2], 6: [2, 3]}.get(n, [n])]
    out: list[int] = []
    for factor in primes:
        if out and draw(st.booleans()):
            out[-1] *= factor
        else:
            out.append(factor)
    for _ in range(draw(st.integers(0, 2))):
        out.insert(draw(st.integers(0, len(out))), 1)
    return tuple(out) or (1,)


@given(chains())
@settings(max_examples=400, deadline=None)
def test_chains_compute_what_they_mean(
    chain: tuple[tuple[int, ...], list[tuple[str, tuple[int, ...]]]],
) -> None:
    shape, steps = chain
    builder = GraphBuilder()
    layout = Layout(builder)
    value = view_plain(builder.tensor(shape, "source"), shape)
    source = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    expected = source
    for kind, argument in steps:
        if kind == "permute":
            value, expected = value.permute(argument), expected.transpose(argument)
        else:
            edited = view(value, argument)
            value = edited or view_plain(layout.reorder(value).tensor, argument)
            expected = expected.reshape(argument)
    tensor = layout.materialise(value)
    assert np.array_equal(evaluate(builder, source, tensor), expected)


def test_channels_last_costs_nothing() -> None:
    """NHWC memory, flattened to tokens and back, as the attention stages do."""
    builder = GraphBuilder()
    image = Value(builder.tensor((1, 4, 5, 8)), (1, 4, 5, 8), (0, 3, 1, 2))  # logical NCHW
    tokens = view(image, (1, 8, 20))
    assert tokens is not None
    back = view(tokens.permute((0, 2, 1)), (1, 4, 5, 8))
    assert back is not None
    Layout(builder).reorder(back)
    assert builder.operators == []


def test_a_reshape_is_emitted_once() -> None:
    builder = GraphBuilder()
    layout = Layout(builder)
    source = builder.tensor((2, 6))
    assert layout.reshape(source, (3, 4)) == layout.reshape(source, (3, 4))
    assert len(builder.operators) == 1


def test_equal_constants_share_a_buffer() -> None:
    builder = GraphBuilder()
    first = builder.constant(np.ones((2, 3), np.float32))
    again = builder.constant(np.ones((2, 3), np.float32))
    reshaped = builder.constant(np.ones((3, 2), np.float32))
    assert first == again != reshaped
    assert len(builder.buffers) == 2
