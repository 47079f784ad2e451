"""Exported program to a TFLite file, and what can be read back from one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from torch.export import ExportedProgram

from fca_edge.export.forms import Profile
from fca_edge.export.tflite.lower import lower
from fca_edge.export.tflite.writer import write

METADATA_NAME = "fca_edge"
OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}


def to_tflite(
    program: ExportedProgram,
    profile: Profile,
    metadata: str,
    path: Path,
    input_layout: str = "nhwc",
) -> None:
    """Lower a program with the forms of a profile and write the file, metadata included."""
    graph, source, target = lower(program, profile, input_layout)
    write(graph, source, target, {METADATA_NAME: metadata.encode()}, path)


def read_metadata(path: Path) -> str | None:
    """Return the metadata entry of a file, read through a map of it."""
    with mapped(path) as data:
        model = schema.Model.GetRootAs(data)
        for i in range(model.MetadataLength()):
            entry = model.Metadata(i)
            if entry.Name().decode() == METADATA_NAME:
                content: Any = model.Buffers(entry.Buffer()).DataAsNumpy()
                return bytes(content).decode()
    return None


def operator_counts(path: Path) -> dict[str, int]:
    """Count a file's operators by name."""
    counts: dict[str, int] = {}
    with mapped(path) as data:
        model = schema.Model.GetRootAs(data)
        graph = model.Subgraphs(0)
        names = [
            OPERATOR_NAMES[model.OperatorCodes(i).BuiltinCode()]
            for i in range(model.OperatorCodesLength())
        ]
        for i in range(graph.OperatorsLength()):
            name = names[graph.Operators(i).OpcodeIndex()]
            counts[name] = counts.get(name, 0) + 1
    return counts


@contextmanager
def mapped(path: Path) -> Iterator[Any]:
    """Give a file's bytes, mapped, as an array that reads like bytes."""
    yield np.memmap(path, np.uint8, mode="r")
