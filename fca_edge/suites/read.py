"""Suites from TOML: those that come with the package, by their names, and any other by its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fca_edge.documents import Check, Name, Positive, plain_text, read_table, word, words
from fca_edge.errors import FcaEdgeError, UsageError, nearest
from fca_edge.exporting.forms import OPTIMIZE, PROFILES, USUAL
from fca_edge.runtimes import RUNTIMES
from fca_edge.zoo.specs import NETWORKS, ZOO

SUFFIX = ".toml"
FORMATS = ("onnx", "tflite")
# Those that need no images.
PRECISIONS = ("fp32", "fp16", "int8")


Texts = Annotated[tuple[str, ...], Check(words())]
File = Annotated[Path, Check(lambda value: Path(plain_text(value)))]
Paths = Annotated[tuple[Path, ...], Check(lambda value: tuple(map(Path, words()(value))))]


def read_variants(value: Any) -> tuple[str, ...]:
    """Read one or more networks; a wrong name is told the classifiers, or the line grows long."""
    names = words()(value)
    return tuple(name if name in NETWORKS else word(ZOO)(name) for name in names)


@dataclass(frozen=True)
class Entry:
    """Files to measure: some that are there, or exports that are made if they are missing.

    Attributes:
        files: artefacts that are there.
        variant, checkpoint: what is exported; random weights without a checkpoint.
        precision, format, profile, optimize, fold: as of `fca-edge export`.
        runtimes: each file runs on those that load it; empty takes its own.
        targets: patterns of the only targets on which it is measured; empty means on all.
        lean: whether it is loaded in little memory; None leaves that to the suite.
    """

    files: Paths = ()
    variant: Annotated[tuple[str, ...], Check(read_variants)] = ()
    checkpoint: File | None = None
    precision: Annotated[tuple[str, ...], Check(words(PRECISIONS))] = ("fp32",)
    format: Annotated[tuple[str, ...], Check(words(FORMATS))] = FORMATS
    profile: Annotated[tuple[str, ...], Check(words(PROFILES))] = ("modern",)
    optimize: Annotated[str, Check(word(OPTIMIZE))] = USUAL
    fold: bool = True
    runtimes: Annotated[tuple[str, ...], Check(words(RUNTIMES))] = ()
    targets: Texts = ()
    lean: bool | None = None

    def __post_init__(self) -> None:
        if bool(self.variant or self.checkpoint) == bool(self.files):
            raise ValueError(
                "must have either 'files' or what is exported: 'variant', 'checkpoint'"
            )
        if self.checkpoint is not None and len(self.variant) > 1:
            raise ValueError("'variant' names more than one network")

    def within(self, folder: Path) -> Entry:
        """Return the entry with paths that are relative to a folder."""
        checkpoint = None if self.checkpoint is None else folder / self.checkpoint
        return replace(
            self, files=tuple(folder / path for path in self.files), checkpoint=checkpoint
        )


@dataclass(frozen=True)
class Suite:
    """Entries and how they are measured; None and empty leave it to `fca-edge bench`.

    Attributes:
        against: what ratios are over, as --against.
    """

    entries: tuple[Entry, ...] = ()
    targets: Texts = ()
    threads: Positive | None = None
    runs: Positive | None = None
    processes: Positive | None = None
    warmup: int | None = None
    lean: bool = False
    against: Name | None = None


def list_suites() -> tuple[str, ...]:
    """Names of the suites that come with the package."""
    folder = files("fca_edge.suites")
    names = (entry.name for entry in folder.iterdir() if entry.name.endswith(SUFFIX))
    return tuple(sorted(name.removesuffix(SUFFIX) for name in names))


def read_suite(name: str) -> Suite:
    """Read a suite by its name, or from a file; paths are relative to the file's folder.

    Raises:
        UsageError: neither a known name nor a .toml file.
        FcaEdgeError: the file is missing, or something in it cannot be meant.
    """
    known = list_suites()
    if not name.endswith(SUFFIX) and name not in known:
        raise UsageError(
            f"--suite {name}: no such suite.{nearest(name, known)} Known: {', '.join(known)};"
            f" or name a {SUFFIX} file."
        )
    own = Path(str(files("fca_edge.suites") / f"{name}{SUFFIX}"))
    path = Path(name) if name.endswith(SUFFIX) else own
    suite = read_table(path, Suite)
    if not suite.entries:
        raise FcaEdgeError(f"{path}: measures nothing; add [[entries]].")
    return replace(suite, entries=tuple(entry.within(path.parent) for entry in suite.entries))
