"""The second environment: tflite-runtime 2.14 has wheels for Python 3.9 to 3.11 alone.

Ways to have such a Python, in the order in which they are tried: the running one, another one
that is installed here, and Debian's 3.11, unpacked without root and started with its own loader.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fca_edge import children
from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import (
    OLD_TFLITE,
    OLD_TFLITE_VARIABLE,
    available,
    imports,
    interpreter,
    old_tflite_python,
)
from fca_edge.targets.provision import debian, wheels
from fca_edge.targets.provision.folders import Report
from fca_edge.targets.provision.machines import pinned_wheels, python_tree

Way = Callable[[Path, Report], None]

# Python releases that it has wheels for, newest first.
RELEASES = ((3, 11), (3, 10), (3, 9))
RELEASE = f"{OLD_TFLITE.package} {OLD_TFLITE.version}"
# Marks an environment that setup made and may therefore make again.
OURS = ".fca-edge"
# Debian's Python finds the environment's packages by its name, as in any virtual environment.
WRAPPER = """#!/bin/sh
# Python 3.11 of Debian, made by `fca-edge targets setup local`.
exec {command} --argv0 {python} {program} "$@"
"""


def setup_old_tflite(report: Report) -> Path:
    """Make the second environment unless it is there; returns its interpreter.

    Raises:
        TargetUnavailableError: it cannot be installed; says what was tried and what to do.
    """
    python = old_tflite_python()
    if available(OLD_TFLITE):
        python = interpreter(OLD_TFLITE)
        report(f"{RELEASE} is set up: {python}")
        return python
    refuse_foreign(python.parent.parent)
    reasons = []
    for name, build in list_ways():
        report(f"making {python.parent.parent} with {name}")
        try:
            build(python, report)
        except TargetUnavailableError as error:
            reasons.append(f"{name}: {str(error).rstrip('.')}")
            # Half of an environment would look like a whole one.
            shutil.rmtree(python.parent.parent, ignore_errors=True)
            continue
        report(f"{RELEASE} is set up: {python}")
        return python
    raise TargetUnavailableError(
        f"{RELEASE} needs Python 3.9 to 3.11, and this is"
        f" {platform.python_version()}; install one (as `uv python install 3.11` does) and run"
        f" `fca-edge targets setup local` again. Tried: {'; '.join(reasons)}."
    )


def refuse_foreign(folder: Path) -> None:
    """Refuse to make an environment where something lies that is not ours.

    Raises:
        TargetUnavailableError: says what to do instead.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / OURS).is_file():
        raise TargetUnavailableError(
            f"{folder}: holds something that fca-edge did not make; install"
            f" {shlex.join(OLD_TFLITE.requirements)} there yourself, or unset"
            f" {OLD_TFLITE_VARIABLE}."
        )


def list_ways() -> Iterator[tuple[str, Way]]:
    """List ways to make the environment, each with a name for the user."""
    if sys.version_info[:2] in RELEASES:
        yield "this Python", partial(build_with, Path(sys.executable))
    for release in RELEASES:
        for base in find_pythons(release):
            yield str(base), partial(build_with, base)
    yield "Debian's Python 3.11", build_with_debian


def find_pythons(release: tuple[int, int]) -> Iterator[Path]:
    """Find interpreters of a release: on PATH, then where pyenv and uv put theirs."""
    name = f"python{release[0]}.{release[1]}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    on_path = shutil.which(name)
    places = [
        *([Path(on_path)] if on_path else []),
        *sorted(pyenv.glob(f"versions/{name.removeprefix('python')}.*/bin/{name}")),
        *sorted(data.glob(f"uv/python/cpython-{name.removeprefix('python')}*/bin/{name}")),
    ]
    # A shim of pyenv is on PATH and fails where its version is not chosen.
    yield from (place for place in places if imports(place, "venv"))


def clear(folder: Path) -> None:
    """Make an empty folder, marked as ours from the start: a set-up may break off."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / OURS).write_text("made by fca-edge targets setup, and made again by it\n")


def build_with(base: Path, python: Path, report: Report) -> None:
    """Make a virtual environment of an interpreter, and install the runtime there.

    Raises:
        TargetUnavailableError: one of the two failed; gives the reason.
    """
    folder = python.parent.parent
    clear(folder)
    # pip of this environment serves the other one, for which Debian ships none.
    have_pip = importlib.util.find_spec("pip") is not None
    run([str(base), "-m", "venv", *(["--without-pip"] if have_pip else []), str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    report(f"installing {RELEASE}")
    run(
        [
            *(pip if have_pip else [str(python), "-m", "pip"]),
            *("install", "--quiet", "--disable-pip-version-check", *OLD_TFLITE.requirements),
        ]
    )
    expect_runtime(python)


def build_with_debian(python: Path, report: Report) -> None:
    """Make an environment whose interpreter is Debian's, started with Debian's own loader.

    Raises:
        TargetUnavailableError: not a machine of Debian's, or its packages cannot be had.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ("x86_64", "aarch64"):
        raise TargetUnavailableError(f"not for {platform.system()} on {machine}.")
    tree = python_tree(f"python-{debian.host_architecture()}", debian.host_architecture())
    packages = wheels.unpack(pinned_wheels(OLD_TFLITE, machine), report)
    debian.unpack(tree, report)
    *loader, program = debian.build_command(tree, "python3.11")
    folder = python.parent.parent
    clear(folder)
    (folder / "lib" / "python3.11").mkdir(parents=True)
    (folder / "lib" / "python3.11" / "site-packages").symlink_to(packages)
    (folder / "pyvenv.cfg").write_text(f"home = {Path(program).parent}\n")
    python.parent.mkdir()
    words = {"command": loader, "python": [str(python)], "program": [program]}
    python.write_text(WRAPPER.format(**{key: shlex.join(value) for key, value in words.items()}))
    python.chmod(0o755)
    expect_runtime(python)


def expect_runtime(python: Path) -> None:
    """Refuse an environment that cannot import the runtime.

    Raises:
        TargetUnavailableError: gives Python's reason.
    """
    imports.cache_clear()
    run([str(python), "-E", "-c", f"import {OLD_TFLITE.module}"])


def run(command: list[str]) -> None:
    """Run a command.

    Raises:
        TargetUnavailableError: it failed; gives its last complaint.
    """
    try:
        process = children.run(command)
    except OSError as error:
        raise TargetUnavailableError(f"{command[0]}: {error.strerror}.") from None
    if process.returncode:
        lines = [line for line in process.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or process.stderr.strip().splitlines() or ["no message"])[-1]
        raise TargetUnavailableError(reason.removeprefix("ERROR: "))
