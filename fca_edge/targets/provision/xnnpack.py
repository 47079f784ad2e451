"""The kit of `fca-run`: XNNPACK from Debian, the program compiled against it, one folder."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fca_edge.keeping import Report, keep
from fca_edge.native import (
    ARCHITECTURES,
    CLASSIFIER,
    FOLDER,
    PACKAGES,
    PROGRAM,
    PUBLIC_HEADERS,
    RELEASE,
    Kit,
)
from fca_edge.targets.provision import debian, wheels
from fca_edge.targets.provision.programs import run_program

# Compilers of Debian's for other machines; and what Zig, whose wheel has one for each, calls them.
TRIPLETS = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
TRIPLETS["armv7l"] = "arm-linux-gnueabihf"
ZIG = "ziglang==0.17.1"
ZIG_CHECKSUM = {
    "x86_64": "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54",
}
# Newer than the C library of the oldest Debian that XNNPACK is taken from is of no use.
GLIBC = "2.38"
FLAGS = ("-std=c11", "-O3", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
# What every process has, and what only the program needs.
LIBRARY = ("reader.c", "graph.c", "store.c", "machine.c", "model.c")
PROGRAM_SOURCES = ("main.c", "agent.c", "arrays.c", "meter.c", "plan.c")
# What reads pictures, in a library of its own: who has none need not load it.
PICTURE_SOURCES = ("bundle.c", "pixels.c", "png.c", "scale.c", "arrays.c")
LIBRARIES = (
    *("libXNNPACK.so*", "libpthreadpool.so.0", "libcpuinfo.so.0", "libgcc_s.so.1"),
    *("libspng.so.0", "libz.so.1"),
    *("libc.so.6", "libm.so.6", "ld-linux*.so.*"),
)
HEADERS = ("xnnpack.h", "pthreadpool.h", "spng.h")
SCRIPT = """#!/bin/sh
# Starts {name} with the C library that lies beside it.
here=$(dirname "$(readlink -f "$0")")
exec "$here/lib/{loader}" --library-path "$here/lib" "$here/lib/{name}"{words} "$@"
"""
# Programs with the words that their scripts add: settings and model lie beside the script.
SCRIPTS = {PROGRAM: "", CLASSIFIER: ' --bundle "$here"'}


def setup_kit(kit: Kit, report: Report) -> Path:
    """Make the kit for a machine unless it is there; returns its program.

    Raises:
        TargetUnavailableError: no packages, no compiler, or it failed.
    """
    keep(kit.kept, lambda staged: make_kit(staged, kit.machine, report), report)
    return kit.program


def make_kit(folder: Path, machine: str, report: Report) -> dict[str, Any]:
    """Fill the folder of a kit; returns what its stamp says.

    Raises:
        TargetUnavailableError: no packages, no compiler, or it failed.
    """
    architecture = ARCHITECTURES[machine]
    root, lib = folder / "tree", folder / "lib"
    root.mkdir()
    tree = debian.Tree(f"xnnpack-{architecture}", architecture, RELEASE, PACKAGES)
    packages = debian.unpack_into(root, tree, report)
    lib.mkdir()
    for pattern in LIBRARIES:
        copy_libraries(root, pattern, lib)
    copy_headers(root, folder / "include")
    shutil.rmtree(root)
    version = read_version(packages)
    report(f"compiling {PROGRAM} for {machine}")
    compile_program(folder, machine, version, report)
    loader = next(lib.glob("ld-linux*")).name
    for name, words in SCRIPTS.items():
        script = folder / name
        script.write_text(SCRIPT.format(name=name, loader=loader, words=words))
        script.chmod(0o755)
    return {"packages": packages, "version": version}


def pack_kit(kit: Kit, folder: Path) -> Path:
    """Pack what a board needs of a kit into one archive, always the same bytes; returns it."""
    archive = folder / f"{kit.kept.place.name.replace('-', '_')}-{kit.version}-kit.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in (kit.program, *sorted((kit.kept.place / "lib").iterdir())):
            entry = zipfile.ZipInfo(str(path.relative_to(kit.kept.place)))
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, path.read_bytes())
    return archive


def copy_libraries(root: Path, pattern: str, lib: Path) -> None:
    """Copy libraries out of a tree, links as what they lead to."""
    places = (*root.glob("usr/lib/*-linux-gnu*"), *root.glob("usr/lib*"))
    for place in (place for place in places if place.is_dir()):
        for library in place.glob(pattern):
            if library.name != "libXNNPACK.so" and not (lib / library.name).exists():
                shutil.copyfile(library, lib / library.name)
                (lib / library.name).chmod(0o755)


def copy_headers(root: Path, include: Path) -> None:
    """Copy what programs are compiled against: ours, and XNNPACK's."""
    include.mkdir()
    ours = (FOLDER / name for name in PUBLIC_HEADERS)
    for header in (*ours, *(root / "usr" / "include" / name for name in HEADERS)):
        shutil.copyfile(header, include / header.name)


