"""The instruction counter: our C file, compiled once for this machine's QEMU."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fca_edge import children
from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import cache_folder
from fca_edge.store import compute_sha256

SOURCE = Path(__file__).with_name("tcg_cost.c")
FLAGS = ("-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")


def plugin_path() -> Path:
    """Where the compiled plugin is; its name changes with the source."""
    return cache_folder() / "plugins" / f"tcg_cost-{compute_sha256(SOURCE)[:16]}.so"


def compile_plugin() -> Path:
    """Compile the plugin unless it is there.

    Raises:
        TargetUnavailableError: no C compiler, or it failed.
    """
    path = plugin_path()
    if path.is_file():
        return path
    compiler = os.environ.get("CC") or next(
        filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None
    )
    if compiler is None:
        raise TargetUnavailableError(
            "counting instructions needs a C compiler: install gcc (Debian: build-essential), or"
            " name one in CC, and run the set-up again."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(f".{os.getpid()}.new")
    process = children.run([compiler, *FLAGS, "-o", staged, SOURCE])
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[0]
        raise TargetUnavailableError(f"{compiler}: compiling {SOURCE.name} failed: {reason}")
    os.replace(staged, path)
    return path
