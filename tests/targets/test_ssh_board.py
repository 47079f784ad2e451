"""Which boards are refused, with what words, and how targets are found by their names."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fca_edge.device import probe
from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets import settings
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.resolve import real_name, resolve
from fca_edge.targets.ssh.address import Address
from fca_edge.targets.ssh.board import Board, build_board, describe_board, describe_cores
from fca_edge.targets.ssh.connection import Connection
from fca_edge.targets.ssh.environment import Environments, requirements, wheels_for
from fca_edge.targets.ssh.files import Files
from fca_edge.targets.ssh.target import SshTarget

FOUND: dict[str, Any] = {
    "folder": "/home/pi/.cache/fca-edge",
    "machine": "aarch64",
    "bits": 64,
    "kernel": "Linux 6.1",
    "glibc": "2.36",
    "python": "3.11.2",
    "executable": "/usr/bin/python3",
    "numpy": None,
    "cpu_model": "Cortex-A72",
    "cores": [{"cpu": n, "capacity": None, "max_khz": 1800000} for n in range(4)],
    "memory_bytes": 4 << 30,
    "available_bytes": 3 << 30,
    "disk_free_bytes": 8 << 30,
    "governor": "ondemand",
    "sensors": {"cpu-thermal": 48.3},
    "emulator": None,
}


@pytest.fixture
def connection() -> Any:
    made = Connection(Address("board"))
    yield made
    made.close()


def board_of(connection: Connection, **more: Any) -> Board:
    return build_board({**FOUND, **more}, connection)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"python": "3.7.3"}, "Python 3.7.3 is too old"),
        ({"glibc": None}, "its C library is not glibc"),
        ({"machine": "riscv64"}, "no runtime has wheels for riscv64"),
    ],
)
def test_boards_that_cannot_be_used(
    connection: Connection, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(TargetUnavailableError, match=f"ssh://board: {message}"):
        board_of(connection, **more)


def test_32_bit_programs_on_a_64_bit_kernel(connection: Connection) -> None:
    board = board_of(connection, bits=32)
    assert board.machine == "armv7l"
    assert board.runtimes == ("tflite-2.14", "xnnpack")


@pytest.mark.parametrize(
    ("python", "machine", "expected"),
    [
        ("3.11.2", "aarch64", ("onnxruntime", "litert", "tflite-2.14", "xnnpack")),
        ("3.13.1", "aarch64", ("onnxruntime", "litert", "xnnpack")),
        ("3.13.1", "armv7l", ("xnnpack",)),
    ],
)
def test_runtimes(
    connection: Connection, python: str, machine: str, expected: tuple[str, ...]
) -> None:
    assert board_of(connection, python=python, machine=machine).runtimes == expected


@pytest.mark.parametrize(
    ("more", "runtime", "message"),
    [
        ({"machine": "armv7l"}, "tflite-2.14", "sudo apt install python3-numpy"),
        ({"machine": "armv7l", "numpy": "2.1.0"}, "tflite-2.14", r"its NumPy is 2\.1\.0"),
        ({"machine": "armv7l"}, "litert", "litert has no wheel for armv7l with Python 3.11.2"),
        ({"python": "3.13.1"}, "tflite-2.14", r"there: onnxruntime, litert, xnnpack\)"),
    ],
)
def test_runtimes_that_a_board_cannot_have(
    connection: Connection, more: dict[str, Any], runtime: str, message: str
) -> None:
    board = board_of(connection, **more)
    environments = Environments(connection, board, Files(connection, board.folder))
    with pytest.raises(TargetUnavailableError, match=message):
        environments.refuse(RUNTIMES[runtime])


def test_wheels_fit_the_board(connection: Connection) -> None:
    board = board_of(connection)
    assert requirements(RUNTIMES["onnxruntime"], board)[0].startswith("onnxruntime<=")
    assert requirements(RUNTIMES["litert"], board)[0].startswith("ai-edge-litert<=")
    assert requirements(RUNTIMES["tflite-2.14"], board)[1] == "numpy<2"
    armv7 = replace(board, machine="armv7l")
    assert requirements(RUNTIMES["tflite-2.14"], armv7) == ("tflite-runtime==2.14.0",)
    found = wheels_for(board, "numpy")
    assert (found.machine, found.python, found.glibc_minor) == ("aarch64", "3.11", 36)


def test_what_is_told_about_a_board(connection: Connection) -> None:
    told = dict(describe_board(board_of(connection)))
    assert told["cpu"] == "Cortex-A72, 4 cores"
    assert told["sensors"] == "cpu-thermal 48.3 °C"
    assert told["memory"] == "3072 of 4096 MiB available"
    assert told["governor"] == "ondemand"


def test_big_and_little_cores_are_told(connection: Connection) -> None:
    cores = [{"cpu": n, "capacity": 446 if n < 4 else 1024, "max_khz": None} for n in range(6)]
    assert (
        describe_cores(board_of(connection, cores=cores)) == "4 of capacity 446, 2 of capacity 1024"
    )


def test_the_probe_on_this_machine(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-", str(tmp_path / "folder")]
    text = Path(probe.__file__).read_text()
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert set(found) == {"event", *FOUND}
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["memory_bytes"] > found["available_bytes"] > 1 << 20


def test_cores_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def core(number: int, part: str) -> str:
        return f"processor\t: {number}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"

    files = {
        "/proc/cpuinfo": core(0, "0xd05") + core(1, "0xd05") + core(2, "0xd0b"),
        "/proc/device-tree/model": "Radxa ROCK 5B",
    }
    monkeypatch.setattr(probe, "read_text", files.get)
    assert probe.cpu_model() == "2 x Cortex-A55, 1 x Cortex-A76 (Radxa ROCK 5B)"


@pytest.mark.parametrize(
    ("compatible", "expected"), [("linux,dummy-virt", "qemu-system"), ("raspberrypi,4", None)]
)
def test_emulated_boards_are_known(
    monkeypatch: pytest.MonkeyPatch, compatible: str, expected: str | None
) -> None:
    monkeypatch.setattr(probe, "read_text", {"/proc/device-tree/compatible": compatible}.get)
    assert probe.emulator() == expected


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in (settings.BOARD_VARIABLE, settings.SSH_CONFIG_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "fca-edge" / "config.toml"
    file.parent.mkdir()
    return file


def test_arm_is_the_nearest_arm_machine(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert real_name("arm") == "qemu:aarch64"
    config.write_text('board = "ssh://pi@one"\n')
    assert real_name("arm") == "ssh://pi@one"
    monkeypatch.setenv(settings.BOARD_VARIABLE, "ssh://pi@two")
    assert real_name("arm") == "ssh://pi@two"
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert isinstance(resolve("arm"), LocalTarget)


def test_a_board_by_its_address(config: Path) -> None:
    config.write_text('ssh_config = "/etc/other"\n')
    target = resolve("ssh://pi@one:2222")
    assert isinstance(target, SshTarget)
    assert target.address == Address("one", "pi", 2222)
    assert target.connection.config == Path("/etc/other")
    target.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [("bord = 'x'", "'bord' is unknown"), ("board = 3", "board: 3"), ("=", "as TOML")],
)
def test_wrong_settings(config: Path, text: str, message: str) -> None:
    config.write_text(text)
    with pytest.raises(FcaEdgeError, match=f"config.toml: .*{message}"):
        settings.board()


def test_unknown_targets() -> None:
    with pytest.raises(UsageError, match="Did you mean 'qemu:armv7'"):
        real_name("qemu-armv7")
