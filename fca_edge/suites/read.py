"""Suites from TOML: those that come with the package, by their names, and any other by its file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fca_edge.errors import FcaEdgeError, UsageError, nearest
from fca_edge.exporting.forms import OPTIMIZE, PROFILES, USUAL
from fca_edge.runtimes import RUNTIMES
from fca_edge.strict import Reader, read_tables
from fca_edge.zoo.specs import ZOO

SUFFIX = ".toml"
FORMATS = ("onnx", "tflite")
# Those that need no images.
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Entry:
    """Files to measure: some that are there, or exports that are made if they are missing.

    Attributes:
        files: artefacts that are there.
        variants, checkpoint: what is exported; random weights without a checkpoint.
        precisions, formats, profiles, optimize, fold: as of `fca-edge export`.
        runtimes: each file runs on those that load it; empty takes its own.
        targets: patterns of the only targets on which it is measured; empty means on all.
        lean: whether it is loaded in little memory; None leaves that to the suite.
    """

    files: tuple[Path, ...] = ()
    variants: tuple[str, ...] = ()
    checkpoint: Path | None = None
    precisions: tuple[str, ...] = ("fp32",)
    formats: tuple[str, ...] = FORMATS
    profiles: tuple[str, ...] = ("modern",)
    optimize: str = USUAL
    fold: bool = True
    runtimes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    lean: bool | None = None


@dataclass(frozen=True)
class Suite:
    """Entries and how they are measured; None and empty leave it to `fca-edge bench`.

    Attributes:
        against: what ratios are over, as --against.
    """

    name: str
    entries: tuple[Entry, ...]
    targets: tuple[str, ...] = ()
    threads: int | None = None
    runs: int | None = None
    processes: int | None = None
    warmup: int | None = None
    lean: bool = False
    against: str | None = None


def list_suites() -> tuple[str, ...]:
    """Names of the suites that come with the package."""
    folder = files("fca_edge.suites")
    names = (entry.name for entry in folder.iterdir() if entry.name.endswith(SUFFIX))
    return tuple(sorted(name.removesuffix(SUFFIX) for name in names))


def read_suite(name: str) -> Suite:
    """Read a suite by its name, or from a file.

    Raises:
        UsageError: neither a known name nor a .toml file.
        FcaEdgeError: the file is missing, or something in it cannot be meant.
    """
    if name.endswith(SUFFIX):
        return build_suite(read_tables(Path(name)), Path(name).stem)
    names = list_suites()
    if name not in names:
        raise UsageError(
            f"--suite {name}: no such suite.{nearest(name, names)} Known: {', '.join(names)};"
            f" or name a {SUFFIX} file."
        )
    return build_suite(read_tables(Path(str(files("fca_edge.suites") / f"{name}{SUFFIX}"))), name)


def build_suite(reader: Reader, name: str) -> Suite:
    """Check a file's content.

    Raises:
        FcaEdgeError: says in which place what cannot be meant.
    """
    entries = tuple(build_entry(table) for table in reader.tables("entries"))
    suite = Suite(
        name,
        entries,
        targets=reader.texts("targets"),
        threads=reader.whole("threads"),
        runs=reader.whole("runs"),
        processes=reader.whole("processes"),
        warmup=reader.whole("warmup", least=0),
        lean=bool(reader.flag("lean")),
        against=reader.text("against"),
    )
    reader.end()
    if not entries:
        raise FcaEdgeError(f"{reader.path}: measures nothing; add [[entries]].")
    return suite


def build_entry(reader: Reader) -> Entry:
    """Check one entry; paths are relative to the file's folder.

    Raises:
        FcaEdgeError: as `build_suite`.
    """
    folder = reader.path.parent
    checkpoint = reader.text("checkpoint")
    fold = reader.flag("fold")
    entry = Entry(
        files=tuple(folder / name for name in reader.texts("files")),
        variants=reader.texts("variant", ZOO),
        checkpoint=None if checkpoint is None else folder / checkpoint,
        precisions=reader.texts("precision", PRECISIONS) or Entry.precisions,
        formats=reader.texts("format", FORMATS) or Entry.formats,
        profiles=reader.texts("profile", tuple(PROFILES)) or Entry.profiles,
        optimize=reader.text("optimize", OPTIMIZE) or Entry.optimize,
        fold=True if fold is None else fold,
        runtimes=reader.texts("runtimes", RUNTIMES),
        targets=reader.texts("targets"),
        lean=reader.flag("lean"),
    )
    reader.end()
    exported = bool(entry.variants or entry.checkpoint)
    if exported == bool(entry.files):
        raise FcaEdgeError(
            f"{reader.path}: {reader.place} must have either 'files' or what is exported:"
            " 'variant', 'checkpoint'."
        )
    if entry.checkpoint is not None and len(entry.variants) > 1:
        raise FcaEdgeError(f"{reader.path}: {reader.place}.variant names more than one network.")
    return entry
