"""The SSH target on a whole ARM machine, emulated: what works, and every way to fail."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT

from fca_edge.keeping import Kept, keep
from fca_edge.manifest import Artefact
from fca_edge.runtimes import cache_folder
from fca_edge.targets.provision import wheels
from fca_edge.targets.ssh.address import Address
from fca_edge.targets.ssh.environment import wheels_for
from fca_edge.targets.ssh.target import SshTarget

pytestmark = pytest.mark.slow

SCRIPT = [sys.executable, str(ROOT / "tests" / "virtual_board" / "start.py")]
NAME = "virtual-board-aarch64"
ADDRESS = f"ssh://{NAME}"
FOLDER = cache_folder() / NAME
MIB = 1 << 20
# So that a run is still going on when something happens to it.
LONG = ("--warmup", "2000")
WHEEL = "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_{}.whl"


class Relay:
    """Passes connections on to the board's port until they are cut."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open: list[socket.socket] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.server.getsockname()[1]
        self.passed = 0
        self.cut_after: int | None = None
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self.server.accept()
                there = socket.create_connection(("127.0.0.1", self.port))
                self.open += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(1 << 16):
                sink.sendall(block)
                self.passed += len(block)
                if self.cut_after is not None and self.passed > self.cut_after:
                    self.cut_after = None
                    self.cut()
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        for end in self.open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.open.clear()

    def close(self) -> None:
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.cut()


@pytest.fixture(scope="module")
def board() -> Iterator[SshTarget]:
    """The board, booted and set up; its own console for looking and for doing harm."""
    status = subprocess.run([*SCRIPT, "status"], text=True, capture_output=True).stdout
    was_running = "running," in status
    subprocess.run([*SCRIPT, "start"], check=True)
    made = SshTarget(Address(NAME), FOLDER / "ssh_config")
    made.setup(lambda text: None)
    yield made
    made.close()
    if not was_running:
        subprocess.run([*SCRIPT, "stop"], check=True)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    port = next(
        int(line.split()[1])
        for line in (FOLDER / "ssh_config").read_text().splitlines()
        if line.split()[0] == "Port"
    )
    made = Relay(port)
    text = (FOLDER / "ssh_config").read_text().replace(f"Port {port}", f"Port {made.own_port}")
    (tmp_path / "ssh_config").write_text(text)
    yield made
    made.close()


