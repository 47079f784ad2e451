"""Which interpreter runs what; setting up never touches what it did not make."""

import platform
import runpy
import sys
from pathlib import Path

import pytest

from fca_edge import runtimes
from fca_edge.device import AGENT, LEAN
from fca_edge.errors import TargetUnavailableError
from fca_edge.exporting.forms import ONNX, PROFILES
from fca_edge.measure.jobs import job_for
from fca_edge.runtimes import (
    OLD_TFLITE,
    OLD_TFLITE_VARIABLE,
    RUNTIMES,
    available,
    imports,
    interpreter,
    proving_runtimes,
    runtime_for,
)
from fca_edge.targets.local import EMULATOR, LocalTarget, emulator_here
from fca_edge.targets.provision.old_tflite import setup_old_tflite

PROFILE_NAMES = (ONNX.name, *PROFILES)
SUFFIXES = {ONNX.name: "onnx", **{name: p.format for name, p in PROFILES.items()}}


def test_what_runs_on_boards_knows_the_same_runtimes() -> None:
    in_python = {name for name, runtime in RUNTIMES.items() if not runtime.kits}
    assert set(runpy.run_path(str(AGENT))["RUNTIMES"]) == in_python
    lean = {name for name, runtime in RUNTIMES.items() if runtime.lean}
    assert set(runpy.run_path(str(LEAN))["RUNTIMES"]) == lean


def test_each_profile_has_one_runtime_by_default() -> None:
    """A runtime that is a program comes second, for machines that lack the first."""
    named = [p for runtime in RUNTIMES.values() if not runtime.kits for p in runtime.profiles]
    assert sorted(named) == sorted(PROFILE_NAMES)
    programs = {p for runtime in RUNTIMES.values() if runtime.kits for p in runtime.profiles}
    assert programs == {"modern", "litert-fp16"}
    assert not any(r.kits for p in PROFILE_NAMES for r in [runtime_for(f".{SUFFIXES[p]}", p)] if r)
    assert {p for r in RUNTIMES.values() for p in r.also_proves} <= set(PROFILE_NAMES)
    half_profiles = {p for r in RUNTIMES.values() for p in r.half_profiles}
    assert half_profiles == {p.name for p in PROFILES.values() if p.half_arithmetic}


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("onnx", ("onnxruntime",)),
        ("onnxruntime-xnnpack", ("onnxruntime", "onnxruntime-xnnpack")),
        ("modern", ("litert", "tflite-2.14", "xnnpack")),
        ("litert-fp16", ("litert", "xnnpack")),
        ("tflite-2.14", ("tflite-2.14",)),
    ],
)
def test_where_files_are_proved(profile: str, expected: tuple[str, ...]) -> None:
    """An ONNX file is proved by the plain runtime, which every machine has."""
    assert proving_runtimes(profile) == expected
    suffix = RUNTIMES[expected[0]].suffix
    own = runtime_for(suffix, profile)
    assert own is not None and profile in own.profiles


def test_a_file_of_an_unknown_profile_gets_the_first_runtime_that_loads_it() -> None:
    assert runtime_for(".tflite", "unknown") is RUNTIMES["litert"]
    assert runtime_for(".tflite", "modern", ("onnxruntime", "tflite-2.14")) == OLD_TFLITE
    assert runtime_for(".onnx", "modern", ("litert",)) is None


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=lambda runtime: runtime.name)
def test_every_runtime_can_be_had_somewhere(runtime: runtimes.Runtime) -> None:
    assert runtime.wheels or runtime.debian or runtime.kits
    if runtime.wheels:
        assert runtime.package and runtime.version and runtime.numpy
    assert not set(runtime.wheels) & set(runtime.debian)


def test_a_users_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "usr" / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.write_text("not one of ours")
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(python))
    with pytest.raises(TargetUnavailableError, match="did not make"):
        setup_old_tflite(lambda text: None)
    assert python.read_text() == "not one of ours"


def test_an_environment_without_the_module_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(python))
    assert not available(RUNTIMES["tflite-2.14"])
    python.chmod(0o755)
    imports.cache_clear()
    assert not available(RUNTIMES["tflite-2.14"])


@pytest.fixture
def as_on_32_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This interpreter has tflite-runtime, there is no second environment, and no name of one."""
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(OLD_TFLITE_VARIABLE, raising=False)
    return tmp_path


def test_the_running_interpreter_may_have_tflite_2_14(as_on_32_bit: Path) -> None:
    assert interpreter(RUNTIMES["tflite-2.14"]) == Path(sys.executable)
    said: list[str] = []
    assert setup_old_tflite(said.append) == Path(sys.executable)
    assert said == [f"tflite-runtime 2.14.0 is set up: {sys.executable}"]


def test_a_named_interpreter_is_not_overruled(
    as_on_32_bit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(as_on_32_bit / "none"))
    with pytest.raises(TargetUnavailableError, match="none cannot import it"):
        interpreter(RUNTIMES["tflite-2.14"])


def test_static_files_are_not_proved_where_there_are_no_kernels() -> None:
    assert proving_runtimes("modern", "int8-static") == ("litert", "tflite-2.14")


@pytest.mark.parametrize(
    ("machine", "wanted"),
    [("armv7l", ("tflite-2.14", "xnnpack")), ("riscv64", ("tflite-2.14",))],
)
def test_without_litert_a_file_goes_to_what_there_is(
    as_on_32_bit: Path, monkeypatch: pytest.MonkeyPatch, machine: str, wanted: tuple[str, ...]
) -> None:
    artefact = as_on_32_bit / "l1.tflite"
    artefact.write_bytes(b"")
    assert job_for(artefact, None, LocalTarget().runtimes).runtime.name == "litert"
    here = {"tflite_runtime.interpreter"}
    monkeypatch.setattr(runtimes, "installed", lambda runtime: runtime.module in here)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert LocalTarget().runtimes == wanted
    assert job_for(artefact, None, LocalTarget().runtimes).runtime.name == "tflite-2.14"


@pytest.mark.parametrize("end", ["/usr/bin/qemu-aarch64-static", "/usr/bin/qemu-aarch64 (deleted)"])
def test_an_emulator_is_known_by_its_mapping(end: str) -> None:
    one = "7f6810a28000-7f6810ea7000 r-xp 00228000 fe:00 2170901                    "
    match = EMULATOR.search(f"{one}/usr/bin/python3.11\n{one}{end}\n{one}/usr/lib/libc.so.6\n")
    assert match and match[1] == "qemu-aarch64"
    assert not EMULATOR.search(f"{one}/home/qemu-arm/bin/python3.11\n")
    assert emulator_here() is None
