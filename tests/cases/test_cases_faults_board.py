"""F9 to F11, F13: what a power cut or a stranger leaves on a board, and what a board says."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cases.foreign import NASTY, assert_harmless, assert_shown
from commandline import fca_edge, refused
from targets.loopback import Loopback
from targets.test_ssh_board import FOUND
from targets.test_ssh_run import ONNX, governors, kept, wheel, when_running

from fca_edge.device import GUARD, guard
from fca_edge.errors import TargetUnavailableError
from fca_edge.manifest import Artefact
from fca_edge.targets.call import AgentError, check_events
from fca_edge.targets.events import read_events
from fca_edge.targets.local import governed
from fca_edge.targets.outputs import run_artefact
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.provision import wheels
from fca_edge.targets.ssh.address import Address
from fca_edge.targets.ssh.board import build_board
from fca_edge.targets.ssh.connection import Connection
from fca_edge.targets.ssh.files import Files
from fca_edge.targets.ssh.target import SshTarget
from fca_edge.terminal import visible

MIB = 1 << 20


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def fold(path: Path) -> None:
    path.unlink()
    (path / "x").mkdir(parents=True)


def link(path: Path) -> None:
    other = path.with_name("of-somebody-else")
    other.write_text("precious")
    path.unlink()
    path.symlink_to(other)


# What may be found where a whole file was.
DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "empty": lambda p: p.write_bytes(b""),
    "longer": lambda p: p.write_bytes(p.read_bytes() + b"\0"),
    "garbage": lambda p: p.write_bytes(bytes(range(256)) * 4),
    "zeros": lambda p: p.write_bytes(bytes(p.stat().st_size)),
    "folder": fold,
    "link": link,
}


@pytest.fixture
def connection(board: Loopback) -> Iterator[Connection]:
    made = Connection(Address("loopback"), board.config)
    made.first_patience_seconds = made.later_patience_seconds = 3
    yield made
    made.close()


@pytest.fixture
def files(board: Loopback, connection: Connection) -> Files:
    return Files(connection, f"{board.home}/files")


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(2 * MIB))
    return path


# F9: files


@pytest.mark.parametrize("damage", DAMAGES)
def test_f9_a_pushed_file_that_is_damaged(files: Files, big: Path, damage: str) -> None:
    place = Path(files.push(big))
    DAMAGES[damage](place)
    said: list[str] = []
    again = Files(files.connection, files.folder)
    assert Path(again.push(big, said.append)) == place
    assert place.read_bytes() == big.read_bytes() and not place.is_symlink()
    assert len(said) == 1 and "damaged" in said[0], said
    precious = place.with_name("of-somebody-else")
    assert damage != "link" or precious.read_text() == "precious"
    assert {p.name for p in place.parent.iterdir()} <= {place.name, precious.name}


@pytest.mark.parametrize("damage", DAMAGES)
def test_f9_a_part_that_is_damaged(files: Files, big: Path, damage: str) -> None:
    place = Path(files.push(big))
    part = Path(f"{place}.part")
    place.rename(part)
    DAMAGES[damage](part)
    Files(files.connection, files.folder).push(big)
    assert place.read_bytes() == big.read_bytes()
    assert not os.path.lexists(part)


def test_f9_old_parts_are_swept(files: Files, big: Path) -> None:
    folder = Path(files.folder)
    folder.mkdir()
    old, young = folder / "old.part", folder / "young.part"
    for part in (old, young):
        part.write_bytes(b"?" * MIB)
    os.utime(old, (0, 0))
    place = Path(files.push(big))
    assert {p.name for p in folder.iterdir()} == {place.name, young.name}


def test_f9_a_file_where_the_folder_was(files: Files, big: Path) -> None:
    Path(files.folder).write_text("")
    assert Path(files.push(big)).read_bytes() == big.read_bytes()


def test_f9_what_is_there_is_read_once_per_connection(
    board: Loopback, files: Files, big: Path
) -> None:
    files.push(big)
    board.commands.clear()
    files.push(big)
    assert board.commands == []
    again = Files(files.connection, files.folder)
    for _ in range(3):
        again.push(big)
    assert len(board.commands) == 1 and "sha256sum" in board.commands[0]


def test_f9_two_pushes_at_once(board: Loopback, big: Path) -> None:
    big.write_bytes(os.urandom(24 * MIB))
    places: list[str] = []

    def push() -> None:
        connection = Connection(Address("loopback"), board.config)
        try:
            places.append(Files(connection, f"{board.home}/files").push(big))
        finally:
            connection.close()

    threads = [threading.Thread(target=push) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 2 and places[0] == places[1]
    assert Path(places[0]).read_bytes() == big.read_bytes()
    assert len(list(Path(places[0]).parent.iterdir())) == 1


@pytest.fixture
def target(board: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshTarget]:
    def download(text: str, *_: object) -> Path:
        return wheel(tmp_path, text.partition("<")[0], "VALUE = 12345\n")

    monkeypatch.setattr(wheels, "download", download)
    made = session(board)
    yield made
    made.close()


def session(board: Loopback, said: list[str] | None = None) -> SshTarget:
    """A session of its own, as another run of the command has."""
    report = (lambda text: None) if said is None else said.append
    made = SshTarget(Address("loopback"), board.config, report)
    made.connection.first_patience_seconds = made.connection.later_patience_seconds = 3
    return made


@pytest.fixture
def plan(target: SshTarget, exported: list[Artefact]) -> AgentPlan:
    return AgentPlan(ONNX, target.push(exported[0].path), "latency", warmups=1, iterations=3)


def test_f9_a_board_that_lost_power_in_a_run(
    board: Loopback, target: SshTarget, plan: AgentPlan
) -> None:
    """Artefact, agent and guard are empty when it comes back; the run begins anew."""

    def lose_power(pid: int) -> None:
        for file in (kept(board) / "files").iterdir():
            file.write_bytes(b"")
        board.cut()

    cutting = when_running(board, lose_power)
    events = target.run(replace(plan, cool_down_seconds=1.5), 60)
    cutting.join()
    assert len(events["samples"]["latency_ns"]) == 3
    assert target.connection.cuts == 1


# F9: runtimes


def compiled(path: Path) -> Path:
    """The file that Python compiled a module of a wheel into."""
    (pyc,) = (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")
    return pyc


PARTS = [
    *(("stamp", damage) for damage in DAMAGES),
    *(
        (part, damage)
        for part in ("module", "compiled")
        for damage in ("flipped", "half", "folder")
    ),
    *((part, damage) for part in ("tree", "wheels", "stamps") for damage in ("empty", "link")),
]


@pytest.mark.parametrize(("part", "damage"), PARTS)
def test_f9_runtimes_that_are_damaged(
    board: Loopback, target: SshTarget, part: str, damage: str, tmp_path: Path
) -> None:
    runtime = replace(ONNX, module="onnxruntime_of_a_test")
    target.environments.provide(runtime, print)
    tree = next((kept(board) / "wheels").glob("onnxruntime-*"))
    module = tree / "onnxruntime_of_a_test.py"
    whole = {p: p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    stamp = kept(board) / "runtimes" / "onnxruntime.json"
    folders = {"tree": tree, "wheels": tree.parent, "stamps": stamp.parent}
    if part in folders:
        shutil.rmtree(folders[part])
        folders[part].write_bytes(b"x" * 100)
        DAMAGES[damage](folders[part])
    else:
        DAMAGES[damage]({"module": module, "compiled": compiled(module), "stamp": stamp}[part])
    said: list[str] = []
    again = session(board, said)
    try:
        again.environments.provide(runtime, said.append)
        again.environments._verified.clear()
        assert again.environments.read_stamp(runtime) is not None
    finally:
        again.close()
    assert {p for p in tree.rglob("*") if p.is_file()} == set(whole)
    assert module.read_bytes() == whole[module] and json.loads(stamp.read_text())
    assert any("importing" in line for line in said), "it was believed"
    assert len([line for line in said if "damaged" in line]) <= 1, said


def test_f9_a_check_proves_by_reading_and_running(board: Loopback, target: SshTarget) -> None:
    target.environments.provide(ONNX, print)
    assert target.ready()["onnxruntime"] == "1.0"
    stamp = target.environments.read_stamp(ONNX)
    assert stamp is not None
    # The same wheels, of which the board can no longer import one.
    fails = replace(ONNX, module="nothing_of_that_name")
    assert "nothing_of_that_name" in (target.environments.try_import(fails, stamp.wheels) or "")
    flip(next((kept(board) / "wheels").glob("onnxruntime-*/*.py")))
    assert target.ready()["onnxruntime"] is None


# Everything that guard and target keep on a board, in every state


def run_guard(folder: Path, sysfs: Path, **changes: Any) -> dict[str, Any]:
    """Run the guard on a folder; returns what it says in the end."""
    order = {"run": "x", "owner": "me", "command": ["true"], "environment": {}, "plan": {}}
    order |= {"timeout_seconds": 20, "sysfs": str(sysfs), **changes}
    process = subprocess.Popen(
        [sys.executable, "-I", str(GUARD), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    text = process.stdout.read()
    process.stdin.close()
    process.stdout.close()
    process.wait()
    return read_events(text)["ended"]


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    root = tmp_path / "sys"
    for number in range(2):
        policy = root / f"devices/system/cpu/cpufreq/policy{number}"
        policy.mkdir(parents=True)
        (policy / "scaling_governor").write_text("ondemand\n")
        (policy / "scaling_available_governors").write_text("ondemand powersave performance\n")
    return root


def policy(sysfs: Path, number: int = 0) -> Path:
    return sysfs / f"devices/system/cpu/cpufreq/policy{number}/scaling_governor"


KEPT = ("lock", "governor.json", "governor.json.new", "runs", "outputs", "runs/x", "outputs/me")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", KEPT)
def test_f10_what_a_power_cut_leaves(tmp_path: Path, sysfs: Path, name: str, damage: str) -> None:
    folder = tmp_path / "cache"
    place = folder / name
    place.parent.mkdir(parents=True)
    whole = {"lock": '{"pid": 4194000, "owner": "me"}'}
    whole["governor.json"] = json.dumps({str(policy(sysfs)): "powersave"})
    place.write_text(whole.get(name, "x" * 100))
    DAMAGES[damage](place)
    precious = place.with_name("of-somebody-else")
    wanted = {"governor": "performance", "outputs": str(folder / "outputs" / "me")}
    for _ in range(2):
        ended = run_guard(folder, sysfs, **wanted)
        assert (ended["why"], ended["returncode"]) == ("exit", 0), ended
        assert len(ended["warnings"]) <= 1
        assert not os.path.lexists(folder / "governor.json") and not (folder / "runs").exists()
        assert governors(sysfs) <= {"ondemand", "powersave"}
    assert ended["warnings"] == [], "it did not heal"
    if damage == "link" and place.parent == folder:
        assert precious.read_text() == "precious"


NOTES = {
    "empty": "",
    "half": '{"/sys/devices/system/cpu/cp',
    "no JSON": "\0" * 40,
    "binary": "\xff\xfe\x00",
    "list": "[1, 2]",
    "number": "5",
    "null": "null",
    "nested": "[" * 100_000,
    "huge": '{"a": ' + "9" * 5000 + "}",
    "wrong types": '{"PLACE": 5, "OTHER": null}',
    "wrong keys": '{"": "performance", "..": "powersave"}',
}


@pytest.mark.parametrize("note", NOTES)
def test_f10_notes_that_are_none(tmp_path: Path, sysfs: Path, note: str) -> None:
    text = NOTES[note].replace("PLACE", str(policy(sysfs))).replace("OTHER", str(policy(sysfs, 1)))
    saved = tmp_path / "governor.json"
    saved.write_bytes(text.encode("latin-1"))
    problem = guard.restore_governor(saved, sysfs)
    assert problem is not None and "governor.json was damaged and is removed" in problem
    assert not saved.exists() and governors(sysfs) == {"ondemand"}
    assert guard.restore_governor(saved, sysfs) is None


def test_f10_half_of_a_note_still_counts(tmp_path: Path, sysfs: Path) -> None:
    """A core that is gone since does not keep the others from being put right."""
    saved = tmp_path / "governor.json"
    gone = str(policy(sysfs, 9))
    saved.write_text(json.dumps({gone: "ondemand", str(policy(sysfs)): "powersave"}))
    assert guard.restore_governor(saved, sysfs) is not None
    assert policy(sysfs).read_text() == "powersave"


def test_f10_the_local_target_heals(
    tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "fca-edge"
    (folder / "governor.lock" / "x").mkdir(parents=True)
    (folder / "governor.json").write_text("")
    with governed(None, str(sysfs)) as first:
        assert len(first) == 1 and "damaged" in first[0]
    with governed("performance", str(sysfs)) as second:
        assert second == [] and governors(sysfs) == {"performance"}
    assert governors(sysfs) == {"ondemand"}


def test_f10_the_governor_of_a_thread(
    tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals are the main thread's alone; a run in another one must not fail for that."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen: list[set[str]] = []

    def run() -> None:
        with governed("performance", str(sysfs)):
            seen.append(governors(sysfs))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [{"performance"}] and governors(sysfs) == {"ondemand"}


def test_f10_a_note_is_durable_before_anything_changes(
    tmp_path: Path, sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, order = tmp_path / "governor.json", []
    real_sync, real_replace, real_write = os.fsync, os.replace, Path.write_text

    def sync(handle: int) -> None:
        order.append("sync " + Path(f"/proc/self/fd/{handle}").readlink().name)
        real_sync(handle)

    def swap(old: Any, new: Any) -> None:
        order.append("rename")
        real_replace(old, new)

    def write(path: Path, *words: Any) -> int:
        order.append(f"write {path.name}")
        return real_write(path, *words)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", swap)
    monkeypatch.setattr(Path, "write_text", write)
    assert guard.set_governor("performance", sysfs, saved) is None
    assert order[:3] == ["sync governor.json.new", "rename", f"sync {tmp_path.name}"]
    assert order[3:] == ["write scaling_governor"] * 2


@pytest.mark.skipif(os.getuid() != 0 or not Path("/usr/bin/python3").exists(), reason="no root")
@pytest.mark.parametrize("name", ["lock", "governor.json", "runs", "outputs", ""])
def test_f10_what_may_not_be_touched(name: str, sysfs: Path) -> None:
    """Somebody ran it as root once; now it is said in one line, and what to do."""
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        copy = shutil.copy(GUARD, folder / "guard.py")
        cache = folder / "cache"
        cache.mkdir()
        place = cache / name if name else cache
        if name in ("runs", "outputs"):
            (place / "old" / "deep").mkdir(parents=True)
            os.utime(place / "old", (0, 0))
        elif name:
            place.write_text("{}")
            place.chmod(0o600)
        folder.chmod(0o755)
        if name in ("lock", "runs", "outputs"):
            os.chown(cache, 65534, 65534)
        order = {"run": "x", "owner": "me", "command": ["true"], "environment": {}, "plan": {}}
        order |= {"timeout_seconds": 20, "sysfs": str(sysfs)}
        done = subprocess.run(
            ["/usr/bin/python3", "-I", copy, str(cache)],
            input=json.dumps(order) + "\n",
            capture_output=True,
            text=True,
            user=65534,
            group=65534,
            extra_groups=[],
        )
        ended = read_events(done.stdout)["ended"]
        assert ended["why"] == "trouble" and "Permission denied" in ended["text"], ended
        assert str(cache) in ended["text"] and done.stderr == ""
    finally:
        shutil.rmtree(folder)


# F11


@pytest.mark.parametrize("way", ["file", "link", "above", "governor's neighbour", "word", "line"])
def test_f11_only_governors_are_written(tmp_path: Path, sysfs: Path, way: str) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    place, name = str(target), "ondemand"
    if way == "link":
        real = policy(sysfs)
        real.unlink()
        real.symlink_to(target)
        place = str(real)
    elif way == "above":
        place = f"{sysfs}/devices/system/cpu/cpufreq/policy0/../../../../../../precious"
    elif way == "governor's neighbour":
        target = policy(sysfs).with_name("scaling_setspeed")
        target.write_text("precious")
        place = str(target)
    elif way in ("word", "line"):
        target = policy(sysfs)
        target.write_text("precious")
        place, name = str(target), {"word": "unheard_of", "line": "ondemand\nx"}[way]
    saved = tmp_path / "governor.json"
    saved.write_text(json.dumps({place: name}))
    assert guard.restore_governor(saved, sysfs) is not None
    assert target.read_text() == "precious" and not saved.exists()


def test_f11_a_policy_behind_a_link_is_none(tmp_path: Path, sysfs: Path) -> None:
    other = tmp_path / "other" / "policy7"
    other.mkdir(parents=True)
    (other / "scaling_governor").write_text("precious")
    policy(sysfs, 7).parent.symlink_to(other)
    assert guard.set_governor("performance", sysfs, tmp_path / "governor.json") is None
    assert (other / "scaling_governor").read_text() == "precious"


@pytest.mark.parametrize("name", ["unheard_of", "on demand", "", "x\ny", "../../x"])
def test_f11_a_governor_that_the_board_does_not_know(
    tmp_path: Path, sysfs: Path, name: str
) -> None:
    problem = guard.set_governor(name, sysfs, tmp_path / "governor.json")
    assert problem is not None and problem.startswith("governor stays ondemand: this machine has")
    assert governors(sysfs) == {"ondemand"} and not (tmp_path / "governor.json").exists()


@pytest.mark.parametrize(
    "holder",
    [
        *('{"pid": -1, "owner": "me"}', '{"pid": 0, "owner": "me"}', '{"pid": 1, "owner": "me"}'),
        *('{"pid": true, "owner": "me"}', '{"pid": 1e3, "owner": "me"}', '{"pid": "7"', "[]", ""),
        *('{"pid": 99999999999, "owner": "me"}', '{"pid": PID, "owner": null}', '{"pid": PID}'),
        "[" * 100_000,
    ],
)
def test_f11_a_lock_ends_no_other_process(
    tmp_path: Path, sysfs: Path, holder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    killed: list[int] = []
    monkeypatch.setattr(guard, "LOCK_SECONDS", 0.3)
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    (tmp_path / "lock").write_text(holder.replace("PID", str(os.getpid())))
    with (tmp_path / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(guard.BusyError):
            guard.lock(tmp_path, "me")
    assert killed == []


# F12 and F13: what a board says


@pytest.fixture
def said(board: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that holds what the board answers when it is asked what it has."""
    answer = tmp_path / "answer"
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "python3"
    script.write_text(
        f'#!/bin/sh\ncase "$1 $2 $3" in "-I - "*/.cache/fca-edge) cat > /dev/null; cat {answer};;\n'
        f'*) exec {sys.executable} "$@";; esac\n'
    )
    script.chmod(0o755)
    board.environment["PATH"] = f"{folder}:{board.environment['PATH']}"
    monkeypatch.setenv("FCA_EDGE_SSH_CONFIG", str(board.config))
    return answer


