"""Environments of the peers: made once each, layered, measured, removable as one folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fca_edge.errors import FcaEdgeError, TargetUnavailableError
from fca_edge.parsing import read_json
from fca_edge.store import write_json
from fca_edge.targets.provision.old_tflite import find_pythons
from fca_edge.targets.provision.programs import run_program

OUT = Path(__file__).parents[1] / "out" / "peers"
STAMP, LAYER = "peer.json", "layer.pth"
# Package -> its version, and the bytes of the files in its own list.
Packages = dict[str, dict[str, Any]]


def say(text: str) -> None:
    """Print the progress."""
    print(text, file=sys.stderr, flush=True)


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
        return OUT / "venvs" / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        return next(self.folder.glob("lib/python3*/site-packages"))

    @property
    def layers(self) -> list[Environment]:
        """This one and those below it."""
        return [self, *(self.base.layers if self.base else ())]


def ensure(environment: Environment) -> None:
    """Make an environment and those below it unless they are there."""
    if environment.base:
        ensure(environment.base)
    stamp = environment.folder / STAMP
    # What decides whether it has to be made again.
    content = [text for layer in environment.layers for text in layer.requirements]
    if stamp.is_file() and read_json(stamp) == content:
        return
    say(f"installing {environment.name}")
    shutil.rmtree(environment.folder, ignore_errors=True)
    run_program(
        [find_python(environment.version), "-m", "venv", "--without-pip", str(environment.folder)]
    )
    if environment.base:
        (environment.packages / LAYER).write_text(f"{environment.base.packages}\n")
    command = [sys.executable, "-m", "pip", "--python", str(environment.python), "install"]
    try:
        run_program([*command, "--quiet", "--no-compile", *environment.requirements])
    except TargetUnavailableError as error:
        raise PeerError(f"install of {' '.join(environment.requirements)}: {error}") from None
    write_json(stamp, content)


def find_python(version: str | None) -> str:
    """Find an interpreter of a version: a variable names it, or it is installed here."""
    if version is None:
        return sys.executable
    variable = f"FCA_EDGE_PYTHON_{version.replace('.', '_')}"
    major, minor = map(int, version.split("."))
    if place := os.environ.get(variable) or next(find_pythons((major, minor)), None):
        return str(place)
    raise PeerError(f"needs Python {version}, which is not here; name one in {variable}")


def measure_packages(names: Iterable[str], environment: Environment | None = None) -> Packages:
    """Measure packages, such as "fca-edge[export]", and all that they need, without bytecode.

    Args:
        environment: that has them; None is that of this interpreter.
    """
    layers = environment.layers if environment else ()
    folders = [str(layer.packages) for layer in layers] or sys.path
    python = {"python_version": environment.version} if environment and environment.version else {}
    result: Packages = {}
    names = list(names)
    seen, waiting = set(), [Requirement(name) for name in names]
    for needed in waiting:
        key = canonicalize_name(needed.name), frozenset(needed.extras)
        package = next(iter(distributions(name=needed.name, path=folders)), None)
        if package is None and str(needed) in names:
            raise PeerError(f"{needed.name} is not installed")
        if package is None or key in seen:
            continue
        seen.add(key)
        files = [package.locate_file(f) for f in package.files or () if f.suffix != ".pyc"]
        total = sum(file.stat().st_size for file in files if file.is_file())
        result[key[0]] = {"version": package.version, "bytes": total}
        markers = [{"extra": extra, **python} for extra in (*needed.extras, "")]
        more = [Requirement(text) for text in package.requires or ()]
        waiting += [r for r in more if not r.marker or any(map(r.marker.evaluate, markers))]
    return result
