"""Programs in C under sanitizers, linked against a kit and started by its own loader."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from fca_edge.native import FOLDER

FLAGS = ("-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def find_compiler(what: str) -> str:
    """Return a compiler whose sanitizers run here; skips, and says what is not tested."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip(f"NO {what}: needs gcc on x86-64")
    return compiler


def compile_sanitized(compiler: str, program: Path, kit: Path, *words: object) -> list[str]:
    """Compile a program from files and flags; returns the words that start it."""
    command = [compiler, *FLAGS, "-isystem", kit / "include", "-I", FOLDER, "-o", program, *words]
    subprocess.run([*command, "-Wl,--allow-shlib-undefined"], check=True)
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    folders = {str(Path(line.split()[2]).parent) for line in listing.splitlines() if "san" in line}
    path = ":".join([str(kit / "lib"), *folders])
    return [str(next(kit.glob("lib/ld-linux*"))), "--library-path", path, str(program)]