def honest(board: Loopback) -> dict[str, Any]:
    """What the board says by itself."""
    made = session(board)
    try:
        fields = vars(made.board)
        cores = [vars(core) for core in fields["cores"]]
        return {"event": "board", **fields, "cores": cores, "executable": sys.executable}
    finally:
        made.close()


def nasty(fields: dict[str, Any]) -> dict[str, Any]:
    """Put foreign text wherever a board may say what it wants."""
    changes = dict.fromkeys(("kernel", "cpu_model", "governor"), NASTY)
    return {**fields, **changes, "sensors": {NASTY: 48.3}, "numpy": "1.26\x1b[31m"}


@pytest.mark.parametrize("format_", ["table", "md", "json"])
def test_f12_a_board_with_foreign_words(
    board: Loopback,
    target: SshTarget,
    exported: list[Artefact],
    format_: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    answer = json.dumps(nasty(honest(board)))
    request.getfixturevalue("said").write_text(answer)
    words = ("--runs", 1, "--processes", 1, "--warmup", 0, "--format", format_)
    records = tmp_path / "r.json"
    done = fca_edge(
        "bench", exported[0].path, "--target", "ssh://loopback", *words, "--json", records
    )
    assert done.returncode == 0, done.stderr
    assert_harmless(done.stdout + done.stderr)
    # Records hold no control characters: what a board says is made readable as it is read.
    record = json.loads(records.read_text())["records"][0]
    assert record["target"]["cpu_model"] == visible(NASTY)
    if format_ == "table":
        assert_shown(done.stdout)


def test_f12_a_check_of_such_a_board(board: Loopback, said: Path) -> None:
    said.write_text(json.dumps({"event": "board", **nasty(FOUND), "machine": "x86_64"}))
    done = fca_edge("targets", "check", "ssh://loopback")
    assert_harmless(done.stdout + done.stderr)
    assert_shown(done.stdout)
    refused(done, 6, "not ready")


WHOLE = json.dumps({"event": "board", **FOUND})
ANSWERS = {
    "nothing": b"",
    "a cut line": WHOLE[:200].encode(),
    "a line that was cut once more": WHOLE[:200].encode() + b"}",
    "no JSON": b"command not found\n",
    "binary": bytes(range(256)) * 40,
    "nested": b'{"event": "board", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a huge number": WHOLE.replace("64", "6" * 5000).encode(),
    "a list": b'[{"event": "board"}]',
    "another event": b'{"event": ["board"]}',
    "only the event": b'{"event": "board"}',
    "of another kind": b'{"event": "board", "folder": 5}',
    "not a number": WHOLE.replace("48.3", "NaN").encode(),
    "without end": b"x" * (70 << 20),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_f13_what_is_no_answer(board: Loopback, said: Path, answer: str) -> None:
    said.write_bytes(ANSWERS[answer])
    done = fca_edge("targets", "check", "ssh://loopback")
    refused(done, 6, "ssh://loopback: ")
    assert_harmless(done.stderr)


VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 10**30, 1e308, float("nan"), "", "x", "/", "\0", "3", "3.", "..."),
    *([], [[]], [None], {}, {"x": "y"}, {"x": float("inf")}, [{"cpu": 0}], "9" * 5000, "²"),
)