def read_version(packages: list[dict[str, Any]]) -> str:
    """Return XNNPACK's version, such as 20241108."""
    files = (str(package["file"]).split("_") for package in packages)
    full = next(unquote(version) for name, version, _ in files if name == PACKAGES[0])
    return full.partition("git")[2].partition(".")[0] or full


def compile_program(folder: Path, machine: str, version: str, report: Report) -> None:
    """Compile the libraries and the programs, without warnings.

    Raises:
        TargetUnavailableError: no compiler for that machine, or it failed.
    """
    lib = folder / "lib"
    common = [*find_compiler(machine, report), *FLAGS, "-isystem", str(folder / "include")]
    common += [f'-DFR_XNNPACK_VERSION="{version}"', "-s", "-Wl,--allow-shlib-undefined"]
    libraries = (*lib.glob("libXNNPACK.so*"), lib / "libpthreadpool.so.0")
    needed = [*map(str, libraries), "-lm", "-pthread"]

    def compile_file(name: str, sources: tuple[str, ...], *words: str) -> str:
        shared = ("-shared", "-fPIC", f"-Wl,-soname,{name}") if name.endswith(".so") else ()
        files = [str(FOLDER / source) for source in sources]
        run_program([*common, *shared, "-o", str(lib / name), *files, *words])
        return str(lib / name)

    runner = compile_file("libfca_run.so", LIBRARY, *needed)
    compile_file(PROGRAM, PROGRAM_SOURCES, runner, *needed)
    # Products and sums rounded one by one, as Pillow's and NumPy's are.
    exact = ("-ffp-contract=off", str(lib / "libspng.so.0"), "-lm")
    pictures = compile_file("libfca_picture.so", PICTURE_SOURCES, *exact)
    compile_file(CLASSIFIER, (f"{CLASSIFIER}.c",), pictures, runner, "-lm")


def find_compiler(machine: str, report: Report) -> list[str]:
    """Return the words that start a compiler for a machine: one of this machine, else Zig's.

    Raises:
        TargetUnavailableError: none, and Zig's wheel cannot be had.
    """
    if machine == platform.machine():
        names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    else:
        names = [f"{TRIPLETS[machine]}-gcc"]
    found = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if found is not None:
        return [found]
    report("fetching a compiler: Zig")
    place = wheels.unpack(describe_zig(), report)
    program = place / "ziglang" / "zig"
    program.chmod(0o755)
    return [str(program), "cc", "-target", f"{TRIPLETS[machine]}.{GLIBC}"]


def describe_zig() -> wheels.Wheels:
    """Describe the wheel with Zig's compiler, for this machine."""
    machine, release = platform.machine(), f"{sys.version_info[0]}.{sys.version_info[1]}"
    checksums = (ZIG_CHECKSUM.get(machine, ""),)
    return wheels.Wheels("zig", machine, release, 17, (ZIG,), checksums)
