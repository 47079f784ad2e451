"""Wheels for another machine's Python, fetched by pip and unpacked: PYTHONPATH is the install."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from fca_edge import children
from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import cache_folder
from fca_edge.targets.provision.folders import Report, Stamp, move_to, stage

STAMP = Stamp(".fca-edge-wheels.json", "wheels")
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
    """

    name: str
    machine: str
    python: str
    glibc_minor: int
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where they are unpacked."""
        return cache_folder() / "wheels" / self.name


def is_ready(wheels: Wheels) -> bool:
    """Tell whether the wheels that are wanted now are unpacked."""
    return STAMP.matches(wheels.folder, describe_content(wheels))


def describe_content(wheels: Wheels) -> list[str]:
    """What decides whether a set has to be made again."""
    return [wheels.machine, wheels.python, str(wheels.glibc_minor), *wheels.requirements]


def ready_bytes(wheels: Wheels) -> int:
    """Size of the wheels as they were downloaded."""
    return STAMP.downloaded_bytes(wheels.folder)


def unpack(wheels: Wheels, report: Report) -> Path:
    """Make a set unless it is there; returns the folder for PYTHONPATH.

    Raises:
        TargetUnavailableError: no pip, or no such wheel for that machine.
    """
    if is_ready(wheels):
        return wheels.folder
    files = []
    for requirement in wheels.requirements:
        report(f"{wheels.name}: fetching {requirement}")
        files.append(download(requirement, wheels))
    with stage(wheels.folder) as staged:
        for file in files:
            report(f"{wheels.name}: unpacking {file.name.split('-')[0]}")
            with zipfile.ZipFile(file) as archive:
                archive.extractall(staged)
        STAMP.finish(staged, wheels.folder, describe_content(wheels), files)
    return wheels.folder


def download(requirement: str, wheels: Wheels) -> Path:
    """Fetch one wheel into the cache, where a second call finds it; pip checks its digest.

    Raises:
        TargetUnavailableError: pip is missing or has no such wheel.
    """
    place = downloads(wheels) / requirement
    files = list(place.glob("*.whl"))
    if files:
        return files[0]
    with stage(place) as staged:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
        command += [str(staged), "--only-binary=:all:", "--implementation", "cp"]
        command += ["--python-version", wheels.python, *platform_tags(wheels), requirement]
        process = children.run(command)
        if process.returncode:
            lines = [
                line
                for line in process.stderr.splitlines()
                if "ERROR" in line or "No module" in line
            ]
            reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
            raise TargetUnavailableError(
                f"{requirement} for {wheels.machine}, Python {wheels.python},"
                f" glibc 2.{wheels.glibc_minor}: {reason.rstrip('.')}."
            )
        move_to(staged, place)
    return next(place.glob("*.whl"))


def downloads(wheels: Wheels) -> Path:
    """Where wheels for such a machine are kept as they came."""
    system = f"{wheels.machine}-{wheels.python}-glibc2.{wheels.glibc_minor}"
    return cache_folder() / "downloads" / system


def platform_tags(wheels: Wheels) -> list[str]:
    """Name the platform tags that the machine takes, newest glibc first."""
    minors = range(wheels.glibc_minor, OLDEST_GLIBC_MINOR - 1, -1)
    tags = [f"manylinux_2_{minor}_{wheels.machine}" for minor in minors]
    return [w for tag in (*tags, f"manylinux2014_{wheels.machine}") for w in ("--platform", tag)]
