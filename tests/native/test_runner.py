"""The runner in C: right logits, what it keeps, and every way to fail with its line and code."""

import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from commandline import fca_edge
from conftest import DIGITS, ROOT
from native.sanitizers import compile_sanitized, find_compiler

from fca_edge.errors import TargetUnavailableError
from fca_edge.exporting.tflite.file import Operator, TfliteFile
from fca_edge.manifest import Artefact
from fca_edge.native import FOLDER, Kit
from fca_edge.runtimes import RUNTIMES
from fca_edge.stats import snr_db
from fca_edge.targets.outputs import Stream, run_artefact
from fca_edge.targets.provision import emulation
from fca_edge.targets.provision.machines import MACHINES
from fca_edge.targets.provision.xnnpack import LIBRARY, setup_kit
from fca_edge.targets.qemu import qemu_target

XNNPACK = RUNTIMES["xnnpack"]
EXACT_DB = 110.0
# `make fuzz` tries more.
FILES, SEED = os.environ.get("FUZZ_FILES", "150"), os.environ.get("FUZZ_SEED", "1")
NO_OPERATOR = 7  # EMBEDDING_LOOKUP
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def program() -> Path:
    """The runner for this machine; skips, and says so, where it cannot be had."""
    try:
        return setup_kit(Kit(platform.machine()), lambda text: None)
    except (TargetUnavailableError, KeyError) as error:
        pytest.skip(f"NO TEST OF THE C RUNNER: {error}")


@pytest.fixture
def run(program: Path) -> Run:
    def call(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)

    return call


@pytest.fixture(scope="module")
def source(exported: list[Artefact]) -> Path:
    return next(a.path for a in exported if a.manifest.profile == "modern")


@pytest.fixture
def model(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(source, tmp_path / "model.tflite"))


@pytest.fixture(scope="module")
def images(source: Path) -> np.ndarray:
    file = TfliteFile.read(source)
    shape = (3, *file.shape(int(file.graph.inputs[0]))[1:])
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def expected(source: Path, images: np.ndarray) -> np.ndarray:
    return run_artefact(source, RUNTIMES["litert"], images)[0]["logits"]


@pytest.fixture
def inputs(images: np.ndarray, tmp_path: Path) -> Path:
    np.save(tmp_path / "in.npy", images)
    return tmp_path / "in.npy"


def list_kept(model: Path) -> list[Path]:
    return sorted(Path(f"{model}.cache").iterdir())


