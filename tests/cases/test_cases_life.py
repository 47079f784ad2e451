"""Cases of the command line and its life cycle, each row with samples that the list lacks."""

import contextlib
import errno
import fcntl
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import fca_edge, refused, written
from conftest import DIGITS
from safetensors.torch import save_file
from targets.loopback import Loopback
from torch import Tensor

from fca_edge.accuracy.check import AccuracyCheck
from fca_edge.cli import run
from fca_edge.errors import FcaEdgeError, NotEquivalentError
from fca_edge.exporting.forms import FLOORS, ONNX
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.pipeline import move_all, run_export
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.manifest import Artefact, read_manifest
from fca_edge.measure.jobs import describe
from fca_edge.places import locked, put
from fca_edge.store import move_into, staging

COMMAND = (sys.executable, "-m", "fca_edge")
MARKUP = "best[epoch=3] ü"
# Names that markup, an emoji's name, a control code or an encoding could spoil.
NAMES = {
    MARKUP: MARKUP,
    "[/x]": "[/x]",
    "[bold]run :smile:": "[bold]run :smile:",
    "a\x1b[31mred\nline": r"a\x1b[31mred\nline",
    "bytes\udcff\u202eevil": r"bytes\xff\u202eevil",
    "\x9b2Jc1\x07bell\ttab": r"\x9b2Jc1\x07bell\ttab",
}


def wait_for(there: Callable[[], Any], seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < until
        time.sleep(0.02)


def heed() -> None:
    """Let the usual signals end this process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def begin(*words: object, **options: Any) -> subprocess.Popen[str]:
    """Start `fca-edge WORDS...` in a process of its own, as a shell would.

    What starts the suite may have set signals to be ignored, which children inherit.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": heed, **options}
    return subprocess.Popen([*COMMAND, *map(str, words)], text=True, **pipes)


def shell(text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `fca-edge` is this package's."""
    head = f'set -o pipefail; fca-edge() {{ {sys.executable} -m fca_edge "$@"; }}; '
    environment = {**os.environ, **variables}
    return subprocess.run(
        ["bash", "-c", head + text], capture_output=True, text=True, timeout=120, env=environment
    )


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str]]:
    """The digits under a name of markup, in such a folder; with what the export printed."""
    folder = tmp_path_factory.mktemp("marked")
    checkpoint = folder / f"{MARKUP}.safetensors"
    shutil.copyfile(DIGITS, checkpoint)
    out = folder / "run [/x]"
    done = fca_edge("export", "--checkpoint", checkpoint, "--out", out, "--precision", "fp32,fp16")
    assert done.returncode == 0, done.stderr
    yield out, done.stdout, done.stderr


# L1: where JSON goes


def list_targets(*words: object) -> Any:
    return fca_edge("targets", "list", *words)


def test_l1_a_links_target_is_replaced(tmp_path: Path) -> None:
    target, link, chain = tmp_path / "real" / "t.json", tmp_path / "l.json", tmp_path / "c.json"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("real/t.json")
    chain.symlink_to("l.json")
    before = target.stat().st_ino
    refused(list_targets("--json", chain), 2, "exists already", "--force")
    assert list_targets("--json", chain, "--force").returncode == 0
    assert link.is_symlink() and chain.is_symlink()
    assert json.loads(target.read_text())[0]["target"] == "local"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.stat().st_ino != before, "it was written in place, not replaced"


def test_l1_a_link_to_nothing_makes_its_target(tmp_path: Path) -> None:
    link = tmp_path / "l.json"
    link.symlink_to(tmp_path / "new" / "t.json")
    assert list_targets("--json", link).returncode == 0
    assert link.is_symlink()
    assert json.loads((tmp_path / "new" / "t.json").read_text())


def test_l1_devices_stay_devices() -> None:
    for words in (["--json", "/dev/null"], ["--json", "/dev/null", "--force"]):
        assert list_targets(*words).returncode == 0
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    refused(list_targets("--json", "/dev/full"), 1, "/dev/full", "No space left")


