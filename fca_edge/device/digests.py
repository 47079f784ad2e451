"""Tells the sha256 of folders, each as a whole, as one line of JSON. Stand-alone: Python 3.8 alone.

python3 -I - FOLDER ... < digests.py
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from typing import IO

CHUNK_BYTES = 1 << 20


def digest_stream(stream: IO[bytes]) -> str:
    """Return the sha256 of what a stream holds."""
    digest = hashlib.sha256()
    while True:
        chunk = stream.read(CHUNK_BYTES)
        if not chunk:
            return digest.hexdigest()
        digest.update(chunk)


def join_digests(digests: Iterable[tuple[str, str]]) -> str:
    """Return one digest of many files: of their names within the folder, and their own digests."""
    lines = sorted(f"{digest} {name}\n" for name, digest in digests)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def digest_folder(folder: str) -> str | None:
    """Return the digest of all files of a folder, None where one is none or cannot be read."""
    digests = []
    try:
        for place, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(place, name)
                if not os.path.isfile(path):
                    return None
                with open(path, "rb") as file:
                    digests.append((os.path.relpath(path, folder), digest_stream(file)))
    except OSError:
        return None
    return join_digests(digests)


def main() -> None:
    """Write the digest of each folder."""
    folders = {os.path.basename(folder): digest_folder(folder) for folder in sys.argv[1:]}
    print(json.dumps({"event": "digests", "folders": folders}))


if __name__ == "__main__":
    main()
