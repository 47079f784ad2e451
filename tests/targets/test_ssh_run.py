"""Runs on a board that is this machine: the guard cleans up whatever happens."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from targets.loopback import Loopback

from fca_edge.device import GUARD, LEAN
from fca_edge.errors import TargetUnavailableError
from fca_edge.manifest import Artefact
from fca_edge.runtimes import RUNTIMES, available
from fca_edge.targets.call import AgentError
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.provision import wheels
from fca_edge.targets.ssh.address import Address
from fca_edge.targets.ssh.target import SshTarget

ONNX = RUNTIMES["onnxruntime"]
ENDLESS = 10**9


def wheel(folder: Path, name: str, content: str = "") -> Path:
    """Make a wheel that adds nothing, so that what the board has is used; always the same one."""
    file = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"{name}_of_a_test.py"), content)
    return file


@pytest.fixture
def target(board: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshTarget]:
    monkeypatch.setattr(
        wheels, "download", lambda text, *_: wheel(tmp_path, text.partition("<")[0])
    )
    made = SshTarget(Address("loopback"), board.config)
    made.connection.first_patience_seconds = made.connection.later_patience_seconds = 2
    yield made
    made.close()


@pytest.fixture
def plan(target: SshTarget, exported: list[Artefact]) -> AgentPlan:
    place = target.push(exported[0].path)
    return AgentPlan(ONNX, place, "latency", warmups=1, iterations=3)


def kept(board: Loopback) -> Path:
    return board.home / ".cache" / "fca-edge"


def agents(board: Loopback) -> list[int]:
    """Processes that came from this board's files."""
    done = subprocess.run(["pgrep", "-f", f"{kept(board)}/files"], capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


def eventually(condition: Callable[[], object], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return bool(condition())


def agent_of(board: Loopback) -> int | None:
    """The process of an agent that has begun to load its runtime."""
    runs = kept(board) / "runs"
    for pid in agents(board) if runs.is_dir() and any(runs.iterdir()) else []:
        try:
            if Path(f"/proc/{pid}/cwd").readlink().is_relative_to(runs):
                return pid
        except OSError:
            continue
    return None


def when_running(board: Loopback, act: Callable[[int], None]) -> threading.Thread:
    """Do something once an agent runs."""

    def watch() -> None:
        if eventually(lambda: agent_of(board), 20):
            time.sleep(0.3)
            act(agent_of(board) or 0)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def assert_clean(board: Loopback) -> None:
    assert eventually(lambda: not agents(board)), "a process was left on the board"
    assert not (kept(board) / "runs").exists()
    assert not (kept(board) / "governor.json").exists()


def test_a_run(board: Loopback, target: SshTarget, plan: AgentPlan) -> None:
    events = target.run(plan, 60)
    assert len(events["samples"]["latency_ns"]) == 3
    assert events["ended"]["warnings"] == []
    assert target.info().name == "ssh:board"
    assert_clean(board)


def test_outputs_come_back_under_their_name(
    board: Loopback, target: SshTarget, plan: AgentPlan, tmp_path: Path
) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", np.zeros((1, 3, 96, 96), np.float32))
    inputs = target.push(tmp_path / "x.npy")
    target.run(replace(plan, mode="outputs", inputs=inputs, outputs="logits.npz"), 60)
    target.pull("logits.npz", tmp_path / "out.npz")
    assert np.load(tmp_path / "out.npz")["logits"].shape == (1, 10)
    target.close()
    assert not (kept(board) / "outputs").exists()


def test_a_cut_run_begins_again(board: Loopback, target: SshTarget, plan: AgentPlan) -> None:
    slow = replace(plan, cool_down_seconds=1.5)
    cutting = when_running(board, lambda pid: board.cut())
    events = target.run(slow, 60)
    cutting.join()
    assert len(events["samples"]["latency_ns"]) == 3
    assert target.connection.cuts == 1
    assert_clean(board)


def test_a_board_that_stays_away(board: Loopback, target: SshTarget, plan: AgentPlan) -> None:
    def gone(pid: int) -> None:
        board.stop_listening()
        board.cut()

    cutting = when_running(board, gone)
    with pytest.raises(TargetUnavailableError, match=r"connection refused \(\d tries\)"):
        target.run(replace(plan, iterations=ENDLESS), 60)
    cutting.join()
    assert_clean(board)


def test_a_killed_agent_is_told_and_not_tried_again(
    board: Loopback, target: SshTarget, plan: AgentPlan, exported: list[Artefact]
) -> None:
    killing = when_running(board, lambda pid: os.kill(pid, signal.SIGKILL))
    name = exported[0].path.name
    with pytest.raises(AgentError, match=f"onnxruntime on {name}: the process was ended by SIGKI"):
        target.run(replace(plan, iterations=ENDLESS), 60)
    killing.join()
    assert len([c for c in board.commands if re.search(r"-I \S*/files/\w+\.py", c)]) == 1
    assert_clean(board)


def test_a_late_agent_is_ended_there(board: Loopback, target: SshTarget, plan: AgentPlan) -> None:
    with pytest.raises(AgentError, match=r"no answer in 2 s\."):
        target.run(replace(plan, iterations=ENDLESS), 2)
    assert_clean(board)


def test_a_killed_guard_takes_the_agent_with_it(
    board: Loopback, target: SshTarget, plan: AgentPlan
) -> None:
    def kill(pid: int) -> None:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)

    killing = when_running(board, kill)
    with pytest.raises(TargetUnavailableError, match="the guard of the run failed"):
        target.run(replace(plan, iterations=ENDLESS), 60)
    killing.join()
    assert eventually(lambda: not agents(board))
    target.run(plan, 60)
    assert_clean(board)


def guard_of(owner: str, board: Loopback) -> "subprocess.Popen[bytes]":
    """Start a run that lasts, as somebody."""
    wanted = {"run": "x", "owner": owner, "command": ["sleep", "60"], "environment": {}}
    wanted |= {"plan": {}, "timeout_seconds": 60}
    other = subprocess.Popen(
        [sys.executable, "-I", str(GUARD), str(kept(board))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdin is not None
    other.stdin.write(json.dumps(wanted).encode() + b"\n")
    other.stdin.flush()
    assert eventually(lambda: (kept(board) / "runs" / "x").exists())
    return other


def test_one_measurement_at_a_time(board: Loopback, target: SshTarget, plan: AgentPlan) -> None:
    target.run(plan, 60)
    other = guard_of("other", board)
    with pytest.raises(TargetUnavailableError, match=f"is running there .process {other.pid}"):
        target.run(plan, 60)
    out, _ = other.communicate()
    assert json.loads(out)["why"] == "cut"
    assert_clean(board)


def test_what_a_half_open_connection_left_is_ended(
    board: Loopback, target: SshTarget, plan: AgentPlan
) -> None:
    """The board has not noticed a cut yet; the same session comes back."""
    target.run(plan, 60)
    left = guard_of(target.owner, board)
    assert "samples" in target.run(plan, 60)
    out, _ = left.communicate()
    assert json.loads(out)["why"] == "stopped"
    assert_clean(board)


def test_a_wheel_that_does_not_run_there(
    board: Loopback, target: SshTarget, plan: AgentPlan
) -> None:
    other = replace(plan, runtime=replace(ONNX, module="nothing_of_that_name"))
    with pytest.raises(
        TargetUnavailableError, match=r"onnxruntime-1\.0-.* does not run there.*nothing_of_that"
    ):
        target.run(other, 60)


def test_a_wheel_of_another_machine_is_not_sent(
    board: Loopback, target: SshTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "onnxruntime-1.0-cp311-cp311-manylinux_2_28_riscv64.whl"
    foreign.write_bytes(b"?")
    monkeypatch.setattr(wheels, "download", lambda text, *_: foreign)
    with pytest.raises(TargetUnavailableError, match=r"riscv64\.whl is not for"):
        target.setup(lambda text: None)
    assert not list((kept(board)).iterdir())


def test_set_up_once(target: SshTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(target.ready().values()) == {None}
    target.environments.provide(ONNX, print)
    assert target.ready()["onnxruntime"] == "1.0"
    again = SshTarget(target.address, target.connection.config)
    monkeypatch.setattr(wheels, "download", lambda text, *_: pytest.fail("fetched again"))
    again.environments.provide(ONNX, print)
    again.close()


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    root = tmp_path / "sys"
    for number in range(2):
        policy = root / f"devices/system/cpu/cpufreq/policy{number}"
        policy.mkdir(parents=True)
        (policy / "scaling_governor").write_text("ondemand\n")
    return root


def governors(sysfs: Path) -> set[str]:
    return {p.read_text().strip() for p in sysfs.rglob("scaling_governor")}


def test_the_governor_is_put_back_after_a_cut(
    board: Loopback, target: SshTarget, plan: AgentPlan, sysfs: Path
) -> None:
    seen: list[set[str]] = []

    def look_and_cut(pid: int) -> None:
        seen.append(governors(sysfs))
        board.stop_listening()
        board.cut()

    cutting = when_running(board, look_and_cut)
    wanted = replace(plan, governor="performance", sysfs=str(sysfs), iterations=ENDLESS)
    with pytest.raises(TargetUnavailableError):
        target.run(wanted, 60)
    cutting.join()
    assert seen == [{"performance"}]
    assert eventually(lambda: governors(sysfs) == {"ondemand"})
    assert_clean(board)


def test_a_governor_that_a_killed_guard_left_is_put_back(
    board: Loopback, target: SshTarget, plan: AgentPlan, sysfs: Path
) -> None:
    def kill(pid: int) -> None:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)

    killing = when_running(board, kill)
    wanted = replace(plan, governor="performance", sysfs=str(sysfs), iterations=ENDLESS)
    with pytest.raises(TargetUnavailableError):
        target.run(wanted, 60)
    killing.join()
    assert governors(sysfs) == {"performance"}
    target.run(replace(plan, sysfs=str(sysfs)), 60)
    assert governors(sysfs) == {"ondemand"}


def test_a_governor_that_cannot_be_set_is_told(
    board: Loopback, target: SshTarget, plan: AgentPlan, tmp_path: Path
) -> None:
    events = target.run(replace(plan, governor="performance", sysfs=str(tmp_path)), 60)
    assert events["ended"]["warnings"] == [
        "governor performance not set: this machine has no cpufreq"
    ]


def test_a_first_lean_load_packs_in_a_process_of_its_own(
    board: Loopback, target: SshTarget, plan: AgentPlan
) -> None:
    """Of whatever name `lean.py` has there; the next one finds what it kept."""
    lean = replace(plan, lean=target.push(LEAN), settings={})
    warm = [target.run(lean, 60)["loaded"] for _ in range(2)]
    assert [loaded["warm"] for loaded in warm] == [False, True]
    assert not any("plain" in loaded for loaded in warm)
    assert_clean(board)


def test_a_program_in_c_is_set_up_and_run_there(
    board: Loopback, target: SshTarget, exported: list[Artefact], tmp_path: Path
) -> None:
    """The board needs neither NumPy nor a runtime of its own; what is damaged is pushed again."""
    import numpy as np

    runtime = RUNTIMES["xnnpack"]
    if not available(runtime):
        pytest.skip("NO TEST OF THE C RUNNER OVER SSH: `fca-edge targets setup local` has not run")
    modern = next(a.path for a in exported if a.manifest.profile == "modern")
    plan = AgentPlan(runtime, target.push(modern), "latency", warmups=1, iterations=3)
    events = target.run(plan, 60)
    assert len(events["samples"]["latency_ns"]) == 3
    assert events["samples"]["before"]["held_back"] is False
    memory = target.run(replace(plan, mode="memory"), 60)
    assert memory["loaded"]["warm"] and memory["done"]["peak_rss_bytes"] < 20 << 20
    assert target.ready()["xnnpack"] == events["ready"]["version"]
    profiled = target.run(replace(plan, mode="profile"), 60)["profile"]
    assert len(profiled["operators"]) > 300 and len(profiled["whole"]) == 3
    np.save(tmp_path / "x.npy", np.zeros((2, 96, 96, 3), np.float32))
    inputs = target.push(tmp_path / "x.npy")
    target.run(replace(plan, mode="outputs", inputs=inputs, outputs="logits.npz"), 60)
    target.pull("logits.npz", tmp_path / "out.npz")
    assert np.load(tmp_path / "out.npz")["logits"].shape == (2, 10)
    (place,) = kept(board).glob("wheels/xnnpack_*")
    (place / "lib" / "libm.so.6").write_bytes(b"damaged")
    again = SshTarget(Address("loopback"), board.config)
    assert len(again.run(plan, 60)["samples"]["latency_ns"]) == 3
    again.close()
    assert_clean(board)
