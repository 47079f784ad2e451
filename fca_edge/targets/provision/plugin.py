"""The instruction counter: our C file, compiled once for this machine's QEMU."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from fca_edge import children
from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Kept, Report, keep
from fca_edge.runtimes import cache_folder
from fca_edge.store import compute_sha256

SOURCE = Path(__file__).with_name("tcg_cost.c")
FILE = "tcg_cost.so"
FLAGS = ("-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")


def describe_plugin() -> Kept:
    """Say where the compiled plugin is kept; the place changes with the source."""
    checksum = compute_sha256(SOURCE)
    place = cache_folder() / "plugins" / f"{SOURCE.stem}-{checksum[:16]}"
    return Kept(place, {"source": checksum})


def plugin_path() -> Path:
    """Where the compiled plugin is."""
    return describe_plugin().place / FILE


def compile_plugin(report: Report = lambda text: None) -> Path:
    """Compile the plugin unless it is there.

    Raises:
        TargetUnavailableError: no C compiler, or it failed.
    """
    keep(describe_plugin(), compile_into, report)
    return plugin_path()


def compile_into(folder: Path) -> dict[str, Any]:
    """Compile the plugin into a folder.

    Raises:
        TargetUnavailableError: no C compiler, or it failed.
    """
    compiler = os.environ.get("CC") or next(
        filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None
    )
    if compiler is None:
        raise TargetUnavailableError(
            "counting instructions needs a C compiler: install gcc (Debian: build-essential), or"
            " name one in CC, and run the set-up again."
        )
    process = children.run([compiler, *FLAGS, "-o", folder / FILE, SOURCE])
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[0]
        raise TargetUnavailableError(f"{compiler}: compiling {SOURCE.name} failed: {reason}")
    return {}
