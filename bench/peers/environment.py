"""Environments of the peers: made once each, layered, measured, removable as one folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fca_edge.errors import FcaEdgeError
from fca_edge.store import write_json

OUT = Path(__file__).parents[1] / "out" / "peers"
STAMP = "peer.json"
LAYER = "layer.pth"
MIB = 1 << 20
# Prints what a set of packages needs, itself included: bytes and version of each.
CLOSURE = Path(__file__).with_name("closure.py")

Report = Callable[[str], None]


class PeerError(FcaEdgeError):
    """A peer cannot be had, or does not do its work; one line, which becomes its row."""


@dataclass(frozen=True)
class Environment:
    """An environment of its own for one set of pinned packages.

    Attributes:
        requirements: as pip reads them.
        base: an environment whose packages it sees behind its own.
        version: of Python, such as "3.12"; None takes the one that runs this.
    """

    name: str
    requirements: tuple[str, ...]
    base: Environment | None = None
    version: str | None = None

    @property
    def folder(self) -> Path:
        """Where it is made."""
        return OUT / "venvs" / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"


def ensure(environment: Environment, report: Report) -> Path:
    """Make an environment and those below it unless they are there; returns its interpreter.

    Raises:
        PeerError: pip cannot install it; with pip's own reason.
    """
    below = wanted(environment.base) if environment.base else None
    if environment.base:
        ensure(environment.base, report)
    stamp = environment.folder / STAMP
    if stamp.is_file() and json.loads(stamp.read_text()) == wanted(environment):
        return environment.python
    report(f"installing {environment.name}")
    shutil.rmtree(environment.folder, ignore_errors=True)
    python = python_of(environment.version)
    command = [str(python), "-m", "venv", "--without-pip", str(environment.folder)]
    subprocess.run(command, check=True)
    if below is not None and environment.base is not None:
        (packages(environment) / LAYER).write_text(f"{packages(environment.base)}\n")
    install(environment)
    write_json(stamp, wanted(environment))
    return environment.python


def python_of(version: str | None) -> Path:
    """Find an interpreter of a version: a variable names it, or the PATH has it.

    Raises:
        PeerError: there is none that runs.
    """
    if version is None:
        return Path(sys.executable)
    variable = f"FCA_EDGE_PYTHON_{version.replace('.', '_')}"
    place = os.environ.get(variable) or shutil.which(f"python{version}")
    if place and subprocess.run([place, "-c", ""], capture_output=True).returncode == 0:
        return Path(place)
    raise PeerError(f"needs Python {version}, which is not here; name one in {variable}")


def wanted(environment: Environment) -> list[str]:
    """What decides whether an environment has to be made again."""
    below = wanted(environment.base) if environment.base else []
    return [*environment.requirements, *below]


def packages(environment: Environment) -> Path:
    """Folder of an environment's packages."""
    return next(environment.folder.glob("lib/python3*/site-packages"))


def install(environment: Environment) -> None:
    """Let this interpreter's pip install into an environment."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(environment.python),
        "install",
        "--quiet",
        "--no-compile",
    ]
    done = subprocess.run([*pip, *environment.requirements], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
        raise PeerError(f"install of {' '.join(environment.requirements)}: {reason}")


def installed(python: Path, names: tuple[str, ...]) -> dict[str, dict[str, object]]:
    """Measure what packages need in an environment: {package: {version, bytes}}.

    Raises:
        PeerError: one of them is not there.
    """
    done = subprocess.run([str(python), str(CLOSURE), *names], capture_output=True, text=True)
    if done.returncode:
        raise PeerError((done.stderr.strip().splitlines() or ["no reason"])[-1])
    found: dict[str, dict[str, object]] = json.loads(done.stdout)
    return found


def clean_variables() -> dict[str, str]:
    """Variables for a peer's process: none of ours that set its threads or its imports."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "PYTHON", "FCA_"))}