@pytest.mark.parametrize("field", FOUND)
def test_f13_fields_of_any_kind(connection: Connection, field: str) -> None:
    """Whatever a field holds, the board is read or refused in one line, and can be described."""
    from fca_edge.targets.ssh.board import describe_board
    from fca_edge.targets.ssh.environment import requirements, wheels_for

    for value in VALUES:
        (event,) = read_events(json.dumps({"event": "board", **FOUND, field: value})).values()
        try:
            board = build_board(event, connection)
        except TargetUnavailableError as error:
            assert_harmless(str(error))
            continue
        describe_board(board)
        for name in board.runtimes:
            for text in requirements(ONNX, board):
                wheels_for(board, text)
            assert name
    missing = {name: value for name, value in FOUND.items() if name != field}
    with pytest.raises(TargetUnavailableError, match=field):
        build_board({"event": "board", **missing}, connection)


@pytest.mark.parametrize(
    "greeting",
    [
        "echo Welcome",
        "echo 'one\ntwo'; printf '\\033[31m{\"event\": \"board\"}\\n'",
        "printf no-end",
    ],
)
def test_f13_a_shell_that_greets(
    board: Loopback, target: SshTarget, exported: list[Artefact], greeting: str
) -> None:
    """A .bashrc that prints is no fault: pushes, runs and outputs are as without it."""
    board.greeting = greeting
    import numpy as np

    inputs = np.zeros((1, 3, 96, 96), np.float32)
    arrays, events = run_artefact(exported[0].path, ONNX, inputs, target)
    here, _ = run_artefact(exported[0].path, ONNX, inputs)
    assert np.array_equal(arrays["logits"], here["logits"])
    assert events["ended"]["why"] == "exit"


