"""Which interpreter runs which runtime on this machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fca_edge.errors import INSTALL_BARE, TargetUnavailableError

OLD_TFLITE = "2.14.0"
# Python releases after which it has no wheels.
LAST_OF_OLD_TFLITE = (3, 11)
OLD_TFLITE_VARIABLE = "FCA_EDGE_TFLITE_214"


@dataclass(frozen=True)
class Runtime:
    """A runtime by the name that users and records see.

    Attributes:
        agent_name: what the agent calls it.
        suffix: artefacts that it loads.
        module: what must be importable in the interpreter.
        provider: what ONNX Runtime must have been built with, None for what every build has.
    """

    name: str
    agent_name: str
    suffix: str
    module: str
    provider: str | None = None


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": Runtime("onnxruntime", "onnxruntime", ".onnx", "onnxruntime"),
    "litert": Runtime("litert", "litert", ".tflite", "ai_edge_litert"),
    "tflite-2.14": Runtime("tflite-2.14", "tflite_runtime", ".tflite", "tflite_runtime"),
    # Behind the plain one, which every machine has and files without a profile get.
    "onnxruntime-xnnpack": Runtime(
        "onnxruntime-xnnpack",
        "onnxruntime_xnnpack",
        ".onnx",
        "onnxruntime",
        "XnnpackExecutionProvider",
    ),
}


def cache_folder() -> Path:
    """Folder for what can be made again: $XDG_CACHE_HOME/fca-edge."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fca-edge"


def old_tflite_python() -> Path:
    """Interpreter of the second environment, with tflite-runtime 2.14 and NumPy 1."""
    named = os.environ.get(OLD_TFLITE_VARIABLE)
    return Path(named) if named else cache_folder() / f"tflite-{OLD_TFLITE}" / "bin" / "python"


def interpreter(runtime: Runtime) -> Path:
    """Return the Python that runs a runtime here.

    Raises:
        TargetUnavailableError: not installed; says how to set it up.
    """
    if runtime.name == "tflite-2.14":
        python = old_tflite_python()
        if imports(python, runtime.module):
            return python
        # 32-bit ARM has no other runtime, and no second environment. A name is not overruled.
        if installed(runtime) and OLD_TFLITE_VARIABLE not in os.environ:
            return Path(sys.executable)
        raise TargetUnavailableError(
            f"tflite-runtime {OLD_TFLITE} is not set up ({python} cannot import it);"
            " run `fca-edge targets setup local`."
        )
    if not installed(runtime):
        raise TargetUnavailableError(f"{runtime.name} is not installed here; {remedy(runtime)}.")
    return Path(sys.executable)


def installed(runtime: Runtime) -> bool:
    """Tell whether the running interpreter has a runtime's module, built with its provider."""
    if importlib.util.find_spec(runtime.module) is None:
        return False
    return runtime.provider is None or provides(Path(sys.executable), runtime.provider)


def remedy(runtime: Runtime) -> str:
    """Say how a runtime that is not installed can be had."""
    if runtime.name == "tflite-2.14":
        return "run `fca-edge targets setup local`"
    if runtime.provider is None:
        return INSTALL_BARE
    return (
        f"wheels of ONNX Runtime have no {runtime.provider}, Debian's python3-onnxruntime has it"
        " from trixie on: use --target qemu:armv7"
    )


def possible_here() -> tuple[str, ...]:
    """Names of the runtimes that this machine has or can set up; LiteRT is not on 32-bit ARM."""
    return tuple(
        name for name, made in RUNTIMES.items() if name == "tflite-2.14" or installed(made)
    )


def available(runtime: Runtime) -> bool:
    """Tell whether a runtime can be used here."""
    try:
        interpreter(runtime)
    except TargetUnavailableError:
        return False
    return True


@cache
def imports(python: Path, module: str) -> bool:
    """Tell whether an interpreter is there and can import a module."""
    try:
        done = subprocess.run([str(python), "-c", f"import {module}"], capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


@cache
def provides(python: Path, provider: str) -> bool:
    """Tell whether an interpreter's ONNX Runtime was built with a provider."""
    code = f"import onnxruntime; onnxruntime.get_available_providers().index({provider!r})"
    return subprocess.run([str(python), "-c", code], capture_output=True).returncode == 0
