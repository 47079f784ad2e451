"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.places import claimed_folder, is_replaceable, put, sweep, write_through

CHUNK_BYTES = 1 << 20
STAGED = ".fca-edge-"


@contextmanager
def staging(out: Path, remedy: str = "choose another --out") -> Iterator[Path]:
    """Give a temporary folder beside the final place of files; it is gone afterwards.

    So are folders that were made for it and into which nothing was moved. Being on the same
    file system, files move out of it by a rename. What killed processes left is swept.

    Raises:
        FcaEdgeError: the folder cannot be made or written.
    """
    new = [place for place in (out, *out.parents) if not place.exists()]
    with ExitStack() as stack:
        stack.callback(remove_empty, new)
        try:
            out.mkdir(parents=True, exist_ok=True)
            sweep(out, STAGED)
            folder = stack.enter_context(claimed_folder(out, STAGED))
        except OSError as error:
            raise FcaEdgeError(f"{out}: cannot write there ({error.strerror}); {remedy}.") from None
        yield folder


@contextmanager
def temporary() -> Iterator[Path]:
    """Give a folder for files that nobody keeps; it is gone afterwards.

    Raises:
        FcaEdgeError: it cannot be made.
    """
    remedy = "name another folder in TMPDIR"
    with staging(Path(tempfile.gettempdir()), remedy) as folder:
        yield folder


def sweep_temporary() -> None:
    """Remove temporary folders that killed processes left."""
    with contextlib.suppress(OSError):
        sweep(Path(tempfile.gettempdir()), STAGED)


def remove_empty(folders: list[Path]) -> None:
    """Remove folders that hold nothing, the innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def refuse_existing(paths: list[Path], force: bool) -> None:
    """Refuse to overwrite files unless told to; a device or a pipe loses nothing.

    Raises:
        UsageError: a file or a folder is there and `force` is not given.
    """
    existing = [p for p in paths if p.exists() and (p.is_dir() or is_replaceable(p))]
    if existing and not force:
        more = f" ({len(existing) - 1} more are there, too)" if len(existing) > 1 else ""
        raise UsageError(
            f"{existing[0]}: exists already; overwrite with --force or choose another place{more}."
        )


def refuse_folders(paths: list[Path]) -> None:
    """Refuse a folder where a file is to be written.

    Raises:
        UsageError: names the folder.
    """
    for path in paths:
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; name a file, or remove it.")


def move_into(files: list[Path], out: Path) -> list[Path]:
    """Move staged files and folders into their folder, in the order given.

    Raises:
        FcaEdgeError: the folder went away or is full.
    """
    placed = []
    for file in files:
        try:
            if file.is_dir():
                os.replace(file, out / file.name)
            else:
                put(file, out / file.name)
        except OSError as error:
            text = f"{out / file.name}: cannot be written ({error.strerror}); check the folder."
            raise FcaEdgeError(text) from None
        placed.append(out / file.name)
    return placed


def write_text(path: Path, text: str, force: bool = False) -> None:
    """Write a text file that appears whole; a device or a pipe is written to as it is.

    Raises:
        FcaEdgeError: a file is there and `force` is not given, or it cannot be written.
    """
    content = text.encode("utf-8", "surrogateescape")
    refuse_folders([path])
    refuse_existing([path], force)
    if not is_replaceable(path):
        write_through(path, content)
        return
    target = Path(os.path.realpath(path))
    if target.exists() and os.access(target, os.W_OK) and not os.access(target.parent, os.W_OK):
        write_through(target, content, empty=True)  # a file that was mounted, as in a container
        return
    with staging(target.parent) as folder:
        staged = folder / target.name
        staged.write_bytes(content)
        try:
            put(staged, target, force)
        except OSError as error:
            raise FcaEdgeError(f"{path}: cannot be written ({error.strerror}).") from None


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented and with a final newline, over what is there."""
    write_text(path, json.dumps(content, indent=2, sort_keys=False) + "\n", force=True)


def compute_list_sha256(paths: Iterable[Path]) -> str:
    """Return the sha256 of a list of files, each with its own sha256 and its name."""
    lines = sorted(f"{compute_sha256(path)}  {path.name}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def compute_sha256(path: Path) -> str:
    """Return a file's sha256 in hexadecimal.

    Raises:
        FcaEdgeError: the file is missing or unreadable.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise FcaEdgeError(f"{path}: cannot be read ({error.strerror}).") from None
    return digest.hexdigest()
