"""The second environment: tflite-runtime 2.14 has wheels for Python 3.9 to 3.11 alone.

Ways to have such a Python, in the order in which they are tried: the running one, another one
that is installed here, and Debian's 3.11, unpacked without root and started with its own loader.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Kept, Report, empty, keep
from fca_edge.runtimes import (
    OLD_TFLITE,
    OLD_TFLITE_VARIABLE,
    available,
    cache_folder,
    find_second_fault,
    imports,
    interpreter,
    old_tflite_python,
    second_environment,
)
from fca_edge.targets.provision import debian, wheels
from fca_edge.targets.provision.machines import pinned_wheels, python_tree
from fca_edge.targets.provision.programs import run_program

# Fills a folder, which then moves to the place that it is made for.
Way = Callable[[Path, Path, Report], None]

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
    """Make the second environment unless it is there and works; returns its interpreter.

    Raises:
        TargetUnavailableError: it cannot be installed; says what was tried and what to do.
    """
    kept = second_environment()
    if not is_ours(kept) and available(OLD_TFLITE):
        python = interpreter(OLD_TFLITE)
    else:
        refuse_foreign(kept)
        keep(kept, partial(make_environment, kept.place, report), report, find_import_fault)
        imports.cache_clear()
        python = old_tflite_python()
    report(f"{RELEASE} is set up: {python}")
    return python


def is_ours(kept: Kept) -> bool:
    """Tell whether set-up made an environment and may therefore make it again."""
    marks = (kept.place / OURS, kept.place / kept.stamp)
    return any(map(os.path.lexists, marks))


def find_import_fault() -> str | None:
    """Say why the environment cannot be used, which is tried anew."""
    imports.cache_clear()
    return find_second_fault()


def refuse_foreign(kept: Kept) -> None:
    """Refuse to make an environment where something lies that is not ours.

    Raises:
        TargetUnavailableError: says what to do instead.
    """
    folder = kept.place
    if is_ours(kept) or folder.is_relative_to(cache_folder()) or not os.path.lexists(folder):
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise TargetUnavailableError(
            f"{folder}: holds something that fca-edge did not make; install"
            f" {shlex.join(OLD_TFLITE.requirements)} there yourself, or unset"
            f" {OLD_TFLITE_VARIABLE}."
        )


def make_environment(place: Path, report: Report, folder: Path) -> dict[str, Any]:
    """Fill a folder, which then moves to its place, in the first way that works.

    Raises:
        TargetUnavailableError: none does; says what was tried and what to do.
    """
    reasons = []
    for name, build in list_ways():
        report(f"making {place} with {name}")
        try:
            (folder / OURS).write_text("made by fca-edge targets setup, and made again by it\n")
            build(folder, place, report)
        except TargetUnavailableError as error:
            reasons.append(f"{name}: {str(error).rstrip('.')}")
            empty(folder)
            continue
        return {"way": name}
    raise TargetUnavailableError(
        f"{RELEASE} needs Python 3.9 to 3.11, and this is"
        f" {platform.python_version()}; install one (as `uv python install 3.11` does) and run"
        f" `fca-edge targets setup local` again. Tried: {'; '.join(reasons)}."
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


def build_with(base: Path, folder: Path, place: Path, report: Report) -> None:
    """Make a virtual environment of an interpreter, and install the runtime there.

    Raises:
        TargetUnavailableError: one of the two failed; gives the reason.
    """
    python = folder / "bin" / "python"
    # pip of this environment serves the other one, for which Debian ships none.
    have_pip = importlib.util.find_spec("pip") is not None
    run_program([base, "-m", "venv", folder, *(["--without-pip"] if have_pip else [])])
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    report(f"installing {RELEASE}")
    run_program(
        [
            *(pip if have_pip else [str(python), "-m", "pip"]),
            *("install", "--quiet", "--disable-pip-version-check", *OLD_TFLITE.requirements),
        ]
    )
    expect_runtime(python)
    for file in (folder / "pyvenv.cfg", *(folder / "bin").iterdir()):
        if not file.is_symlink():
            file.write_bytes(file.read_bytes().replace(bytes(folder), bytes(place)))


def build_with_debian(folder: Path, place: Path, report: Report) -> None:
    """Make an environment whose interpreter is Debian's, started with Debian's own loader.

    Raises:
        TargetUnavailableError: not a machine of Debian's, or its packages cannot be had.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ("x86_64", "aarch64"):
        raise TargetUnavailableError(f"not for {platform.system()} on {machine}.")
    tree, packages = folder / "debian", folder / "lib" / "python3.11" / "site-packages"
    tree.mkdir()
    packages.mkdir(parents=True)
    wheels.unpack_into(packages, pinned_wheels(OLD_TFLITE, machine), report)
    architecture = debian.host_architecture()
    debian.unpack_into(tree, python_tree(f"python-{architecture}", architecture), report)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    (folder / "pyvenv.cfg").write_text(f"home = {place}/debian/usr/bin\n")
    write_wrapper(python, folder, folder)
    expect_runtime(python)
    # What Python compiles at its first start is checked like the rest.
    with contextlib.suppress(TargetUnavailableError):
        run_program([python, "-m", "compileall", "-q", "-s", folder, "-p", place, folder])
    write_wrapper(python, folder, place)


def write_wrapper(python: Path, folder: Path, place: Path) -> None:
    """Write the program that starts Debian's Python of an environment.

    Args:
        place: where the environment, which lies in `folder`, is when it is started.
    """
    words = debian.build_command(folder / "debian", "python3.11")
    *loader, program = (word.replace(str(folder), str(place)) for word in words)
    own = str(place / python.relative_to(folder))
    words_of = {"command": loader, "python": [own], "program": [program]}
    text = {key: shlex.join(value) for key, value in words_of.items()}
    python.write_text(WRAPPER.format(**text))
    python.chmod(0o755)


def expect_runtime(python: Path) -> None:
    """Refuse an environment that cannot import the runtime.

    Raises:
        TargetUnavailableError: gives Python's reason.
    """
    imports.cache_clear()
    run_program([python, "-E", "-c", f"import {OLD_TFLITE.module}"])
