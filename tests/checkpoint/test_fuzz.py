"""Mutated checkpoints: never code, never another exception than ours, bounded memory and time.

`PYTHONPATH=tests python tests/checkpoint/test_fuzz.py SECONDS [SEED]` runs for longer.
"""

import argparse
import codecs
import io
import pickle
import random
import resource
import struct
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import attacks
import numpy as np
import pytest
import torch
from conftest import DIGITS
from safetensors.torch import load_file, save

from fca_edge.checkpoint.read import load_checkpoint
from fca_edge.errors import FcaEdgeError

ROUNDS, SECONDS_EACH, MEGABYTES, MORE_MEGABYTES = 400, 10, 1500, 500
# What no load may do; opening the checkpoint and importing nothing is all it needs.
FORBIDDEN = {
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.remove", "os.rename"),
    *("subprocess.Popen", "socket.connect", "exec", "compile", "ctypes.dlopen", "shutil.rmtree"),
    *("os.mkdir", "os.chmod", "pty.spawn", "webbrowser.open", "pickle.find_class"),
}
OURS = ("fca_edge", "torch", "numpy", "safetensors")
events: list[str] = []
watching = False


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not watching:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    foreign = event == "import" and str(arguments[0]).split(".")[0] not in OURS
    if event in FORBIDDEN or writes or foreign:
        events.append(f"{event} {arguments[:1]}")


sys.addaudithook(watch)


@contextmanager
def watched() -> Iterator[None]:
    global watching
    events.clear()
    watching = True
    try:
        yield
    finally:
        watching = False
    assert not events, events


def small_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"head.weight": (3, 4), "head.bias": (3,), "norm.weight": (4,), "x.gamma": (4, 1, 2)}
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    return state | {"bn.num_batches_tracked": torch.tensor(3)}


def seeds() -> dict[str, bytes]:
    """Real checkpoints, small: all formats and protocols, with harmless values beside."""
    state = small_state()
    content = {
        "model": state,
        "optimizer": {"state": {0: {"step": 3.0, "exp_avg": state["head.bias"]}}},
        "args": argparse.Namespace(out=PurePosixPath("/x"), lr=[1e-3, (1, 2)]),
        "metric": np.float64(97.2),
        "curve": np.arange(3.0),
        "set": {1, 2},
    }
    made = {}
    for protocol in (2, 4):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(
                content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped
            )
            made[f"{'zip' if zipped else 'legacy'}{protocol}"] = file.getvalue()
    for protocol in (0, 1, 2, 5):
        made[f"pickle{protocol}"] = pickle.dumps(content, protocol)
    trained = load_file(DIGITS)  # mutants of these load, or have another number somewhere
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save({"model": trained}, file, _use_new_zipfile_serialization=zipped)
        made[f"digits {zipped}"] = file.getvalue()
    made["digits"] = DIGITS.read_bytes()
    made["safetensors"] = save(state, {"variant": "micro"})
    made["index"] = b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
    made |= {f"attack {name}": content for name, content, _ in attacks.disguises(Path("/tmp/x"))}
    return made


INSTRUCTIONS = [
    *(attacks.name("posix", "system"), attacks.name("builtins", "eval"), attacks.name("evil", "x")),
    *(attacks.name("torch._utils", "_rebuild_tensor_v2"), attacks.name("numpy", "dtype")),
    *(attacks.text("touch /tmp/x"), b"iposix\nsystem\n", b"\x82\x01", b"\x93", b"\x81", b"\x92"),
    *(bytes([code]) for code in b"RboQsu(t\x8502}]N\x8f\x90"),
]


def mutate(content: bytes, others: list[bytes], random_: random.Random) -> bytes:
    """Change some bytes, splice in a part of another file, insert instructions, or cut."""
    changed = bytearray(content)
    for _ in range(random_.choice((1, 1, 2, 5, 20))):
        place = random_.randrange(len(changed) + 1)
        kind = random_.randrange(6)
        if kind == 0 and changed:
            changed[place % len(changed)] ^= 1 << random_.randrange(8)
        elif kind == 1 and changed:
            changed[place % len(changed)] = random_.randrange(256)
        elif kind == 2:
            other = random_.choice(others)
            start = random_.randrange(len(other) or 1)
            changed[place:place] = other[start : start + random_.choice((1, 8, 100, 1000))]
        elif kind == 3:
            changed[place:place] = b"".join(
                random_.choices(INSTRUCTIONS, k=random_.choice((1, 2, 4)))
            )
        elif kind == 4:
            del changed[place : place + random_.choice((1, 4, 50))]
        else:
            number = random_.choice((0, 1, -1, 2**31 - 1, 2**40, -(2**63)))
            changed[place : place + 8] = struct.pack("<q", number)
    return bytes(changed)


