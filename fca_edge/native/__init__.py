"""`fca-run`, a program in C that runs our TFLite files on XNNPACK: its sources, and its kits.

A kit is a folder with the program compiled for one kind of machine, XNNPACK from Debian, and
Debian's own loader and C library: it runs on any Linux of that kind, whatever is installed there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fca_edge.keeping import Kept, cache_folder

FOLDER = Path(__file__).parent
# The first release whose XNNPACK has kernels for all that our files hold.
RELEASE = "trixie"
PACKAGES = ("libxnnpack-dev", "libpthreadpool-dev", "libspng-dev")
PROGRAM, CLASSIFIER = "fca-run", "classify"
# What programs of others are compiled against.
PUBLIC_HEADERS = ("fca_run.h", "fca_picture.h")
# Another one where the files of a kit change, and its sources do not.
LAYOUT = "2"
# Debian's names of machines.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}


@dataclass(frozen=True)
class Kit:
    """The folder for one kind of machine, there or not; `machine` is as in `uname -m`."""

    machine: str

    @property
    def kept(self) -> Kept:
        """The folder with what decides whether it has to be made again."""
        wanted = [LAYOUT, self.machine, RELEASE, *PACKAGES, compute_digest()]
        # Two versions of fca-edge that are used by turns do not make each other's again.
        name = f"xnnpack-{self.machine}-{compute_digest()[:12]}"
        return Kept(cache_folder() / "kits" / name, {"wanted": wanted})

    @property
    def program(self) -> Path:
        """What is started: a script around the kit's own loader."""
        return self.kept.place / PROGRAM

    @property
    def version(self) -> str:
        """XNNPACK's version, as Debian names it."""
        return str((self.kept.read_stamp() or {}).get("version", "unknown"))


def list_sources() -> list[Path]:
    """List the files in C."""
    return sorted(FOLDER.glob("*.[ch]"))


@cache
def compute_digest() -> str:
    """Return the sha256 of all sources."""
    digest = hashlib.sha256()
    for source in list_sources():
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()
