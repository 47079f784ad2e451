"""Which files a checkpoint is made of, and their checksum. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fca_edge.documents import read_document
from fca_edge.errors import FcaEdgeError
from fca_edge.parsing import DocumentError, parse_json
from fca_edge.store import compute_list_sha256, compute_sha256

HEAD_BYTES = 4096
# Five digits, as all writers of shards have it: `epoch-3-of-100.pth` is a whole file.
SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
MOST_SHARDS, LONGEST_INDEX, LONGEST = 10_000, 100_000_000, 60


@dataclass(frozen=True)
class Index:
    """An index of shards: which file each tensor is in."""

    weight_map: dict[str, str]


def clean(text: object, longest: int = LONGEST) -> str:
    """Make text of a file fit for one line of a terminal: printable and short."""
    words = "".join(c if c.isprintable() else "?" for c in str(text)[: longest + 1])
    return words if len(words) <= longest else words[: longest - 3] + "..."


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def list_shard_files(path: Path) -> tuple[Path, ...]:
    """Return all files of a checkpoint: the one, or the set of shards that it belongs to."""
    try:
        head = read_head(path)
        text = head.lstrip().startswith(b"{") and path.stat().st_size < LONGEST_INDEX
        index = weight_map(path.read_bytes()) if text else None
    except OSError as error:
        raise FcaEdgeError(f"{path}: cannot be read ({error.strerror or error}).") from None
    names = list(dict.fromkeys(index.values())) if index is not None else find_shards(path)
    if not names:
        return (path,)
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name:
            raise FcaEdgeError(
                f"{path}: its index names '{clean(name)}', which is no plain file name."
            )
    shards = tuple(path.parent / name for name in names)
    return shards if path in shards else (path, *shards)


def find_shards(path: Path) -> list[str]:
    """Return the names of a set of shards, where a file's name says that it is one of several."""
    match = SHARD.fullmatch(path.name)
    if match is None or not 1 < int(match["count"]) <= MOST_SHARDS:
        return []
    return [
        f"{match['stem']}-{number:05}-of-{match['count']}{match['suffix']}"
        for number in range(1, int(match["count"]) + 1)
    ]


def weight_map(content: bytes) -> dict[str, str] | None:
    """Return tensor to file of an index of shards; None where a JSON text is none."""
    try:
        return read_document(parse_json(content), Index).weight_map or None
    except DocumentError:
        return None


def compute_digest(path: Path) -> str:
    """Return the sha256 of a checkpoint file, or of all files of its set of shards."""
    return compute_files_digest(list_shard_files(path))


def compute_files_digest(files: tuple[Path, ...]) -> str:
    """Return the sha256 of one file, or of the list of several."""
    return compute_sha256(files[0]) if len(files) == 1 else compute_list_sha256(files)
