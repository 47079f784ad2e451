"""Exported program to a TFLite file, and what can be read back from one."""

from __future__ import annotations

from pathlib import Path

from torch.export import ExportedProgram

from fca_edge.export.profiles import Profile
from fca_edge.export.tflite.file import TfliteFile
from fca_edge.export.tflite.lower import lower
from fca_edge.export.tflite.writer import write

METADATA_NAME = "fca_edge"


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
    """Return the metadata entry of a file."""
    content = TfliteFile.read(path).metadata(METADATA_NAME)
    return None if content is None else content.decode()


def operator_counts(path: Path) -> dict[str, int]:
    """Count a file's operators by name."""
    return TfliteFile.read(path).operator_counts()