def test_f13_a_shell_that_greets_without_end(board: Loopback, connection: Connection) -> None:
    board.greeting = "yes"
    with pytest.raises(TargetUnavailableError, match="has no end"):
        connection.run("true")


# F13: what agent and guard say


@pytest.fixture(scope="module")
def events(exported: list[Artefact]) -> dict[str, Any]:
    """What an agent really says."""
    from fca_edge.targets.local import LocalTarget

    plan = AgentPlan(ONNX, str(exported[0].path), "latency", warmups=1, iterations=3)
    return {k: v for k, v in LocalTarget().run(plan, 60).items() if k != "ended"}


def spell(events: dict[str, Any]) -> str:
    return "\n".join(json.dumps(event) for event in events.values()) + "\n"


def test_f13_events_of_any_kind(events: dict[str, Any]) -> None:
    plan = AgentPlan(ONNX, "a.onnx", "latency", iterations=3)
    assert check_events(plan, 0, spell(events), "")["samples"] == events["samples"]
    wrong = 0
    for name, event in events.items():
        for field in event:
            for value in VALUES:
                mutated = {**events, name: {**event, field: value}}
                try:
                    check_events(plan, 0, spell(mutated), "")
                except AgentError as error:
                    wrong += 1
                    assert_harmless(str(error))
    assert wrong > 300


