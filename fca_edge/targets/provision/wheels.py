"""Wheels for another machine's Python, fetched by pip and unpacked: PYTHONPATH is the install."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Kept, Report, expect_room, keep
from fca_edge.runtimes import cache_folder
from fca_edge.store import compute_sha256
from fca_edge.targets.provision.debian import describe_files
from fca_edge.targets.provision.programs import run_program

STAMP = ".fca-edge-wheels.json"
# manylinux tags name the oldest glibc that a wheel runs on; PyPI's ARM wheels begin at 2.17.
OLDEST_GLIBC_MINOR = 17


@dataclass(frozen=True)
class Wheels:
    """A set of wheels for one machine.

    Attributes:
        name: of the folder in the cache.
        machine: as in `uname -m`.
        python: such as "3.11".
        glibc_minor: of the machine's glibc 2.x.
        requirements: one for each wheel; dependencies are not followed.
        checksums: sha256 of each wheel, "" where any that the index gives will do.
    """

    name: str
    machine: str
    python: str
    glibc_minor: int
    requirements: tuple[str, ...]
    checksums: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where they are unpacked."""
        return cache_folder() / "wheels" / self.name

    @property
    def kept(self) -> Kept:
        """The folder with what decides whether it has to be made again."""
        wanted = [self.machine, self.python, str(self.glibc_minor), *self.requirements]
        return Kept(self.folder, {"wanted": wanted, "checksums": list(self.checksums)}, STAMP)

    def checksum(self, requirement: str) -> str:
        """Return the sha256 that the wheel of a requirement must have, "" for any."""
        return dict(zip(self.requirements, self.checksums, strict=False)).get(requirement, "")


def unpack(wheels: Wheels, report: Report) -> Path:
    """Make a set unless it is there; returns the folder for PYTHONPATH.

    Raises:
        TargetUnavailableError: no pip, or no such wheel for that machine.
    """
    keep(wheels.kept, lambda staged: {"wheels": unpack_into(staged, wheels, report)}, report)
    return wheels.folder


def unpack_into(folder: Path, wheels: Wheels, report: Report) -> list[dict[str, Any]]:
    """Unpack wheels into a folder; returns what they are.

    Raises:
        TargetUnavailableError: no pip, or no such wheel for that machine.
    """
    files = []
    for requirement in wheels.requirements:
        report(f"{wheels.name}: fetching {requirement}")
        files.append(download(requirement, wheels, report))
    for file in files:
        report(f"{wheels.name}: unpacking {file.name.split('-')[0]}")
        try:
            with zipfile.ZipFile(file) as archive:
                expect_room(folder, sum(entry.file_size for entry in archive.infolist()))
                archive.extractall(folder)
        except (zipfile.BadZipFile, EOFError, ValueError) as error:
            raise TargetUnavailableError(f"{file}: is no wheel ({error}).") from None
    return describe_files(files)


def download(requirement: str, wheels: Wheels, report: Report = lambda text: None) -> Path:
    """Fetch one wheel into the cache, where a second call finds it; pip checks the index's digest.

    Raises:
        TargetUnavailableError: pip is missing, has no such wheel, or has another than is pinned.
    """
    checksum = wheels.checksum(requirement)
    kept = Kept(downloads(wheels) / requirement, {})

    def make(staged: Path) -> dict[str, Any]:
        file = fetch(requirement, wheels, staged)
        if checksum and compute_sha256(file) != checksum:
            raise TargetUnavailableError(
                f"{file.name}: its checksum is not the one that fca-edge pins; the index that pip"
                " is configured with has another file."
            )
        return {"wheel": file.name}

    def find_other_fault() -> str | None:
        """Who pins nothing takes what another has fetched, and who pins it if it is that."""
        stamp = kept.read_stamp() or {}
        digest = stamp["files"][stamp["wheel"]][-1]
        return "is of another version" if checksum and digest != checksum else None

    return kept.place / str(keep(kept, make, report, find_other_fault)["wheel"])


def fetch(requirement: str, wheels: Wheels, folder: Path) -> Path:
    """Let pip download one wheel into a folder; returns the file.

    Raises:
        TargetUnavailableError: pip is missing or has no such wheel.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    command += [str(folder), "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", wheels.python, *platform_tags(wheels), requirement]
    try:
        run_program(command)
    except TargetUnavailableError as error:
        reason = str(error).rstrip(".")
        raise TargetUnavailableError(
            f"{requirement} for {wheels.machine}, Python {wheels.python},"
            f" glibc 2.{wheels.glibc_minor}: {reason}."
        ) from None
    (file,) = folder.glob("*.whl")
    if not zipfile.is_zipfile(file):
        raise TargetUnavailableError(
            f"{file.name}: what the index that pip is configured with has is no wheel."
        )
    return file


def downloads(wheels: Wheels) -> Path:
    """Where wheels for such a machine are kept as they came."""
    system = f"{wheels.machine}-{wheels.python}-glibc2.{wheels.glibc_minor}"
    return cache_folder() / "downloads" / system


def platform_tags(wheels: Wheels) -> list[str]:
    """Name the platform tags that the machine takes, newest glibc first."""
    minors = range(wheels.glibc_minor, OLDEST_GLIBC_MINOR - 1, -1)
    tags = [f"manylinux_2_{minor}_{wheels.machine}" for minor in minors]
    return [w for tag in (*tags, f"manylinux2014_{wheels.machine}") for w in ("--platform", tag)]
