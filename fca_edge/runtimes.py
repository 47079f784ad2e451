"""The table of runtimes, and which interpreter of this machine runs each.

A new runtime is a row here, a class in `device/agent.py` (and in `device/lean.py` if it can load
in little memory), and the code that sets it up if no package does.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from fca_edge import children
from fca_edge.errors import INSTALL_BARE, TargetUnavailableError
from fca_edge.keeping import Kept
from fca_edge.keeping import cache_folder as cache_folder
from fca_edge.native import Kit

OLD_TFLITE_VARIABLE = "FCA_EDGE_TFLITE_214"
DEFAULT_PROVIDER = "CPUExecutionProvider"

# `this`: the one that runs fca-edge; `second`: an environment beside it, which `fca-edge targets
# setup local` makes; `debian`: this one if it is Debian's, whose build is another than PyPI's;
# `native`: none, since the runtime is a program of its own, which the same command makes.
Interpreter = Literal["this", "second", "debian", "native"]


@dataclass(frozen=True)
class Runtime:
    """One row of the table. Machines are named as `uname -m` does.

    Attributes:
        name: what users, records and the agent call it.
        suffix: of the files that it loads.
        module: what is imported to use it.
        profiles: profiles of the files that it runs by default.
        half_profiles: those of them whose files it computes in fp16 if the core can.
        also_proves: profiles of others whose files must be right on it, too, if it is installed.
        package: its name on PyPI.
        version, numpy: what emulated machines get, pinned so that their counts repeat.
        last_python: the last release of Python with wheels of a runtime that is no longer made:
            `version` is then the only one that is ever installed. None while it is maintained.
        interpreter: which Python of this machine runs it.
        wheels: machines for which PyPI has wheels: boards over SSH and emulated machines.
        debian: emulated machines that take it from Debian instead.
        kits: machines for which it is a program of its own (see `fca_edge.native`).
        refuses: precisions that it has no kernels for.
        tasks: what networks do that it runs (see `zoo.specs.find_task`).
        answers: what files give that it runs.
        provider: of ONNX Runtime, if it is one that not every build has.
        lean: whether `device/lean.py` can load with it.
        whole: whether its delegate takes files of its own profiles as one partition.
        profiler: whether it can tell the time of each operator.
    """

    name: str
    suffix: str
    module: str
    profiles: tuple[str, ...] = ()
    half_profiles: tuple[str, ...] = ()
    also_proves: tuple[str, ...] = ()
    package: str = ""
    version: str = ""
    numpy: str = ""
    last_python: tuple[int, int] | None = None
    interpreter: Interpreter = "this"
    wheels: tuple[str, ...] = ()
    debian: tuple[str, ...] = ()
    kits: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("classify", "segment", "detect")
    answers: tuple[str, ...] = ("logits", "labels")
    provider: str = DEFAULT_PROVIDER
    lean: bool = False
    whole: bool = False
    profiler: bool = False

    @property
    def requirements(self) -> tuple[str, ...]:
        """What pip is asked for by a user who wants it; NumPy if not any would do."""
        if self.last_python is None:
            return (self.package,)
        next_numpy = int(self.numpy.partition(".")[0]) + 1
        return (f"{self.package}=={self.version}", f"numpy<{next_numpy}")

    def has_wheel(self, machine: str, python: tuple[int, int]) -> bool:
        """Tell whether PyPI has a wheel for a machine with a release of Python."""
        return machine in self.wheels and (self.last_python is None or python <= self.last_python)


# In this order if several could run a file and no profile decides: the plain ones first.
RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            name="onnxruntime",
            suffix=".onnx",
            module="onnxruntime",
            profiles=("onnx",),
            also_proves=("onnxruntime-xnnpack",),
            package="onnxruntime",
            version="1.32.0",
            numpy="2.4.6",
            wheels=("x86_64", "aarch64"),
            debian=("armv7l",),
            lean=True,
            profiler=True,
        ),
        Runtime(
            name="litert",
            suffix=".tflite",
            module="ai_edge_litert.interpreter",
            profiles=("modern", "litert-fp16"),
            half_profiles=("litert-fp16",),
            package="ai-edge-litert",
            version="2.3.0",
            numpy="2.4.6",
            wheels=("x86_64", "aarch64"),
            lean=True,
            whole=True,
        ),
        Runtime(
            name="tflite-2.14",
            suffix=".tflite",
            module="tflite_runtime.interpreter",
            profiles=("tflite-2.14",),
            also_proves=("modern",),
            package="tflite-runtime",
            version="2.14.0",
            numpy="1.26.4",
            last_python=(3, 11),
            interpreter="second",
            wheels=("x86_64", "aarch64", "armv7l"),
        ),
        Runtime(
            name="onnxruntime-xnnpack",
            suffix=".onnx",
            module="onnxruntime",
            profiles=("onnxruntime-xnnpack",),
            package="onnxruntime",
            interpreter="debian",
            debian=("armv7l",),
            provider="XnnpackExecutionProvider",
            profiler=True,
        ),
        Runtime(
            name="xnnpack",
            suffix=".tflite",
            module="",
            profiles=("modern", "litert-fp16"),
            half_profiles=("litert-fp16",),
            package="xnnpack",
            interpreter="native",
            kits=("x86_64", "aarch64", "armv7l"),
            refuses=("int8-static",),
            tasks=("classify", "segment"),
            answers=("logits",),
            whole=True,
            profiler=True,
        ),
    )
}
OLD_TFLITE = RUNTIMES["tflite-2.14"]


def runtime_for(
    suffix: str, profile: str, among: Collection[str] = tuple(RUNTIMES)
) -> Runtime | None:
    """Return the runtime that a file gets by default, None if none of `among` loads it.

    Args:
        suffix: of the file, such as ".onnx".
        profile: that it was written for; if it is unknown, the first runtime is taken.
        among: names of the runtimes to choose from.
    """
    loading = [r for r in RUNTIMES.values() if r.suffix == suffix and r.name in among]
    matching = (runtime for runtime in loading if profile in runtime.profiles)
    return next(matching, loading[0] if loading else None)


def proving_runtimes(
    profile: str, precision: str = "fp32", task: str = "classify"
) -> tuple[str, ...]:
    """Name the runtimes on which files of a profile and a precision must be right.

    The first one must be there for an export; the others prove a file if they are installed.
    """
    return tuple(
        name
        for name, r in RUNTIMES.items()
        if (profile in r.profiles or profile in r.also_proves)
        and precision not in r.refuses
        and task in r.tasks
    )


def old_tflite_python() -> Path:
    """Interpreter of the second environment, with tflite-runtime 2.14 and NumPy 1."""
    path = os.environ.get(OLD_TFLITE_VARIABLE)
    folder = cache_folder() / f"tflite-{OLD_TFLITE.version}"
    return Path(path) if path else folder / "bin" / "python"


def second_environment() -> Kept:
    """The environment of that interpreter; one that a user has made has no stamp."""
    return Kept(old_tflite_python().parent.parent, {"wanted": list(OLD_TFLITE.requirements)})


def find_second_fault(full: bool = False) -> str | None:
    """Say what keeps the second environment from being used; it is tried if that is unknown.

    Args:
        full: read every file of one that fca-edge has made.
    """
    python, kept = old_tflite_python(), second_environment()
    if os.path.lexists(kept.place / kept.stamp):
        fault = kept.find_fault(full)
        if fault is not None:
            return f"{kept.place}: {fault}"
    return None if imports(python, OLD_TFLITE.module) else f"{python} cannot import it"


def interpreter(runtime: Runtime) -> Path:
    """Return the Python that runs a runtime here.

    Raises:
        TargetUnavailableError: not installed; says how to set it up.
    """
    if runtime.interpreter == "second":
        fault = find_second_fault()
        if fault is None:
            return old_tflite_python()
        # 32-bit ARM has no other runtime, and no second environment. A name is not overruled.
        if installed(runtime) and OLD_TFLITE_VARIABLE not in os.environ:
            return Path(sys.executable)
        raise TargetUnavailableError(
            f"{runtime.package} {runtime.version} is not set up ({fault}); {remedy(runtime)}."
        )
    if runtime.kits:
        fault = local_kit(runtime).kept.find_fault()
        if fault is not None:
            raise TargetUnavailableError(
                f"{runtime.name} is not set up ({local_kit(runtime).kept.place}: {fault});"
                f" {remedy(runtime)}."
            )
        return Path(sys.executable)
    if not installed(runtime):
        raise TargetUnavailableError(f"{runtime.name} is not installed here; {remedy(runtime)}.")
    return Path(sys.executable)


def local_kit(runtime: Runtime) -> Kit:
    """Return the kit of a runtime that is a program, for this machine.

    Raises:
        TargetUnavailableError: not for such a machine.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in runtime.kits:
        raise TargetUnavailableError(f"{runtime.name} is for Linux on {', '.join(runtime.kits)}.")
    return Kit(machine)