@pytest.mark.parametrize("name", ["ready", "loaded", "samples", "done"])
def test_f13_events_that_are_missing_or_cut(events: dict[str, Any], name: str) -> None:
    plan = AgentPlan(ONNX, "a.onnx", "latency", iterations=3)
    without = {k: v for k, v in events.items() if k != name}
    with pytest.raises(AgentError, match=f"it lacks '{name}'"):
        check_events(plan, 0, spell(without), "")
    text = spell(events)
    for end in range(0, len(text) - 1, 17):
        with pytest.raises(AgentError):
            check_events(plan, 0, text[:end], "")


def test_f13_fewer_samples_than_were_asked_for(events: dict[str, Any]) -> None:
    plan = AgentPlan(ONNX, "a.onnx", "latency", iterations=4)
    with pytest.raises(AgentError, match="3 samples came, not 4"):
        check_events(plan, 0, spell(events), "")


@pytest.mark.parametrize("code", [-63, -200, -(10**12), 3])
def test_f13_signals_that_nobody_knows(code: int) -> None:
    plan = AgentPlan(ONNX, "a.onnx", "latency")
    with pytest.raises(AgentError, match=r"a.onnx: .*(signal \d|exit code)"):
        check_events(plan, code, "", "")


ENDED = {"event": "ended", "why": "exit", "returncode": 0, "out_of_memory": False, "warnings": []}