def test_l1_a_fifo_is_written_to(tmp_path: Path) -> None:
    fifo, texts = tmp_path / "fifo", list[str]()
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: texts.append(fifo.read_text()))
    reader.start()
    assert list_targets("--json", fifo).returncode == 0
    reader.join()
    assert json.loads(texts[0]) and stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_l1_an_open_file_is_written_to_and_not_replaced(tmp_path: Path, name: str) -> None:
    file = tmp_path / "log"
    with file.open("w") as stream:
        stream.write("first\n")
        stream.flush()
        node = file.stat().st_ino
        assert list_targets("--json", name.format(stream.fileno())).returncode == 0
        stream.write("last\n")
    text = file.read_text()
    assert file.stat().st_ino == node
    assert text.startswith("first\n") and text.endswith("last\n")
    assert json.loads(text.removeprefix("first\n").removesuffix("last\n"))


def test_l1_standard_output_by_its_names(tmp_path: Path) -> None:
    # JSON alone: the table would spoil it, as with '-'.
    done = shell(f"fca-edge targets list --json /dev/stdout > '{tmp_path}/out'")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out").read_text())


def test_l1_a_folder_and_a_closed_descriptor_are_refused(tmp_path: Path) -> None:
    refused(list_targets("--json", tmp_path), 2, "is a folder")
    refused(list_targets("--json", tmp_path, "--force"), 2, "is a folder")
    refused(list_targets("--json", "/dev/fd/987"), 1, "/dev/fd/987", "Bad file descriptor")
    (tmp_path / "loop").symlink_to("loop")
    refused(list_targets("--json", tmp_path / "loop"), 1, "loop")


def test_l1_new_files_have_the_modes_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        assert list_targets("--json", tmp_path / "r.json").returncode == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "r.json").stat().st_mode) == 0o640
    assert written(tmp_path) == ["r.json"]


@pytest.mark.parametrize("same_file_system", [True, False])
def test_l1_artefacts_behind_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_file_system: bool
) -> None:
    out, store = tmp_path / "out", tmp_path / "store"
    out.mkdir()
    store.mkdir()
    (out / "a.onnx").symlink_to(store / "model.onnx")
    (store / "model.onnx").write_text("old")
    (tmp_path / "staged").mkdir()
    staged = tmp_path / "staged" / "a.onnx"
    staged.write_text("new")
    if not same_file_system:
        replace = os.replace

        def across(source: Any, target: Any) -> None:
            if Path(source) == staged:
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            replace(source, target)

        monkeypatch.setattr(os, "replace", across)
    move_into([staged], out)
    assert (out / "a.onnx").is_symlink()
    assert (store / "model.onnx").read_text() == "new"
    assert written(store) == ["model.onnx"]