def local_program(runtime: Runtime) -> str | None:
    """Return the program that a runtime is on this machine, None if Python runs it."""
    return str(local_kit(runtime).program) if runtime.kits else None


def installed(runtime: Runtime) -> bool:
    """Tell whether the running interpreter has a runtime's module, built with its provider."""
    if runtime.kits:
        return available(runtime)
    if importlib.util.find_spec(runtime.module.partition(".")[0]) is None:
        return False
    if runtime.provider == DEFAULT_PROVIDER:
        return True
    return provides(Path(sys.executable), runtime.provider)


def remedy(runtime: Runtime) -> str:
    """Say how to install a runtime that is missing."""
    if runtime.interpreter in ("second", "native"):
        return "run `fca-edge targets setup local`"
    if runtime.interpreter == "this":
        return INSTALL_BARE
    return (
        f"wheels of ONNX Runtime have no {runtime.provider}, Debian's python3-onnxruntime has it"
        " from trixie on: use --target qemu:armv7"
    )


def possible_here() -> tuple[str, ...]:
    """Names of the runtimes that this machine has or can set up; LiteRT is not on 32-bit ARM."""
    return tuple(
        name
        for name, runtime in RUNTIMES.items()
        if runtime.interpreter == "second"
        or platform.machine() in runtime.kits
        or (not runtime.kits and installed(runtime))
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
        process = children.run([python, "-c", f"import {module}"])
    except OSError:
        return False
    return process.returncode == 0


@cache
def provides(python: Path, provider: str) -> bool:
    """Tell whether an interpreter's ONNX Runtime was built with a provider."""
    code = provider_code(provider)
    return children.run([python, "-c", code]).returncode == 0


def provider_code(provider: str) -> str:
    """Return Python that fails if ONNX Runtime was built without a provider."""
    return f"import onnxruntime; onnxruntime.get_available_providers().index({provider!r})"


def proof_code(runtime: Runtime) -> str:
    """Return Python that fails if a runtime cannot be used."""
    code = f"import {runtime.module}"
    return code if runtime.provider == DEFAULT_PROVIDER else provider_code(runtime.provider)