@pytest.mark.parametrize("field", [*ENDED, "holder", "text"])
def test_f13_what_a_guard_says(target: SshTarget, events: dict[str, Any], field: str) -> None:
    from fca_edge.targets.ssh.connection import Done

    plan = AgentPlan(ONNX, "a.onnx", "latency", iterations=3)
    for why in ("exit", "busy", "trouble", "late", "stopped"):
        for value in VALUES:
            ended = {**ENDED, "why": why, field: value}
            text = spell({**events, "ended": ended})
            try:
                target._check_events(Done(0, text, ""), plan, 60)
            except (AgentError, TargetUnavailableError) as error:
                assert_harmless(str(error))


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d not in ("folder", "link")])
def test_f13_outputs_that_are_damaged(
    board: Loopback,
    target: SshTarget,
    exported: list[Artefact],
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    pull = target.pull

    def damaged(remote: str, path: Path) -> None:
        pull(remote, path)
        DAMAGES[damage](path)

    monkeypatch.setattr(target, "pull", damaged)
    try:
        run_artefact(exported[0].path, ONNX, np.zeros((1, 3, 96, 96), np.float32), target)
    except AgentError as error:
        assert "outputs are" in str(error)
    else:
        assert damage in ("flipped", "longer")


def test_f10_one_warning_in_the_record(
    exported: list[Artefact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever process comes first, as a first load, of which nothing else is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "fca-edge").mkdir()
    (tmp_path / "fca-edge" / "governor.json").write_text("")
    words = ("--lean", "--runs", 1, "--processes", 1, "--warmup", 0, "--json", tmp_path / "r.json")
    done = fca_edge("bench", exported[0].path, *words)
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "r.json").read_text())["records"]
    warnings = [text for record in records for text in record["warnings"] if "governor" in text]
    assert len(warnings) == 1 and "was damaged and is removed" in warnings[0]