def fails(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("fca-run: ") and all(word in done.stderr for word in words)


@pytest.mark.parametrize("threads", [1, 4])
def test_logits_are_right_packed_and_mapped(
    run: Run, model: Path, inputs: Path, expected: np.ndarray, threads: int
) -> None:
    for _ in ("cold", "warm"):
        out = inputs.with_name("out.npy")
        done = run(model, inputs, out, "--threads", threads)
        assert done.returncode == 0
        assert done.stderr == "" or threads > len(os.sched_getaffinity(0))
        assert snr_db(expected, np.load(out)) >= EXACT_DB
        (kept,) = list_kept(model)
        assert kept.suffix == ".packed"
    names = {path.name for path in model.parent.iterdir()}
    assert names == {"model.tflite", "model.tflite.cache", "in.npy", "out.npy"}


def test_the_tool_runs_it_like_any_other(
    program: Path, source: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    arrays, events = run_artefact(source, XNNPACK, images, threads=2)
    assert snr_db(expected, arrays["logits"]) >= EXACT_DB
    assert events["loaded"]["delegate"] == "XNNPACK" and events["loaded"]["partitions"] == 1
    with Stream(source, XNNPACK) as stream:
        for part in (images[:1], images[1:]):
            assert stream.logits(part).shape == (len(part), expected.shape[1])
    assert not Path(f"{source}.cache").exists()  # proving keeps nothing


def test_raw_floats_and_archives(
    run: Run, model: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    raw, out = model.with_name("in.bin"), model.with_name("out.npz")
    images.tofile(raw)
    assert run(model, raw, out, "--no-cache").returncode == 0
    with np.load(out) as arrays:
        assert snr_db(expected, arrays["logits"]) >= EXACT_DB
    assert run(model, raw, raw.with_suffix(".out"), "--no-cache").returncode == 0
    assert np.fromfile(raw.with_suffix(".out"), np.float32).size == expected.size
    assert not Path(f"{model}.cache").exists()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("fault", [damage, cut, empty, replace_by_link])
def test_what_is_wrong_is_packed_once_more(
    run: Run, model: Path, inputs: Path, expected: np.ndarray, fault: Callable[[Path], None]
) -> None:
    run(model)
    (kept,) = list_kept(model)
    whole = kept.read_bytes()
    fault(kept)
    done = run(model, inputs, inputs.with_name("out.npy"))
    assert done.returncode == 0 and "damaged; packed once more" in done.stderr
    assert snr_db(expected, np.load(inputs.with_name("out.npy"))) >= EXACT_DB
    assert list_kept(model) == [kept] and kept.read_bytes() == whole
    assert run(model).stderr == ""


def test_weights_of_another_model_are_never_used(
    run: Run, model: Path, source: Path, inputs: Path, expected: np.ndarray
) -> None:
    """Also not under the right name."""
    other = TfliteFile.read(source)
    for operator in other.graph.operators:
        for tensor in operator.inputs[1:2]:
            array = other.constant(int(tensor))
            if array is not None and array.dtype == np.float32 and array.size > 1000:
                buffer = other.model.buffers[other.graph.tensors[tensor].buffer]
                buffer.data = (array * 2).view(np.uint8).reshape(-1)
    changed = model.with_name("other.tflite")
    other.write(changed)
    assert run(changed).returncode == run(model).returncode == 0
    (theirs,), (ours,) = list_kept(changed), list_kept(model)
    assert theirs.name != ours.name
    shutil.copyfile(theirs, ours)
    done = run(model, inputs, inputs.with_name("out.npy"))
    assert "packed once more" in done.stderr
    assert snr_db(expected, np.load(inputs.with_name("out.npy"))) >= EXACT_DB


def test_several_pack_at_once(run: Run, program: Path, model: Path) -> None:
    words = [str(program), str(model)]
    started = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [(p.communicate()[1], p.returncode) for p in started] == [("", 0)] * 4
    assert len(list_kept(model)) == 1


def test_one_that_was_killed_leaves_nothing_for_long(run: Run, model: Path) -> None:
    folder = Path(f"{model}.cache")
    folder.mkdir()
    (folder / ".packing-1").write_bytes(bytes(1000))
    assert run(model).returncode == 0
    assert [path.suffix for path in list_kept(model)] == [".packed"]


def test_one_that_is_killed_while_it_packs_does_no_harm(
    run: Run, program: Path, model: Path, inputs: Path, expected: np.ndarray
) -> None:
    """Wherever it was: at any moment there is a whole file under the name, or none."""
    folder, seen = Path(f"{model}.cache"), set()
    for turn in range(30):
        shutil.rmtree(folder, ignore_errors=True)
        process = subprocess.Popen([str(program), str(model)], stderr=subprocess.DEVNULL)
        while process.poll() is None and not (folder.is_dir() and any(folder.iterdir())):
            pass  # until it has begun to pack
        time.sleep(turn * 0.0005)
        process.kill()
        process.wait()
        left = sorted(path.suffix for path in folder.iterdir()) if folder.is_dir() else []
        seen.update(left)
        done = run(model, inputs, inputs.with_name("out.npy"))
        assert (done.returncode, done.stderr) == (0, "")
        assert snr_db(expected, np.load(inputs.with_name("out.npy"))) >= EXACT_DB
        assert [path.suffix for path in list_kept(model)] == [".packed"]
    assert "" in seen  # .packing-PID: at least one was killed in the middle


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_full_disk_costs_memory_and_no_logits(
    run: Run, model: Path, inputs: Path, expected: np.ndarray
) -> None:
    out = inputs.with_name("out.npy")
    done = run(model, inputs, out, preexec_fn=limit_files)
    assert done.returncode == 0 and "File too large" in done.stderr
    assert snr_db(expected, np.load(out)) >= EXACT_DB
    assert list_kept(model) == []


def test_a_folder_that_cannot_be_written(
    run: Run, model: Path, inputs: Path, expected: np.ndarray
) -> None:
    out = inputs.with_name("out.npy")
    done = run(model, inputs, out, "--cache", "/proc/none")
    assert done.returncode == 0 and "/proc/none: No such file" in done.stderr
    assert snr_db(expected, np.load(out)) >= EXACT_DB


def test_faults_are_one_line(run: Run, model: Path, inputs: Path) -> None:
    out, other = inputs.with_name("out.npy"), inputs.with_name("other.npy")
    fails(run(inputs.with_name("none.tflite")), 1, "none.tflite: No such file")
    fails(run(inputs), 1, "is no TFLite file")
    fails(run(model.parent), 1, "is no file")
    fails(run(model, inputs, out, "--threads", 2000), 2, "--threads takes a whole number")
    fails(run(model, inputs, out, "--thread"), 2, "--thread: there is no such option")
    fails(run(model, inputs), 2, "name an output")
    fails(run(), 2, "name a model")
    fails(run(model, model.with_name("no.npy"), out), 1, "no.npy: No such file")
    np.save(other, np.zeros((1, 8, 8, 3), np.float32))
    fails(run(model, other, out), 1, "its shape does not fit; the model takes 1 x ")
    np.save(other, np.load(inputs).astype(np.float64))
    fails(run(model, other, out), 1, "no float32 array in C order")
    other.write_bytes(inputs.read_bytes()[:-4])
    fails(run(model, other, out), 1, "is cut")
    fails(run(model, inputs, "/proc/none/out.npy"), 1, "/proc/none/out.npy: No such file")
    assert not out.exists()


def test_too_little_memory_is_one_line_wherever_it_ends(run: Run, model: Path) -> None:
    ends = set()
    for size in range(4 << 20, 20 << 20, 1 << 19):
        limit = partial(resource.setrlimit, resource.RLIMIT_AS, (size, size))
        done = run(model, "--bench", 1, "--no-cache", preexec_fn=limit)
        ends.add(done.returncode)
        if done.returncode == 1:
            fails(done, 1)
        if done.returncode != 0:
            assert done.stderr  # 127: the loader of programs says so
    assert {0, 1} <= ends <= {0, 1, 127}


def test_more_threads_than_cores_are_not_started(run: Run, model: Path, inputs: Path) -> None:
    done = run(model, inputs, inputs.with_name("out.npy"), "--threads", 1000)
    cores = len(os.sched_getaffinity(0))
    assert done.returncode == 0
    assert f"1000 threads, but {cores} core" in done.stderr


def test_an_operator_without_a_kernel_is_named(run: Run, model: Path) -> None:
    file = TfliteFile.read(model)
    code = next(c for c in file.model.operatorCodes if c.builtinCode == 150)
    code.builtinCode = code.deprecatedBuiltinCode = NO_OPERATOR
    file.write(model)
    fails(run(model), 1, f"operator {NO_OPERATOR}, which makes 'gelu", "there is no kernel for it")


def test_what_nobody_reads_is_left_out_or_refused(run: Run, model: Path) -> None:
    """XNNPACK itself aborts on a result that is never read."""
    file = TfliteFile.read(model)
    product = next(
        op
        for op in file.graph.operators
        if file.code(op) == Operator.MUL
        and not any(file.graph.tensors[t].buffer for t in op.inputs)
        and op.inputs[0] != op.inputs[1]
    )
    product.inputs = [product.inputs[0], product.inputs[0]]
    unread = model.with_name("unread.tflite")
    file.write(unread)
    assert run(unread).returncode == 0
    file = TfliteFile.read(model)
    whole = next(op for op in file.graph.operators if list(op.outputs) == list(product.outputs))
    whole.opcodeIndex = file.opcode(Operator.RSQRT, 1)
    file.write(unread)
    fails(run(unread), 1, f"operator {Operator.RSQRT}, which makes", "it has an input too many")


@pytest.mark.slow
def test_weights_of_another_processor_are_never_used(
    source: Path, model: Path, inputs: Path, expected: np.ndarray
) -> None:
    """Two cores of one machine take turns: each packs its own, also under the other's name."""
    machine = MACHINES["armv7"]
    environment = machine.environments["xnnpack"]
    if emulation.find_fault(environment) is not None:
        pytest.skip("needs `fca-edge targets setup qemu:armv7`")
    names = []
    for cpu in machine.cpus[:2]:
        words = emulation.build_command(machine, environment, cpu)
        out = inputs.with_name(f"{cpu.name}.npy")
        for turn in ("cold", "of the other"):
            done = subprocess.run([*words, model, inputs, out], capture_output=True, text=True)
            assert done.returncode == 0 and snr_db(expected, np.load(out)) >= EXACT_DB
            assert ("packed once more" in done.stderr) == (turn != "cold" and len(names) > 0)
            (own,) = (path for path in list_kept(model) if path.name not in names)
            if turn == "cold" and names:
                shutil.copyfile(own.with_name(names[0]), own)
        names.append(own.name)
    assert len(names) == len(list_kept(model)) == 2


@pytest.mark.parametrize("part", [0.001, 0.2, 0.9, 0.999])
def test_a_file_that_was_cut(run: Run, model: Path, part: float) -> None:
    os.truncate(model, int(model.stat().st_size * part))
    fails(run(model), 1, "model.tflite: ")


def test_profile_and_bench(run: Run, model: Path) -> None:
    done = run(model, "--profile", "--bench", 3)
    assert done.returncode == 0
    assert " us  Fully Connected (NC, F32) GEMM  linear" in done.stdout
    assert " ms median, " in done.stdout


def test_damaged_files_under_sanitizers(program: Path, source: Path, tmp_path: Path) -> None:
    """Whatever a file says, nothing is read or written that is not there."""
    compiler, kit = find_compiler("FUZZING OF THE C RUNNER"), program.parent
    fuzzer = compile_sanitized(
        compiler,
        tmp_path / "fuzz",
        kit,
        *(ROOT / "tests" / "native" / "fuzz.c", *(FOLDER / name for name in LIBRARY)),
        *(*kit.glob("lib/libXNNPACK.so*"), kit / "lib" / "libpthreadpool.so.0", "-lm", "-pthread"),
    )
    words = [*fuzzer, source, tmp_path, SEED, FILES]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith(f"{FILES} damaged files, ")


@pytest.mark.skipif(sys.platform != "linux", reason="kits are for Linux")
def test_a_kit_is_made_once_and_mended(program: Path) -> None:
    kit = Kit(platform.machine())
    assert kit.version.isdigit() and kit.kept.find_fault(full=True) is None
    assert setup_kit(kit, lambda text: pytest.fail(text)) == program


@pytest.mark.slow
def test_halves_are_computed_where_the_core_can(tmp_path: Path) -> None:
    """A file that allows it: halves on a cortex-a76, floats on a cortex-a72."""
    assert fca_edge("targets", "setup", "qemu:aarch64").returncode == 0
    words = ("--profile", "litert-fp16", "--precision", "fp16", "--format", "tflite")
    done = fca_edge("export", "--checkpoint", DIGITS, *words, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.tflite")
    image = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
    here = run_artefact(path, XNNPACK, image)[0]["logits"]
    decibels = {
        cpu: snr_db(
            here,
            run_artefact(path, XNNPACK, image, qemu_target(f"qemu:aarch64:{cpu}"))[0]["logits"],
        )
        for cpu in ("a72", "a76")
    }
    assert decibels["a72"] > EXACT_DB
    assert 35 < decibels["a76"] < 80