def test_l1_a_mounted_file_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is mounted into a container can be written but not replaced."""
    file, staged = tmp_path / "r.json", tmp_path / "staged"
    file.write_text("a longer old text")
    staged.write_text("new")

    def busy(source: Any, target: Any) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", busy)
    put(staged, file)
    assert file.read_text() == "new"


# L2: user text is never markup


@pytest.mark.parametrize("name", NAMES)
def test_l2_names_in_errors(name: str) -> None:
    line = refused(fca_edge("bench", f"{name}.onnx"), 2, NAMES[name], "no such artefact")
    assert line.isprintable()


def test_l2_names_in_click_errors() -> None:
    done = fca_edge("export", "--seed", "\x1b[31m[/b]")
    assert done.returncode == 2
    assert r"\x1b[31m[/b]" in done.stderr and "\x1b" not in done.stderr


def test_l2_names_in_tables_and_notes(marked: tuple[Path, str, str]) -> None:
    out, stdout, stderr = marked
    assert f"{MARKUP}-fp32.onnx" in stdout
    assert f"in {out}, each with its manifest" in stdout
    assert f"{MARKUP}.safetensors" in stderr
    done = fca_edge("bundle", out / f"{MARKUP}-fp32.tflite", "--out", out.parent / "b [/bold]")
    assert done.returncode == 0, done.stderr
    assert f"{MARKUP}-fp32.tflite.json" in done.stdout and "b [/bold]" in done.stdout


@pytest.mark.parametrize("name", [n for n in NAMES if n != MARKUP])
def test_l2_names_in_the_bench(marked: tuple[Path, str, str], tmp_path: Path, name: str) -> None:
    place = tmp_path / f"{name}.tflite"
    place.parent.mkdir(exist_ok=True)
    shutil.copyfile(marked[0] / f"{MARKUP}-fp32.tflite", place)
    done = fca_edge("bench", place, "--runs", 1, "--processes", 1, "--warmup", 0)
    if "\udcff" in name:  # LiteRT takes no such name; that must be one line
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1)
    else:
        assert done.returncode == 0, done.stderr
        assert NAMES[name].rpartition("/")[2] in done.stdout
    assert "\x1b" not in done.stdout + done.stderr and "\x9b" not in done.stdout + done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_l2_terminals_that_know_few_characters(
    marked: tuple[Path, str, str], encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    artefact = marked[0] / f"{MARKUP}-fp32.onnx"
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    words = ["fca-edge", "bundle", str(artefact), "--out", str(tmp_path / "büñdle")]
    monkeypatch.setattr(sys, "argv", words)
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        run()
    text = streams[0].buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert ("best[epoch=3] ü" if encoding == "latin-1" else r"best[epoch=3] \xfc") in text
    assert (tmp_path / "büñdle" / "SHA256SUMS").is_file()


# L3, U9: signals


def test_l3_an_export_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    process = begin("export", "--checkpoint", DIGITS, "--out", out)
    wait_for(lambda: list(out.glob(".fca-edge-*/*")) or process.poll() is not None)
    process.terminate()
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 143, stderr
    assert stderr.strip().splitlines()[-1].startswith("fca-edge: stopped; "), stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert written(tmp_path) == []


def agents_of(text: str) -> list[int]:
    """List processes whose command line holds a text."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if text in place.read_bytes().decode(errors="replace"):
                found.append(int(place.parent.name))
    return found


def list_children(number: int) -> list[int]:
    """Return the numbers of a process's children; none once it has ended."""
    try:
        words = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in words]


