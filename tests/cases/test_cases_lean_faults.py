"""F1 to F6, F8, F17: what the lean loader keeps is checked, heals, and never ends its program."""

import ast
import contextlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.test_lean import largest_weight

from fca_edge.device import LEAN
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.manifest import Artefact

SUFFIXES = (".onnx", ".tflite")
FILES = {".onnx": ["model.onnx", "model.data"], ".tflite": ["weights.xnnpack"]}
NAMES = {
    "digests.json": ".onnx",
    "model.onnx": ".onnx",
    "model.data": ".onnx",
    "weights.xnnpack": ".tflite",
}
NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="another user is played by root alone")
LOAD = """
import os, sys, runpy
import numpy.random
{before}
lean = runpy.run_path(sys.argv[1])
name = "litert" if sys.argv[2].endswith(".tflite") else "onnxruntime"
lean["RUNTIMES"][name]()
{then}
model = lean["open_model"](sys.argv[2])
image = numpy.random.default_rng(0).standard_normal(model.shape).astype(numpy.float32)
print(model.facts["warm"], model.facts.get("plain"), *model(image)[0])
"""


class Kept:
    """A copy of an artefact with packed weights, in a folder of its own."""

    def __init__(self, artefact: Path) -> None:
        self.artefact, self.folder = artefact, cache_path(artefact)
        self.lean = runpy.run_path(str(LEAN))

    @property
    def entry(self) -> Path:
        """The one folder that is kept; nothing else lies beside it."""
        (entry,) = self.folder.iterdir()
        return entry

    def load(self, **settings: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Load as a new process does: nothing has been verified."""
        self.lean["VERIFIED"].clear()
        model = self.lean["open_model"](str(self.artefact), **settings)
        image = np.random.default_rng(0).standard_normal(model.shape).astype(np.float32)
        return model(image), model.facts

    def load_apart(self, before: str = "", then: str = "", lean: Path = LEAN) -> "Loading":
        """Begin to load in another process."""
        script = LOAD.format(before=before, then=then)
        words = [sys.executable, "-c", script, str(lean), str(self.artefact)]
        return Loading(subprocess.Popen(words, stdout=-1, stderr=-1, text=True))

    def plain(self) -> np.ndarray:
        """Logits of the runtime without any of this."""
        model = self.lean["RUNTIMES"][
            "litert" if self.artefact.suffix == ".tflite" else "onnxruntime"
        ]()
        model.settle = lambda: None
        model.start({"artefact": str(self.artefact), "threads": 1, "settings": {}}, None)
        image = np.random.default_rng(0).standard_normal(model.shape).astype(np.float32)
        return np.array(model(image))


class Loading:
    """A process that loads, and what it says."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def end(self) -> tuple[bool, str | None, np.ndarray, list[str]]:
        """Wait; return whether it was warm, why it was plain, its logits and its warnings."""
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        first, *logits = out.rsplit(maxsplit=10)
        warm, _, plain = first.partition(" ")
        reason = None if plain == "None" else plain
        return warm == "True", reason, np.array(logits, np.float32), err.splitlines()


@pytest.fixture(scope="module")
def originals(
    exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Both files of the digits, each with packed weights; not to be changed."""
    folder = tmp_path_factory.mktemp("originals")
    for item in exported[:2]:
        shutil.copy(item.path, folder)
        shutil.copy(settings_path(item.path), folder)
        Kept(folder / item.path.name).load()
    return {item.path.suffix: folder / item.path.name for item in exported[:2]}


def copy_kept(original: Path, folder: Path) -> Kept:
    """Copy a file with what is kept of it."""
    shutil.copy(original, folder)
    shutil.copy(settings_path(original), folder)
    shutil.copytree(cache_path(original), cache_path(folder / original.name))
    return Kept(folder / original.name)


@pytest.fixture(params=SUFFIXES)
def kept(request: pytest.FixtureRequest, originals: dict[str, Path], tmp_path: Path) -> Kept:
    """A file with packed weights."""
    return copy_kept(originals[request.param], tmp_path)


@pytest.fixture
def fresh(kept: Kept) -> Kept:
    """A file of which nothing is kept yet."""
    shutil.rmtree(kept.folder)
    return kept


def flip(path: Path, where: float) -> None:
    """Flip one bit of a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)


def cut(path: Path, length: int) -> None:
    """Leave so many bytes of a file; from its end where that is below 0."""
    os.truncate(path, length if length >= 0 else path.stat().st_size + length)


def exchange_pages(path: Path) -> None:
    """Exchange two pages of a file that are not the same."""
    content = bytearray(path.read_bytes())
    page = min(4096, len(content) // 2)
    half = len(content) // 2 // page * page
    content[:page], content[half : half + page] = content[half : half + page], content[:page]
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped at the start": lambda path: flip(path, 0),
    "flipped inside": lambda path: flip(path, 0.61),
    "flipped at the end": lambda path: flip(path, 1),
    "half zeroed": lambda path: path.write_bytes(
        path.read_bytes()[: path.stat().st_size // 2].ljust(path.stat().st_size, b"\0")
    ),
    "all zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "pages exchanged": exchange_pages,
    "empty": lambda path: cut(path, 0),
    "half": lambda path: cut(path, path.stat().st_size // 2),
    "one byte less": lambda path: cut(path, -1),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "gone": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: path.symlink_to(path.rename(path.parent.parent.parent / path.name)),
}


def heals(kept: Kept, capfd: pytest.CaptureFixture[str]) -> None:
    """Expect right logits, one line, and that the next load finds all whole."""
    plain = kept.plain()
    capfd.readouterr()
    logits, facts = kept.load()
    np.testing.assert_allclose(logits, plain, rtol=1e-4, atol=1e-5)
    assert facts["warm"] is False
    assert "plain" not in facts
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"lean.py: {kept.entry}: ")
    assert line.endswith("; packed once more")
    again, facts = kept.load()
    assert np.array_equal(again, logits)
    assert facts["warm"] is True
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_f03_f04_damage_is_seen(
    originals: dict[str, Path], name: str, damage: str, tmp_path: Path
) -> None:
    kept = copy_kept(originals[NAMES[name]], tmp_path)
    find_fault = kept.lean["find_fault"]
    assert find_fault(str(kept.entry)) is None
    DAMAGES[damage](kept.entry / name)
    assert find_fault(str(kept.entry))


@pytest.mark.parametrize(
    ("name", "damage"),
    list(zip(NAMES, ("gone", "half", "flipped inside", "half zeroed"), strict=True)),
)
def test_f03_f04_what_is_damaged_is_made_once_more(
    originals: dict[str, Path],
    name: str,
    damage: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kept = copy_kept(originals[NAMES[name]], tmp_path)
    DAMAGES[damage](kept.entry / name)
    heals(kept, capfd)


def another_build(kept: Kept) -> None:
    """Let what another version of the runtime has packed lie there under this one's name."""
    note = json.loads((kept.entry / "digests.json").read_text())
    note["name"] = note["name"].replace("-", "-0.", 1)
    (kept.entry / "digests.json").write_text(json.dumps(note))


def replace_entry(kept: Kept, put: Callable[[Path], Any]) -> None:
    """Put something else where the folder is."""
    entry = kept.entry
    shutil.rmtree(entry)
    put(entry)


STATES: dict[str, Callable[[Kept], Any]] = {
    "an empty folder": lambda kept: replace_entry(kept, Path.mkdir),
    "a file": lambda kept: replace_entry(kept, lambda path: path.write_text("weights")),
    "a link to nothing": lambda kept: replace_entry(
        kept, lambda path: path.symlink_to("/nowhere/at/all")
    ),
    "another build": another_build,
    "one file too many": lambda kept: (kept.entry / "more").write_text(""),
    "digests of a list": lambda kept: (kept.entry / "digests.json").write_text("[1, 2]"),
    "digests nested deeply": lambda kept: (kept.entry / "digests.json").write_text("[" * 60_000),
    "digests of other kinds": lambda kept: (kept.entry / "digests.json").write_text(
        json.dumps({"name": kept.entry.name, "files": dict.fromkeys(FILES[kept.artefact.suffix])})
    ),
}


@pytest.mark.parametrize("state", STATES)
def test_f03_a_wrong_folder_is_made_once_more(
    kept: Kept, state: str, capfd: pytest.CaptureFixture[str]
) -> None:
    STATES[state](kept)
    heals(kept, capfd)


def test_f03_what_the_runtime_refuses_is_made_once_more(
    kept: Kept, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, but of no use: the runtime says so, once."""
    kind = kept.lean["LeanLiteRt" if kept.artefact.suffix == ".tflite" else "LeanOnnxRuntime"]
    start, refusals = kind.start, ["refused by the runtime"]

    def refuse_once(self: Any, plan: Any, place: Any) -> Any:
        if place and refusals:
            raise RuntimeError(refusals.pop())
        return start(self, plan, place)

    monkeypatch.setattr(kind, "start", refuse_once)
    heals(kept, capfd)
    refusals += ["refused"] * 2
    logits, facts = kept.load()
    assert facts["plain"] == "refused"
    np.testing.assert_allclose(logits, kept.plain(), rtol=1e-4, atol=1e-5)


def test_f04_without_verification_the_answer_is_wrong(
    kept: Kept, capfd: pytest.CaptureFixture[str]
) -> None:
    """The tests above see it where the digests are not looked at."""
    kept.lean["find_fault"].__globals__["compute_checksum"] = lambda *_, **__: 0
    entry = kept.entry
    note = json.loads((entry / "digests.json").read_text())
    note["files"] = {name: [size, 0] for name, (size, _) in note["files"].items()}
    note["name"] = entry.name.replace(entry.name.split("-")[2], "00000000")
    (entry / "digests.json").write_text(json.dumps(note))
    entry.rename(entry.with_name(note["name"]))
    weights = kept.entry / FILES[kept.artefact.suffix][-1]
    content = bytearray(weights.read_bytes())
    content[len(content) // 8 : len(content) * 7 // 8] = bytes(
        len(content) * 7 // 8 - len(content) // 8
    )
    weights.write_bytes(content)
    with pytest.raises(AssertionError):
        heals(kept, capfd)


def turn_weights(path: Path) -> None:
    """Put another model of the same size in the place of one, by renaming."""
    weight = largest_weight(path)
    turned = (-np.frombuffer(weight, np.float32)).tobytes()
    path.with_name("other").write_bytes(path.read_bytes().replace(weight, turned))
    path.with_name("other").replace(path)


def test_f04_a_model_that_is_replaced_while_it_is_loaded(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of the old one must not serve the new one, nor be made of it."""
    kind = kept.lean["LeanLiteRt" if kept.artefact.suffix == ".tflite" else "LeanOnnxRuntime"]
    start, turns = kind.start, [turn_weights]

    def start_late(self: Any, plan: Any, place: Any) -> Any:
        if turns:
            turns.pop()(kept.artefact)
        return start(self, plan, place)

    monkeypatch.setattr(kind, "start", start_late)
    old = kept.entry.name
    logits, facts = kept.load()
    assert facts == {**facts, "warm": False} and "plain" not in facts
    np.testing.assert_allclose(logits, kept.plain(), rtol=1e-4, atol=1e-5)
    assert {old} < {path.name for path in kept.folder.iterdir()}
    turns += [turn_weights] * 2
    logits, facts = kept.load()
    assert facts["plain"] == "the model is changed while it is loaded"
    np.testing.assert_allclose(logits, kept.plain(), rtol=1e-4, atol=1e-5)


def test_f04_a_model_that_is_replaced_while_it_is_packed(fresh: Kept) -> None:
    lean, text = fresh.artefact.with_name("changed.py"), LEAN.read_text()
    touch = "model.prove(plan, place)\n        os.utime(plan['artefact'], (1, 1))\n"
    lean.write_text(text.replace("model.prove(plan, place)\n", touch))
    assert lean.read_text() != text
    _, reason, _, _ = fresh.load_apart(lean=lean).end()
    assert reason is not None
    assert "the model was changed while it was packed" in reason
    assert list(fresh.folder.iterdir()) == []


def test_f04_bytes_are_read_once_per_process_and_after_a_change(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    hidden = kept.lean["find_fault"].__globals__
    compute = hidden["compute_checksum"]

    def count(path: str, apart: bool = False) -> int:
        reads.extend([] if apart else [os.path.basename(path)])
        return int(compute(path, apart))

    monkeypatch.setitem(hidden, "compute_checksum", count)
    names = sorted(FILES[kept.artefact.suffix])
    kept.load()
    assert sorted(reads) == names
    kept.lean["open_model"](str(kept.artefact))
    assert sorted(reads) == names
    flip(kept.entry / names[0], 0.5)
    assert kept.lean["open_model"](str(kept.artefact)).facts["warm"] is False


@contextlib.contextmanager
def small_disk(mib: float) -> Iterator[Path]:
    """A file system of its own with so little room."""
    folder = tempfile.mkdtemp(prefix="fca-edge-small-")
    words = ["mount", "-t", "tmpfs", "-o", f"size={int(mib * 1024)}k", "tmpfs", folder]
    if os.getuid() or subprocess.run(words, capture_output=True).returncode:
        os.rmdir(folder)
        pytest.skip("nothing can be mounted here")
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)


def loads_plainly(kept: Kept, *words: str, **how: str) -> str:
    """Expect right logits, one warning, and nothing left; returns the reason."""
    plain = kept.plain()
    for _ in range(2):  # nor may the second load fail
        warm, reason, logits, lines = kept.load_apart(**how).end()
        np.testing.assert_allclose(logits, plain[0], rtol=1e-4, atol=1e-5)
        assert not warm
        assert reason is not None
        assert len(lines) == 1, lines
        assert lines[0].startswith(f"lean.py: {kept.artefact} is loaded plainly, in more memory: ")
        for word in (*words, "name another folder (cache)"):
            assert word in lines[0]
        if kept.folder.is_dir():
            assert list(kept.folder.iterdir()) == []
    return reason


@pytest.mark.parametrize("check", ["before", "none"])
def test_f01_a_full_disk(fresh: Kept, check: str) -> None:
    """Room is looked at first; where that is wrong, as with a quota, packing fails apart."""
    size = fresh.artefact.stat().st_size / (1 << 20)
    with small_disk(size + 0.3) as disk:
        shutil.copy(fresh.artefact, disk)
        on_disk = Kept(disk / fresh.artefact.name)
        if check == "before":
            loads_plainly(on_disk, "MiB there", "0 are free")
        else:
            loads_plainly(
                on_disk,
                "packing in",
                then="lean['LeanOnnxRuntime'].room = 0; lean['LeanLiteRt'].room = 0",
            )


def test_f01_files_that_may_not_grow(fresh: Kept) -> None:
    """A limit that nothing tells before, as of a quota."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    loads_plainly(fresh, "packing in", then=limit)


def test_f01_a_process_that_packs_and_is_killed(fresh: Kept) -> None:
    """Also where other code has taken the exit codes of children."""
    lean = fresh.artefact.with_name("changed.py")
    text = LEAN.read_text()
    lean.write_text(text.replace("write_digests(place)\n", "os.kill(os.getpid(), 9)\n"))
    assert lean.read_text() != text
    _, reason, _, lines = fresh.load_apart(lean=lean).end()
    assert reason is not None
    assert "ended by signal 9" in reason
    assert len(lines) == 1
    ignoring = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    _, reason, _, lines = fresh.load_apart(lean=lean, before=ignoring).end()
    assert reason is not None
    assert len(lines) == 1
    assert list(fresh.folder.iterdir()) == []
    warm, reason, _, lines = fresh.load_apart(before=ignoring).end()
    assert (warm, reason, lines) == (False, None, [])


def test_f01_packed_weights_that_give_other_logits_are_not_kept(fresh: Kept) -> None:
    lean = fresh.artefact.with_name("changed.py")
    text = LEAN.read_text()
    lean.write_text(text.replace("mapped, tolerance = self(", "mapped, tolerance = 1.1 * self("))
    assert lean.read_text() != text
    _, reason, _, _ = fresh.load_apart(lean=lean).end()
    assert reason is not None
    assert "packed weights give other logits" in reason
    assert list(fresh.folder.iterdir()) == []


NO_EXEC = "sys.executable = '/usr/bin/program'"
WAYS = {
    "no Python": NO_EXEC,
    "no such Python": "sys.executable = '/nowhere/python3'",
    "frozen": "sys.frozen = True",
    "another Python": "sys.executable = shutil.which('python-other')",
}


@pytest.mark.parametrize("way", ["no Python", "no such Python", "frozen"])
def test_f01_a_program_that_is_no_interpreter_packs_in_a_copy_of_itself(
    fresh: Kept, way: str
) -> None:
    warm, reason, logits, lines = fresh.load_apart(before=WAYS[way]).end()
    assert (warm, reason, lines) == (False, None, [])
    np.testing.assert_allclose(logits, fresh.plain()[0], rtol=1e-4, atol=1e-5)
    assert fresh.load_apart().end()[0]


def test_f01_a_file_that_holds_more_than_the_loader_is_not_started(fresh: Kept) -> None:
    """Somebody's program, with the loader pasted into it."""
    program = fresh.artefact.with_name("program.py")
    program.write_text(LEAN.read_text() + "print('started')\n")
    process = fresh.load_apart(lean=program).process
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.count("started"), err) == (0, 1, "")
    assert fresh.entry.is_dir()


def test_f01_nothing_to_pack_in(fresh: Kept) -> None:
    loads_plainly(fresh, "run python lean.py before", before=NO_EXEC + "; del os.fork")


def test_f01_a_host_with_threads(fresh: Kept) -> None:
    """A new interpreter packs: no warning of forks, and no lock of another thread."""
    threads = """
import threading, warnings
warnings.simplefilter("error")
for _ in range(4):
    work = lambda: [numpy.ones(1000).sum() for _ in range(10**9)]
    threading.Thread(target=work, daemon=True).start()
"""
    warm, reason, _, lines = fresh.load_apart(
        then=threads, before="sys.setswitchinterval(0.001)"
    ).end()
    assert (warm, reason, lines) == (False, None, [])


@pytest.mark.parametrize("locks", [True, False])
def test_f02_three_first_loads_at_once(fresh: Kept, locks: bool) -> None:
    refuse = "import fcntl\ndef refuse(*_): raise OSError(37, 'No locks')\nfcntl.flock = refuse"
    loads = [fresh.load_apart("" if locks else refuse) for _ in range(3)]
    ends = [load.end() for load in loads]
    plain = fresh.plain()[0]
    for _, reason, logits, lines in ends:
        assert (reason, lines) == (None, [])
        np.testing.assert_allclose(logits, plain, rtol=1e-4, atol=1e-5)
    packed = [warm for warm, _, _, _ in ends].count(False)
    assert packed == 1 or not locks
    assert fresh.entry.is_dir()


def test_f02_two_threads_of_one_program(fresh: Kept) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        models = [pool.submit(fresh.lean["open_model"], str(fresh.artefact)) for _ in range(2)]
        warm = sorted(model.result().facts["warm"] for model in models)
    assert warm == [False, True]


def modes(kept: Kept) -> set[int]:
    """Modes of folders and files that are kept."""
    places = [kept.folder, kept.entry, *kept.entry.iterdir()]
    return {place.stat().st_mode & 0o777 for place in places}


@pytest.mark.parametrize(("umask", "expected"), [(0o022, {0o755, 0o644}), (0o027, {0o750, 0o640})])
def test_f06_modes_follow_the_umask(fresh: Kept, umask: int, expected: set[int]) -> None:
    fresh.load_apart(before=f"os.umask({umask})").end()
    assert modes(fresh) == expected


@pytest.fixture
def shared(kept: Kept) -> Iterator[Kept]:
    """A file with packed weights where everybody may read."""
    folder = Path(tempfile.mkdtemp(prefix="fca-edge-shared-"))
    folder.chmod(0o755)
    yield copy_kept(kept.artefact, folder)
    shutil.rmtree(folder)


# Everything is imported before: the other user may perhaps not read this Python.
OTHER_USER = f"""
from fca_edge.lean_settings import Settings
before = lean["RUNTIMES"][name]()
before.settle = lambda: None
with lean["quiet"]():
    before.start({{"artefact": sys.argv[2], "threads": 1, "settings": {{}}}}, None)
lean["stored"](sys.argv[2]), lean["VERIFIED"].clear()
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
"""


@as_root
def test_f06_another_user(shared: Kept) -> None:
    """Reads what is kept; where it may not, or may keep nothing, loads plainly."""
    warm, reason, logits, lines = shared.load_apart(then=OTHER_USER).end()
    assert (warm, reason, lines) == (True, None, [])
    np.testing.assert_allclose(logits, shared.plain()[0], rtol=1e-4, atol=1e-5)
    flip(shared.entry / FILES[shared.artefact.suffix][-1], 0.5)
    _, reason, logits, lines = shared.load_apart(then=OTHER_USER).end()
    assert reason is not None
    assert "Permission denied" in reason
    assert len(lines) == 1
    np.testing.assert_allclose(logits, shared.plain()[0], rtol=1e-4, atol=1e-5)
    shared.folder.chmod(0o700)
    assert "Permission denied" in str(shared.load_apart(then=OTHER_USER).end()[1])
    shutil.rmtree(shared.folder)
    loads_plainly(shared, "Permission denied", then=OTHER_USER)


@as_root
def test_f06_a_bundle_that_cannot_be_written(shared: Kept) -> None:
    """What is whole is used where it lies."""
    folder = str(shared.artefact.parent)
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        warm, reason, _, lines = shared.load_apart().end()
        assert (warm, reason, lines) == (True, None, [])
        subprocess.run(["mount", "-o", "remount,rw,bind", folder], check=True)
        shutil.rmtree(shared.folder)
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        loads_plainly(shared, "Read-only file system")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


BAD_SETTINGS = {
    "an absolute cache": ({"cache": "/tmp/elsewhere"}, "only a program may name that"),
    "a cache that climbs": ({"cache": "a/../../elsewhere"}, "only a program may name that"),
    "backslashes that climb": ({"cache": "..\\elsewhere"}, "only a program may name that"),
    "a cache of NUL": ({"cache": "a\0b"}, "must be a folder"),
    "an empty cache": ({"cache": ""}, "must be a folder"),
    "a cache that is a number": ({"cache": 5}, "must be a folder"),
    "no thread": ({"threads": 0}, "from 1 to 1024"),
    "too many threads": ({"threads": 1025}, "from 1 to 1024"),
    "half a thread": ({"threads": 1.5}, "from 1 to 1024"),
    "true threads": ({"threads": True}, "from 1 to 1024"),
    "threads in words": ({"threads": "2"}, "from 1 to 1024"),
    "a huge arena": ({"arena_bytes": 1 << 50}, "4096 bytes to 4 GiB"),
    "an arena below 0": ({"arena_bytes": -1}, "4096 bytes to 4 GiB"),
    "spinning 1": ({"spinning": 1}, "true or false"),
    "cold in words": ({"cold": "no"}, "true or false"),
    "another release": ({"release": "some"}, "none, model or all"),
    "a list of releases": ({"release": ["all"]}, "none, model or all"),
    "an unknown one": ({"speed": 1}, "no such setting"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_f08_settings_are_read_with_their_kinds(
    originals: dict[str, Path], name: str, tmp_path: Path
) -> None:
    from fca_edge.errors import FcaEdgeError
    from fca_edge.lean_settings import SCHEMA, read_settings

    kept = copy_kept(originals[".onnx"], tmp_path)
    settings, words = BAD_SETTINGS[name]
    content = {"schema": SCHEMA, "runtime": "onnxruntime", "settings": settings}
    settings_path(kept.artefact).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as refusal:
        kept.load()
    assert str(settings_path(kept.artefact)) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    if name != "cold in words":
        with pytest.raises(FcaEdgeError, match=words):
            read_settings(kept.artefact)
    settings_path(kept.artefact).unlink()
    if "a program" not in words:
        with pytest.raises(ValueError, match=f"settings: .*{words}"):
            kept.load(**settings)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b'{"settings": []}',
        b'{"settings": "x"}',
        b"{}",
        b"\xff\xfe",
        b"[" * 60_000,
    ],
)
def test_f08_settings_that_are_none(
    originals: dict[str, Path], content: bytes, tmp_path: Path
) -> None:
    kept = copy_kept(originals[".onnx"], tmp_path)
    settings_path(kept.artefact).write_bytes(content)
    with pytest.raises(
        ValueError, match=r"holds no settings .*; export again or remove it"
    ) as refusal:
        kept.load()
    assert "\n" not in str(refusal.value)


def test_f08_a_cache_beside_the_artefact_or_given_by_the_caller(
    fresh: Kept, tmp_path: Path
) -> None:
    content = json.loads(settings_path(fresh.artefact).read_text())
    content["settings"]["cache"] = "packed/here"
    settings_path(fresh.artefact).write_text(json.dumps(content))
    fresh.load()
    assert len(list((fresh.artefact.parent / "packed/here").iterdir())) == 1
    elsewhere = tmp_path / "elsewhere"
    for warm in (False, True):
        assert fresh.load(cache=str(elsewhere))[1]["warm"] is warm
    assert len(list(elsewhere.iterdir())) == 1


@pytest.mark.parametrize("place", ["folder", "inner folder", "entry", "staged"])
def test_f08_planted_links_are_not_followed(
    fresh: Kept, place: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What they lead to stays as it was."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("mine")
    settings: dict[str, Any] = {}
    if place == "folder":
        fresh.folder.symlink_to(victim)
    elif place == "inner folder":
        (tmp_path / "packed").symlink_to(victim)
        settings = {"cache": "packed/inner"}
    elif place == "entry":
        fresh.load()
        replace_entry(fresh, lambda path: path.symlink_to(victim))
    else:
        fresh.folder.mkdir()
        (fresh.folder / ".packing-0123456789abcdef").symlink_to(victim)
    plain = fresh.plain()
    capfd.readouterr()
    logits, facts = fresh.load(**settings)
    np.testing.assert_allclose(logits, plain, rtol=1e-4, atol=1e-5)
    assert [path.name for path in victim.iterdir()] == ["precious"]
    lines = capfd.readouterr().err.splitlines()
    if "folder" in place:
        assert "is a link, which is not followed" in facts["plain"]
        assert len(lines) == 1
    else:
        assert "plain" not in facts
        assert not fresh.entry.is_symlink()
        assert len(lines) == (place == "entry")


def test_f17_a_first_load_that_is_killed(fresh: Kept) -> None:
    """Its child dies with it; what it left is swept by the next first load."""
    lean = fresh.artefact.with_name("slow.py")
    text = LEAN.read_text()
    lean.write_text(text.replace("write_digests(place)\n", "time.sleep(60)\n"))
    assert lean.read_text() != text
    process = fresh.load_apart(lean=lean).process
    packed = wait_for(
        lambda: [
            p for n in FILES[fresh.artefact.suffix] for p in fresh.folder.glob(f".packing-*/*/{n}")
        ]
    )
    children = wait_for(lambda: list_children(process.pid))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert packed
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert len(list(fresh.folder.iterdir())) == 1
    warm, reason, _, lines = fresh.load_apart().end()
    assert (warm, reason, lines) == (False, None, [])
    assert fresh.entry.name.startswith(("ort-", "litert-"))


def list_children(number: int) -> list[int]:
    """Numbers of a process's children."""
    return [int(n) for n in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def wait_for(ask: Callable[[], Any]) -> Any:
    """Ask until something is so."""
    until = time.monotonic() + 60
    while not (answer := ask()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return answer


def test_f17_no_locks_and_something_new_lies_there(fresh: Kept) -> None:
    """It may be somebody's who is packing now; only what is old is removed."""
    old, new = (fresh.folder / f".packing-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (1, 1))
    refuse = "import fcntl\ndef refuse(*_): raise OSError(37, 'No locks')\nfcntl.flock = refuse"
    assert fresh.load_apart(refuse).end()[1] is None
    assert new.is_dir()
    assert not old.exists()


def test_the_file_is_of_an_old_python() -> None:
    ast.parse(LEAN.read_text(), feature_version=(3, 7))


def test_the_file_packs_by_itself_and_says_where_it_cannot(fresh: Kept) -> None:
    words = [sys.executable, str(LEAN), str(fresh.artefact)]
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert fresh.load()[1]["warm"] is True
    shutil.rmtree(fresh.folder)
    fresh.folder.write_text("in the way")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert "File exists" in done.stderr.splitlines()[-1]
    assert fresh.folder.read_text() == "in the way"
