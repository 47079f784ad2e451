"""ncnn's .param file, the text beside its weights: a line per layer, its blobs and parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAGIC = "7767517"
# Parameters of a Reshape: the one with an expression, and those of each axis, width first.
EXPRESSION = "6"
AXES = {1: ("0",), 2: ("0", "1"), 3: ("0", "1", "2"), 4: ("0", "1", "11", "2")}


@dataclass(frozen=True)
class Layer:
    """One line of the file: names of blobs, and parameters by number, as they are written."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[str, str]

    @property
    def by_expression(self) -> bool:
        """Whether it is a Reshape whose shape is computed at each inference."""
        return self.kind == "Reshape" and EXPRESSION in self.parameters


def parse(text: str) -> list[Layer]:
    """Read the layers of a file."""
    magic, _, *lines = [line for line in text.splitlines() if line.strip()]
    if magic.strip() != MAGIC:
        raise ValueError(f"not ncnn's .param: starts with {magic[:20]!r}")
    layers = []
    for line in lines:
        kind, name, inputs, outputs, *words = line.split()
        first, last = int(inputs), int(inputs) + int(outputs)
        parameters = dict(word.split("=", 1) for word in words[last:])
        layers.append(Layer(kind, name, (*words[:first],), (*words[first:last],), parameters))
    return layers


def write(layers: list[Layer]) -> str:
    """Write layers as a file's text."""
    lines = [MAGIC, f"{len(layers)} {sum(len(layer.outputs) for layer in layers)}"]
    for layer in layers:
        words = [layer.kind, layer.name, str(len(layer.inputs)), str(len(layer.outputs))]
        words += [*layer.inputs, *layer.outputs]
        lines.append(" ".join([*words, *(f"{k}={v}" for k, v in layer.parameters.items())]))
    return "\n".join(lines) + "\n"


def with_numbers(layers: list[Layer], shapes: dict[str, list[int]]) -> list[Layer]:
    """Replace expressions of shapes by the numbers that they come to.

    What a Reshape was given for its shape alone is taken away, from it and from the Split that
    made it, as ncnn takes a Reshape by numbers with one input only.

    Args:
        shapes: of the output of each such Reshape, width first.
    """
    unused: set[str] = set()
    result = []
    for layer in layers:
        if layer.by_expression:
            shape = shapes[layer.outputs[0]]
            unused.update(layer.inputs[1:])
            parameters = layer.parameters | dict(zip(AXES[len(shape)], map(str, shape)))
            del parameters[EXPRESSION]
            layer = replace(layer, inputs=layer.inputs[:1], parameters=parameters)
        result.append(layer)
    return [
        replace(one, outputs=tuple(o for o in one.outputs if o not in unused)) for one in result
    ]