def fca_edge(*words: str, config: Path, **more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "FCA_EDGE_SSH_CONFIG": str(config), **more}
    return subprocess.Popen(
        [sys.executable, "-m", "fca_edge", *words],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def bench(path: Path, config: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    common = ("bench", str(path), "--target", ADDRESS, "--threads", "4", *words)
    return fca_edge(*common, config=config, **more)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the tool; returns its exit code, output and error line."""
    out, err = process.communicate(timeout=900)
    errors = [line for line in err.splitlines() if line.startswith("fca-edge: error:")]
    print(f"exit code {process.returncode}: {' '.join(errors) or '-'}")
    assert "Traceback" not in err
    return process.returncode, out, " ".join(errors)


def console(board: SshTarget, script: str, seconds: float = 120) -> str:
    return board.connection.run(script, seconds).out.strip()


def agent_there(board: SshTarget) -> str:
    """The process of an agent, empty where none runs."""
    return console(board, "pgrep -f 'python3 -s .*[f]ca-edge/files' | head -n 1")


def eventually(condition: Callable[[], object], seconds: float = 90) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.3)
    return bool(condition())


def assert_clean(board: SshTarget) -> None:
    left = "pgrep -fa '[f]ca-edge/files'; ls $HOME/.cache/fca-edge/runs 2>/dev/null; true"
    assert eventually(lambda: not console(board, left), 20), console(board, left)
    assert console(board, "ls $HOME/.cache/fca-edge").split() == KEPT


KEPT = ["files", "lock", "runtimes", "wheels"]


def test_a_bench(board: SshTarget, exported: list[Artefact], tmp_path: Path) -> None:
    file = tmp_path / "records.json"
    process = bench(exported[0].path, FOLDER / "ssh_config", "--json", str(file))
    assert ended(process)[0] == 0
    (record,) = json.loads(file.read_text())["records"]
    assert record["target"]["emulated"] is True
    assert record["target"]["emulator"] == "qemu-system"
    assert record["target"]["machine"] == "aarch64"
    assert record["target"]["cpu_model"].startswith("Cortex-A72")
    assert record["latency_ns"] == record["load_ns"] == []
    assert 20 * MIB < record["memory"]["peak_bytes"] < 200 * MIB
    assert record["memory"]["method"] == "VmHWM"
    assert record["agreement"]["snr_db"] > 100
    assert_clean(board)


def test_the_board_has_no_way_to_the_internet(board: SshTarget) -> None:
    script = "import socket; socket.create_connection(('1.1.1.1', 443), 3)"
    assert board.connection.run(f"python3 -c {shlex.quote(script)}").code != 0


def test_a_cut_run_begins_again(
    board: SshTarget, relay: Relay, exported: list[Artefact], tmp_path: Path
) -> None:
    process = bench(exported[0].path, tmp_path / "ssh_config")
    assert eventually(lambda: agent_there(board))
    relay.cut()
    assert ended(process)[0] == 0
    assert_clean(board)


def test_a_cut_push_goes_on(board: SshTarget, relay: Relay, tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(24 * MIB))
    texts: list[str] = []
    through = SshTarget(Address(NAME), tmp_path / "ssh_config", texts.append)
    relay.cut_after = 8 * MIB
    place = through.push(path)
    first, second = (text for text in texts if text.startswith("pushing"))
    assert first == "pushing big.bin, 24.0 MiB"
    assert 10 < float(second.split()[2]) < 20
    assert console(board, f"wc -c < {place}") == str(24 * MIB)
    console(board, f"rm {place}")
    through.close()


def test_a_board_that_goes_away(
    board: SshTarget, relay: Relay, exported: list[Artefact], tmp_path: Path
) -> None:
    process = bench(exported[0].path, tmp_path / "ssh_config", *LONG)
    assert eventually(lambda: agent_there(board))
    relay.close()
    code, _, error = ended(process)
    assert code == 6
    assert f"{ADDRESS}: connection refused" in error
    assert_clean(board)


def test_a_full_disk(board: SshTarget, exported: list[Artefact], tmp_path: Path) -> None:
    fill = "$HOME/fill"
    free = int(console(board, "df -Pk $HOME | tail -n 1").split()[3])
    console(board, f"fallocate -l {free - 512}K {fill} && sync")
    big = tmp_path / "other.onnx"
    big.write_bytes(exported[0].path.read_bytes() + os.urandom(MIB))
    try:
        code, _, error = ended(bench(big, FOLDER / "ssh_config"))
        assert code == 6
        assert "no room in /home/board/.cache/fca-edge/files" in error
        assert "MiB needed, 0." in error
        used = fca_edge("targets", "check", ADDRESS, config=FOLDER / "ssh_config")
        assert ended(used)[0] == 0
    finally:
        console(board, f"rm -f {fill}; sync")
    assert_clean(board)


def test_a_disk_that_fills_up_meanwhile(board: SshTarget, tmp_path: Path) -> None:
    """The check before sees room that is gone when the bytes arrive."""
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(16 * MIB))
    free = int(console(board, "df -Pk $HOME | tail -n 1").split()[3])
    console(board, f"fallocate -l {free - 4096}K $HOME/fill && sync")
    real, told = board.files._state, [(0, 1 << 40)]
    board.files._state = lambda place: told.pop() if told else real(place)  # type: ignore
    try:
        with pytest.raises(Exception, match="no room in") as caught:
            board.push(path)
        print(caught.value)
    finally:
        del board.files._state
        console(board, "rm -f $HOME/fill $HOME/.cache/fca-edge/files/*.part; sync")


def fetched_of(board: SshTarget, base: Path) -> Path:
    """Where a user whose caches are in `base` keeps the board's wheels as they came."""
    place = wheels.downloads(wheels_for(board.board, "onnxruntime"))
    return base / "fca-edge" / place.relative_to(cache_folder())


def plant(file: Path, place: Path, name: str) -> None:
    """Keep a wheel under a name, as if it had been fetched so."""
    shutil.rmtree(place, ignore_errors=True)

    def make(folder: Path) -> dict[str, str]:
        shutil.copyfile(file, folder / name)
        return {"wheel": name}

    keep(Kept(place, {"pinned": ""}), make)


@pytest.fixture
def foreign(board: SshTarget, tmp_path: Path) -> Iterator[Path]:
    """A cache of this machine in which the board's wheel is one for x86."""
    fetched = cache_folder() / "downloads"
    wheel = WHEEL.format("x86_64")
    there = list(fetched.rglob(wheel))
    if not there:
        words = ["download", "-q", "--no-deps", "--only-binary=:all:", "--dest", str(tmp_path)]
        words += ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"]
        subprocess.run([sys.executable, "-m", "pip", *words, "onnxruntime==1.32.0"], check=True)
        there = [tmp_path / wheel]
    place = fetched_of(board, tmp_path) / "onnxruntime<=1.32.0"
    plant(there[0], place, wheel)
    stamp = f"{board.board.folder}/runtimes/onnxruntime.json"
    console(board, f"mv {stamp} {stamp}.kept")
    yield place
    console(board, f"mv {stamp}.kept {stamp}; true")


def test_a_wheel_of_another_machine(board: SshTarget, foreign: Path, tmp_path: Path) -> None:
    words = ("targets", "setup", ADDRESS)
    more = {"config": FOLDER / "ssh_config", "XDG_CACHE_HOME": str(tmp_path)}
    code, _, error = ended(fca_edge(*words, **more))
    assert code == 6
    assert f"{WHEEL.format('x86_64')} is not for aarch64" in error
    # One that lies about itself is found out on the board.
    copy = shutil.copy(foreign / WHEEL.format("x86_64"), tmp_path / "copy")
    plant(Path(copy), foreign, WHEEL.format("aarch64"))
    kept = fetched_of(board, cache_folder().parent)
    if kept.is_dir():
        # Saves fetching NumPy once more.
        ignored = shutil.ignore_patterns("onnxruntime*")
        shutil.copytree(kept, fetched_of(board, tmp_path), dirs_exist_ok=True, ignore=ignored)
    code, _, error = ended(fca_edge(*words, **more))
    assert code == 6
    assert "does not run there (aarch64, Python 3.11.2, glibc 2.36): ModuleNotFound" in error


def test_another_host_key(board: SshTarget, exported: list[Artefact], tmp_path: Path) -> None:
    other = (FOLDER / "user_key.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"{NAME} {other}")
    text = (FOLDER / "ssh_config").read_text()
    config = tmp_path / "ssh_config"
    config.write_text(text.replace(f"{FOLDER}/known_hosts", f"{tmp_path}/known_hosts"))
    begin = time.monotonic()
    code, _, error = ended(bench(exported[0].path, config))
    assert code == 6
    assert "its host key is not the one in known_hosts" in error
    assert time.monotonic() - begin < 20


def test_a_killed_agent(board: SshTarget, exported: list[Artefact]) -> None:
    process = bench(exported[0].path, FOLDER / "ssh_config", *LONG)
    assert eventually(lambda: agent_there(board))
    console(board, f"kill -9 {agent_there(board)}")
    code, _, error = ended(process)
    assert code == 1
    assert "the process was ended by SIGKILL." in error
    assert_clean(board)


def test_memory_runs_out(board: SshTarget, exported: list[Artefact]) -> None:
    """Another process takes what is left; it is the larger one, and yet the agent goes."""
    process = bench(exported[0].path, FOLDER / "ssh_config", *LONG)
    assert eventually(lambda: agent_there(board))
    # In pieces, since the kernel refuses at once what can never fit.
    hog = f"n = {16 * MIB}; x = [b'x' * n for _ in range(150)]"
    pid = console(board, f"python3 -c {shlex.quote(hog)} > /dev/null 2>&1 < /dev/null & echo $!")
    try:
        code, _, error = ended(process)
    finally:
        console(board, f"kill {pid}; true")
    assert code == 1
    assert "ended by the board's kernel: out of memory" in error
    assert_clean(board)


def test_the_host_is_killed(board: SshTarget, exported: list[Artefact]) -> None:
    process = bench(exported[0].path, FOLDER / "ssh_config", *LONG)
    assert eventually(lambda: agent_there(board))
    process.kill()
    process.communicate()
    assert_clean(board)


def test_an_interrupt(board: SshTarget, exported: list[Artefact]) -> None:
    process = bench(exported[0].path, FOLDER / "ssh_config", *LONG)
    assert eventually(lambda: agent_there(board))
    process.send_signal(signal.SIGINT)
    code, _, _ = ended(process)
    assert code == 1
    assert_clean(board)


def test_a_board_that_is_off(exported: list[Artefact], tmp_path: Path) -> None:
    text = (FOLDER / "ssh_config").read_text().splitlines()
    config = tmp_path / "ssh_config"
    config.write_text("\n".join("    Port 9" if "Port" in line else line for line in text))
    code, _, error = ended(bench(exported[0].path, config))
    assert code == 6
    assert "connection refused" in error