def is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGINT, 130),
        (signal.SIGHUP, 129),
        (signal.SIGKILL, -9),
    ],
)
def test_l3_u9_a_bench_that_is_stopped(
    exported: list[Artefact], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    records, marks = tmp_path / "r.json", tmp_path / "temporary"
    marks.mkdir()
    paths = [item.path for item in exported[:2]]
    words = ("--runs", 3, "--processes", 40, "--warmup", 0, "--json", records)
    process = begin("bench", *paths, *words, env={**os.environ, "TMPDIR": str(marks)})
    seen: set[int] = set()

    def measured_some() -> bool:
        seen.update(list_children(process.pid))
        return len(seen) > 3 or process.poll() is not None

    wait_for(measured_some)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == code, stderr
    wait_for(lambda: not any(map(is_running, seen)), 10)
    if number == signal.SIGKILL:
        return
    last = stderr.strip().splitlines()[-1]
    assert re.fullmatch(r"fca-edge: stopped; .* is in .*r\.json\.", last), stderr
    assert "digits-fp32" in stdout and "Aborted" not in stderr
    document = json.loads(records.read_text())["records"]
    assert document
    for record in document:
        took = len(record["latency_ns"])
        assert 0 < took < 40 and record["plan"]["processes"] == took
        assert f"interrupted after {took} of 40 processes" in record["warnings"]
    assert [name for name in written(marks) if "fca-edge" in name] == []


def test_u9_nothing_measured_yet(exported: list[Artefact], tmp_path: Path) -> None:
    process = begin(
        *("bench", exported[0].path, "--runs", 1_000_000, "--json", tmp_path / "r.json")
    )
    wait_for(lambda: list_children(process.pid) or process.poll() is not None)
    process.terminate()
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 143
    assert "stopped; nothing" in stderr and "Traceback" not in stderr
    assert written(tmp_path) == []


def test_l3_an_ignored_hangup_stays_ignored(exported: list[Artefact]) -> None:
    """As under nohup."""
    process = begin(
        *("bench", exported[0].path, "--runs", 2, "--processes", 2, "--warmup", 0),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for(lambda: list_children(process.pid) or process.poll() is not None)
    process.send_signal(signal.SIGHUP)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert "digits-fp32" in stdout


def test_l3_nothing_is_handled_on_import() -> None:
    code = (
        "import signal; before = [signal.getsignal(n) for n in (2, 15, 1)]; import fca_edge.cli,"
        " fca_edge.stopping; assert before == [signal.getsignal(n) for n in (2, 15, 1)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    before = signal.getsignal(signal.SIGTERM)
    fca_edge("--help")
    assert signal.getsignal(signal.SIGTERM) == before


# L4: two exports into one folder


def stage(folder: Path, mark: str) -> list[Output]:
    """Stage what two outputs leave in a folder, all of it with a mark."""
    folder.mkdir()
    outputs = [Output(file=name, profile=ONNX, layout="nchw") for name in ("a.onnx", "b.onnx")]
    for output in outputs:
        for suffix in ("", ".json", ".runtime.json"):
            (folder / f"{output.file}{suffix}").write_text(mark)
    return outputs


@pytest.mark.parametrize("force", [True, False])
def test_l4_files_of_two_exports_never_mix(tmp_path: Path, force: bool) -> None:
    """Locks of two open files are as apart in one process as in two."""
    for number in range(20):
        out, errors = tmp_path / f"out-{number}", list[str]()
        out.mkdir()
        together = threading.Barrier(2)

        def one(mark: str, number: int = number) -> None:
            folder = tmp_path / f"{mark}-{number}"
            outputs = stage(folder, mark)
            together.wait()  # noqa: B023
            try:
                move_all(outputs, folder, out, force)  # noqa: B023
            except FcaEdgeError as error:
                errors.append(str(error))  # noqa: B023

        threads = [threading.Thread(target=one, args=(mark,)) for mark in ("x", "y")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({path.read_text() for path in out.iterdir()}) == 1
        assert len(written(out)) == 6
        assert len(errors) == (0 if force else 1)
        assert all("exists already" in text for text in errors)


def test_l4_the_later_export_is_refused(tmp_path: Path) -> None:
    """Its files were not there when it began."""
    wanted = NetworkRequest(variant="micro")
    request = Request(network=wanted, out=tmp_path / "out", formats=("tflite",))

    def other_is_quicker(artefact: Artefact) -> None:
        (tmp_path / "out" / artefact.path.name).write_text("the other's")

    with pytest.raises(FcaEdgeError, match="exists already"):
        run_export(request, lambda text: None, other_is_quicker)
    assert written(tmp_path / "out") == ["fcaformer_micro-fp32.tflite"]
    assert (tmp_path / "out" / "fcaformer_micro-fp32.tflite").read_text() == "the other's"


@pytest.mark.parametrize("with_flock", [True, False])
def test_l4_a_lock_waits_and_goes_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_flock: bool
) -> None:
    head = "" if with_flock else "import fcntl; fcntl.flock = lambda *a: 1 / 0\n"
    head = head.replace("1 / 0", "(_ for _ in ()).throw(OSError(95, 'not supported'))")
    code = (
        f"{head}import sys, time; from pathlib import Path; from fca_edge.places import locked\n"
        f"with locked(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    if not with_flock:

        def unsupported(handle: int, operation: int) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

        monkeypatch.setattr(fcntl, "flock", unsupported)
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    entered = threading.Event()

    def enter() -> None:
        with locked(tmp_path):
            entered.set()

    waiting = threading.Thread(target=enter)
    waiting.start()
    assert not entered.wait(0.3)
    holder.kill()
    holder.communicate()
    assert entered.wait(10)
    waiting.join()
    assert written(tmp_path) == []


def test_l3_l4_folders_of_killed_processes_are_swept(tmp_path: Path) -> None:
    dead = tmp_path / ".fca-edge-dead"
    with staging(tmp_path) as alive:
        dead.mkdir()
        (dead / "half").write_text("")
        os.utime(alive, (0, 0))
        with staging(tmp_path):
            assert not dead.exists() and alive.exists()


# L5: closed and broken streams


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("fca-edge targets list >&-", 0, ""),
        ("fca-edge targets list >&- 2>&- <&-", 0, ""),
        ("fca-edge targets list 2>&- >/dev/null", 0, ""),
        ("fca-edge lean | true", 141, ""),
        ("fca-edge targets list | true", 141, ""),
        ("fca-edge bench none.onnx 2>&-", 2, ""),
        ("fca-edge bench none.onnx 2>/dev/full", 2, ""),
        ("fca-edge targets list >/dev/full", 1, "standard output: No space left on device."),
        ("fca-edge completion bash >/dev/full", 1, "standard output: No space left on device."),
        ("fca-edge --help >/dev/full", 1, "No space left on device."),
        ("fca-edge targets list --json - >&-", 1, "--json -: standard output is closed."),
        ("fca-edge targets list --json - >/dev/full", 1, "standard output: No space left"),
    ],
)
def test_l5_streams(line: str, code: int, error: str) -> None:
    done = shell(line)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (1 if error else 0), done.stderr
    assert error in done.stderr


def test_l5_files_do_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """The next file that is opened would be number 1, and receive what libraries print."""
    done = shell(f"fca-edge targets list --json '{tmp_path}/r.json' >&-")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())[0]["target"] == "local"


# L9: overflow; U7: what is proven is written


def scaled(state: dict[str, Tensor], first: str, second: str, by: float) -> dict[str, Tensor]:
    """Scale a layer up and the next one down: float64 hardly notices."""
    state = dict(state)
    for name in ("weight", "bias"):
        state[f"{first}.{name}"] = state[f"{first}.{name}"] * by
    state[f"{second}.weight"] = state[f"{second}.weight"] / by
    return state


def saved(state: dict[str, Tensor], path: Path) -> Path:
    entries = {"variant": "micro", "img_size": "96"}
    save_file({k: v.contiguous() for k, v in state.items()}, path, entries)
    return path


MLP = ("layer_2.blocks.1.mlp.fc1", "layer_2.blocks.1.mlp.fc2")


def test_l9_u7_weights_that_overflow_in_halves(state: dict[str, Tensor], tmp_path: Path) -> None:
    path, out = saved(scaled(state, *MLP, 1e6), tmp_path / "big.safetensors"), tmp_path / "o"
    words = ("export", "--checkpoint", path, "--out", out, "--precision", "fp32,fp16")
    done = fca_edge(*words, "--json", "-")
    refused(done, 3, "-fp16.", "is refused", "; written: big-fp32.onnx, big-fp32.tflite.")
    lines = [line for line in done.stderr.splitlines() if "overflow" in line]
    for kind in ("onnx", "tflite"):
        (line,) = [line for line in lines if f"big-fp16.{kind} is refused" in line]
        place = r"overflow in fp16, first in \w+ in \S*layer_2\.blocks\.1\.mlp\.fc1, .*65504"
        assert re.search(place, line), line
    assert "nan" not in done.stderr and "Warning" not in done.stderr
    told = {entry["file"]: entry for entry in json.loads(done.stdout)}
    for kind in ("onnx", "tflite"):
        assert told[f"big-fp32.{kind}"]["sha256"]
        assert told[f"big-fp16.{kind}"]["schema"] == "fca_edge.refused/1"
        assert "overflow in fp16" in told[f"big-fp16.{kind}"]["refused"]
    assert [name for name in written(out) if "fp16" in name] == []
    assert fca_edge("verify", out / "big-fp32.onnx", "--checkpoint", path).returncode == 0


def test_l9_activations_that_overflow_where_halves_compute(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = saved(scaled(state, *MLP, 1e5), tmp_path / "hot.safetensors")
    words = ("--format", "tflite", "--profile", "litert-fp16", "--precision", "fp16")
    done = fca_edge("export", "--checkpoint", path, "--out", tmp_path / "o", *words)
    line = refused(done, 3, "litert-fp16.tflite is refused: overflow in fp16, first in")
    assert "mlp.fc1" in line and "leave --profile litert-fp16 out; nothing was written" in line
    assert not (tmp_path / "o").exists()


def test_l9_float32_that_overflows(state: dict[str, Tensor], tmp_path: Path) -> None:
    state = {name: tensor.double() for name, tensor in state.items()}
    path = saved(scaled(state, *MLP, 1e39), tmp_path / "huge.safetensors")
    done = fca_edge("export", "--checkpoint", path, "--out", tmp_path / "o")
    refused(done, 3, "is refused", "nothing was written")
    for kind in ("onnx", "tflite"):
        (line,) = [line for line in done.stderr.splitlines() if f"huge-fp32.{kind}" in line]
        assert "are not finite; overflow in fp32, first in" in line and "mlp" in line
    assert "RuntimeWarning" not in done.stderr and "nan" not in done.stderr
    assert not (tmp_path / "o").exists()


def test_u7_int8_under_its_floor_and_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FLOORS, "int8", 99.0)
    words = ("--format", "tflite", "--precision", "fp32,int8", "--all-or-nothing")
    done = fca_edge("export", "--checkpoint", DIGITS, "--out", tmp_path / "o", *words)
    words = ("digits-int8.tflite is refused", "less than 99 dB", "; nothing was written.")
    refused(done, 3, *words)
    assert written(tmp_path) == []


def test_u7_the_accuracy_gate_judges_each_file(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = AccuracyCheck.refuse_drop

    def strict(self: AccuracyCheck, artefact: Any, runtime: str, found: Any) -> None:
        if "int8" in artefact.path.name:
            raise NotEquivalentError(f"{artefact.path.name} is refused: top-1 falls.")
        judge(self, artefact, runtime, found)

    monkeypatch.setattr(AccuracyCheck, "refuse_drop", strict)
    words = ("--format", "onnx", "--precision", "int8,fp32", "--data", digits, "--max-drop", 5)
    done = fca_edge("export", "--checkpoint", DIGITS, "--out", tmp_path / "o", *words)
    refused(done, 3, "digits-int8.onnx is refused: top-1 falls; written: digits-fp32.onnx.")
    told = json.loads((tmp_path / "o" / "digits-fp32.onnx.json").read_text())
    assert told["accuracy"]["runtimes"]


# U6: an artefact that was copied alone


@pytest.mark.parametrize("number", [0, 1])
def test_u6_without_a_manifest(exported: list[Artefact], tmp_path: Path, number: int) -> None:
    path = exported[number].path
    alone = Path(shutil.copy(path, tmp_path / path.name))
    words = ("--runs", 1, "--processes", 1, "--warmup", 0, "--json", tmp_path / "r.json")
    done = fca_edge("bench", alone, *words)
    assert done.returncode == 0, done.stderr
    assert "no manifest beside it" in done.stdout and "random weights" not in done.stdout
    artefact = json.loads((tmp_path / "r.json").read_text())["records"][0]["artefact"]
    assert (artefact["variant"], artefact["trained"], artefact["img_size"]) == ("micro", True, 96)
    profile = exported[number].manifest.profile
    assert (artefact["precision"], artefact["profile"]) == ("fp32", profile)
    line = refused(fca_edge("verify", alone), 1, "no manifest", f"{alone.name}.json")
    assert "--checkpoint" in line and "micro, trained" in line


@pytest.mark.parametrize("content", [b"", b"\x08\x07", b"\xff" * 64, b"TFL3" * 9])
@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_u6_files_of_others_are_unknown(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    artefact = describe(path, read_manifest(path))
    assert (artefact.variant, artefact.trained, artefact.profile) == ("unknown", None, "unknown")


@pytest.mark.parametrize("number", [0, 1])
def test_u6_a_file_cut_anywhere_is_unknown_or_right(
    exported: list[Artefact], tmp_path: Path, number: int
) -> None:
    whole = exported[number].path.read_bytes()
    for size in range(0, len(whole), len(whole) // 40):
        path = tmp_path / exported[number].path.name
        path.write_bytes(whole[:size])
        assert describe(path, read_manifest(path)).variant in ("unknown", "micro")


# U8: before torch

NO_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxruntime", "ai_edge_litert", "safetensors"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Blocked())
from fca_edge.cli import run
run()
"""


def without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", NO_TORCH, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_u8_usage_errors_need_no_torch(exported: list[Artefact], tmp_path: Path) -> None:
    out, new = exported[0].path.parent, tmp_path / "new"
    (tmp_path / "file").write_text("")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "fcaformer_l1-fp32.onnx").write_text("")
    (tmp_path / "folder" / "fcaformer_micro-64px-fp32.tflite").mkdir(parents=True)
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (2, "unknown variant 'l9'", ("--variant", "l9", "--out", new)),
        (2, "neither --variant nor", ("--out", new)),
        (2, "--weights", ("--variant", "l1", "--weights", "model", "--out", new)),
        (2, "no such checkpoint", ("--checkpoint", new / "a.pth", "--out", new)),
        (2, "exists already", ("--checkpoint", DIGITS, "--out", out)),
        (2, "exists already", ("--variant", "l1", "--out", tmp_path / "there")),
        (1, "cannot write there", ("--variant", "l1", "--out", tmp_path / "file" / "o")),
        (2, "--keep-float", ("--variant", "l1", "--keep-float", "a", "--out", new)),
        (2, "--data needs", ("--variant", "l1", "--data", tmp_path, "--out", new)),
        (2, "--labels", ("--checkpoint", DIGITS, "--labels", new / "a.txt", "--out", new)),
        (1, "not labels", ("--checkpoint", DIGITS, "--labels", tmp_path / "file", "--out", new)),
        (2, "--images", ("--checkpoint", DIGITS, "--images", new, "--out", new)),
        (2, "--data", ("--checkpoint", DIGITS, "--data", new, "--out", new)),
        (1, "no images", ("--checkpoint", DIGITS, "--data", tmp_path / "there", "--out", new)),
        (2, "--preprocessing", ("--variant", "l1", "--preprocessing", new, "--out", new)),
        (2, "--limit", ("--variant", "l1", "--limit", 3, "--out", new)),
        (2, "--dynamic-batch", ("--variant", "l1", "--dynamic-batch", "--out", new)),
        (
            2,
            "is a folder",
            ("--variant", "micro", "--img-size", 64, "--force", "--out", tmp_path / "folder"),
        ),
    ]
    for code, text, words in cases:
        done = without_torch("export", *words)
        assert done.returncode == code, done.stderr
        assert text in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not new.exists()


def test_u8_verify_and_sensitivity_need_no_torch_to_refuse(exported: list[Artefact]) -> None:
    done = without_torch("verify", exported[1].path)
    assert (done.returncode, "name it with --checkpoint" in done.stderr) == (2, True), done.stderr
    done = without_torch("sensitivity", "none.tflite", "--data", exported[1].path.parent)
    assert (done.returncode, "no such artefact" in done.stderr) == (2, True), done.stderr


# U14: what a connection needs of this machine


def changed(board: Loopback, old: str, new: str) -> Path:
    text = board.config.read_text()
    assert old in text
    board.config.write_text(text.replace(old, new))
    return board.config


def connect(monkeypatch: pytest.MonkeyPatch, config: Path) -> Any:
    monkeypatch.setenv("FCA_EDGE_SSH_CONFIG", str(config))
    return fca_edge("targets", "check", "ssh://loopback")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("known_hosts", "gone", ["/gone", "UserKnownHostsFile in", "line 8", "No such file"]),
        ("known_hosts", "", ["UserKnownHostsFile in", "Is a directory"]),
        ("/key\n", "/lost\n", ["/lost", "IdentityFile in", "line 6"]),
        ("/key\n", "/known_hosts/key\n", ["/known_hosts/key", "IdentityFile in"]),
        ("Host loopback", "Host 'loopback", ["the SSH configuration cannot be read"]),
    ],
)
def test_u14_bad_files_of_this_machine(
    board: Loopback, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: list[str]
) -> None:
    line = refused(connect(monkeypatch, changed(board, old, new)), 6, *words)
    assert "is the board on" not in line and "tries" not in line


def test_u14_a_configuration_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refused(connect(monkeypatch, tmp_path / "none"), 6, "none", "set by FCA_EDGE_SSH_CONFIG")
    refused(connect(monkeypatch, tmp_path), 6, str(tmp_path), "Is a directory")
    (tmp_path / "binary").write_bytes(b"Host \xff\xfe\n")
    line = refused(connect(monkeypatch, tmp_path / "binary"), 6, "is no text")
    assert "is the board on" not in line
