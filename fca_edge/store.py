"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHUNK_BYTES = 1 << 20


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Give a temporary folder beside the final place of files; it is gone afterwards.

    Being on the same file system, files move out of it by a rename.

    Raises:
        FcaEdgeError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".fca-edge-", dir=out))
    except OSError as error:
        raise FcaEdgeError(
            f"{out}: cannot write there ({error.strerror}); choose another --out."
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(paths: list[Path], force: bool) -> None:
    """Refuse to overwrite files unless told to.

    Raises:
        FcaEdgeError: a file is there and `force` is not given.
    """
    there = [path for path in paths if path.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise FcaEdgeError(
            f"{there[0]}{more}: exists already; overwrite with --force or choose another place."
        )


def move_into(files: list[Path], out: Path) -> list[Path]:
    """Rename staged files into their folder, in the order given.

    Raises:
        FcaEdgeError: the folder went away or is full.
    """
    placed = []
    for file in files:
        try:
            os.replace(file, out / file.name)
        except OSError as error:
            text = f"{out / file.name}: cannot be written ({error.strerror}); check the folder."
            raise FcaEdgeError(text) from None
        placed.append(out / file.name)
    return placed


def write_text(path: Path, text: str, force: bool = False) -> None:
    """Write a text file through a temporary name."""
    refuse_existing([path], force)
    with staging(path.parent) as folder:
        staged = folder / path.name
        staged.write_text(text)
        os.replace(staged, path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented and with a final newline."""
    path.write_text(json.dumps(content, indent=2, sort_keys=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        FcaEdgeError: missing or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise FcaEdgeError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise FcaEdgeError(f"{path}: not readable as JSON ({error}).") from None


def sha256_of(path: Path) -> str:
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


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        FcaEdgeError: missing, unreadable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise FcaEdgeError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:
        raise FcaEdgeError(f"{path}: not readable as TOML ({error}).") from None