def mutants(random_: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield mutated files for ever; of zip files their pickle is mutated, too."""
    whole = seeds()
    others = list(whole.values())
    names = list(whole) + 4 * [name for name in whole if name.startswith("digits")]
    while True:
        name = random_.choice(names)
        content = whole[name]
        if content.startswith(b"PK") and random_.random() < 0.8:
            yield name, rezipped(content, others, random_)
        elif name.startswith("attack") and random_.random() < 0.5:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("a/data.pkl", mutate(content, others, random_))
                archive.writestr("a/data/0", bytes(4))
            yield name, file.getvalue()
        else:
            yield name, mutate(content, others, random_)


def rezipped(content: bytes, others: list[bytes], random_: random.Random) -> bytes:
    """Mutate one entry of a zip file and pack it again."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(file, "w") as other:
        chosen = "data.pkl" if random_.random() < 0.8 else random_.choice(archive.namelist())
        for entry in archive.namelist():
            data = archive.read(entry)
            changed = mutate(data, others, random_) if entry.endswith(chosen) else data
            other.writestr(entry, changed)
    return file.getvalue()


def one(path: Path, content: bytes, random_: random.Random) -> str:
    """Load one mutant; returns how it ended."""
    path.write_bytes(content)
    began = time.process_time()  # others may load the machine
    with watched():
        try:
            load_checkpoint(path, None, random_.choice((None, "micro")))
            ended = "loaded"
        except FcaEdgeError as error:
            line = str(error)
            assert "\n" not in line
            assert "\x1b" not in line
            assert len(line) < 2000, line
            ended = "refused" if "wants to call" in line else "damaged"
    assert time.process_time() - began < SECONDS_EACH
    return ended


def fuzz(folder: Path, seed: int, rounds: int, seconds: float) -> Counter[str]:
    random_ = random.Random(seed)
    ends: Counter[str] = Counter()
    until = time.monotonic() + seconds
    for number, (name, content) in enumerate(mutants(random_)):
        if number == rounds or time.monotonic() > until:
            break
        try:
            ends[one(folder / "mutant.pth", content, random_)] += 1
        except BaseException as error:
            (folder / "failed.pth").write_bytes(content)
            raise AssertionError(f"seed {seed}, number {number}, from {name}: {error!r}") from error
    return ends


@pytest.fixture(scope="module", autouse=True)
def warmed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Modules that torch imports on first use are there before anything is watched."""
    codecs.lookup("cp437")  # zipfile reads old names by it
    folder = tmp_path_factory.mktemp("warm")
    for name, content in seeds().items():
        (folder / "x.pth").write_bytes(content)
        if not name.startswith("attack"):
            with suppress(FcaEdgeError):
                load_checkpoint(folder / "x.pth")


def test_mutants_are_refused_or_read(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ends = fuzz(tmp_path, 10, ROUNDS, 60)
    assert ends["refused"] > ROUNDS / 20, ends
    assert ends["damaged"] > ROUNDS / 5, ends
    assert ends["loaded"] > ROUNDS / 100, ends
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert peak - before < MORE_MEGABYTES or sys.platform != "linux"


def test_the_watch_sees_what_it_must() -> None:
    """The audit would fail if a load ran or imported anything."""
    import os

    for act in (lambda: os.system("true"), lambda: exec("1"), lambda: __import__("antigravity_")):
        with pytest.raises((AssertionError, ImportError)), watched():
            act()
        assert events


if __name__ == "__main__":
    import tempfile

    limit = MEGABYTES * 4 << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        codecs.lookup("cp437")
        for content in seeds().values():
            (folder / "x.pth").write_bytes(content)
            with suppress(FcaEdgeError):
                load_checkpoint(folder / "x.pth")
        seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
        try:
            ends = fuzz(folder, seed, 10**9, float(sys.argv[1]))
        except AssertionError:
            Path("/tmp/failed.pth").write_bytes((folder / "failed.pth").read_bytes())
            raise
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"seed {seed}: {dict(ends)}, {sum(ends.values())} files, peak {peak} MB")
