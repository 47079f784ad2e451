"""Peers' agents give a runtime memory that it may keep, and take logits that nothing overwrites."""

import ctypes
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT
from numpy.ctypeslib import as_array

PEERS = ROOT / "bench" / "peers"
sys.path.insert(0, str(PEERS))

import entries  # noqa: E402
import registry  # noqa: E402
from environment import OUT, STAMP, PeerError  # noqa: E402
from environment import Environment as PeerEnvironment  # noqa: E402
from ncnn_param import parse, with_numbers, write  # noqa: E402
from places import Here  # noqa: E402

CFLOAT = ctypes.POINTER(ctypes.c_float)
# Small enough to come from the heap, whose memory is used again at once.
IMAGES = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)


def load_agent() -> ModuleType:
    """Load the peers' agent from its file, as an interpreter of its own would."""
    spec = importlib.util.spec_from_file_location("peers_agent", PEERS / "agent.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Sound:
    """A runtime that copies what it is given; its logits are sums, (1, 3)."""

    def set(self, array: np.ndarray) -> None:
        self.image = array.copy()

    def invoke(self) -> None:
        self.logits = self.image.sum((2, 3))

    def output(self) -> np.ndarray:
        return self.logits


class Borrowing(Sound):
    """Keeps an address and not the array, as ncnn's Mat did."""

    def set(self, array: np.ndarray) -> None:
        self.image = as_array(ctypes.cast(array.ctypes.data, CFLOAT), array.shape)


class Spoiling(Sound):
    """Writes over its input and takes the next one on top of it."""

    image = np.zeros((1, 3, 16, 16), np.float32)

    def set(self, array: np.ndarray) -> None:
        self.image = self.image + array


class Aliasing(Sound):
    """All its logits are views of one buffer."""

    logits = np.zeros((1, 3), np.float32)

    def invoke(self) -> None:
        self.logits[:] = self.image.sum((2, 3))


def both_ways(runtime: Sound, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    np.save(folder / "in.npy", IMAGES)
    plan = {"inputs": str(folder / "in.npy"), "outputs": str(folder / "out.npz")}
    load_agent().run_outputs(runtime, plan)
    with np.load(folder / "out.npz") as content:
        return content["logits"], content["again"]


@pytest.mark.parametrize("runtime", [Sound(), Aliasing()], ids=["sound", "aliasing"])
def test_logits_are_the_same_both_ways(runtime: Sound, tmp_path: Path) -> None:
    logits, again = both_ways(runtime, tmp_path)
    np.testing.assert_array_equal(logits, IMAGES.sum((2, 3)))
    entries.check_same(logits, again)


def test_an_input_that_is_not_kept_is_noticed(tmp_path: Path) -> None:
    logits, _ = both_ways(Borrowing(), tmp_path)
    with pytest.raises(PeerError, match="not finite"):
        entries.worst_db(IMAGES.sum((2, 3)), logits)


def test_an_input_that_is_written_over_is_noticed(tmp_path: Path) -> None:
    logits, again = both_ways(Spoiling(), tmp_path)
    with pytest.raises(PeerError, match="other logits after others"):
        entries.check_same(logits, again)


def is_installed(environment: PeerEnvironment | None) -> bool:
    """Tell whether an environment of the peers was made here."""
    return environment is None or (environment.folder / STAMP).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("peer", registry.PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_right_in_any_order(peer: registry.Peer, tmp_path: Path) -> None:
    """Images forwards and backwards in one process, and each in a fresh one: the same logits."""
    needed = [peer.converter, peer.runner]
    if peer.source is not None:
        needed.append(registry.BY_NAME[peer.source].converter)
    if not all(map(is_installed, needed)):
        pytest.skip(f"not installed; `python bench/peers/run.py --peers {peer.name}` does it")
    folder = OUT / "micro"
    folder.mkdir(parents=True, exist_ok=True)
    right = entries.compute_reference("micro", folder)
    entry = entries.peer_entry(peer, "micro", folder, True)
    assert entry.row.error is None
    here = Here({peer.runtime.name: peer.runner.python} if peer.runner else {})
    entries.judge(entry, here, right, 1, tmp_path)
    assert entry.row.error is None
    for number in (1, 3):
        alone = entries.Reference(
            right.inputs[number : number + 1], right.logits[number : number + 1]
        )
        row = entries.Row(peer.name, peer.title, False, peer.precision)
        fresh = entries.Entry(row, entry.job)
        entries.judge(fresh, here, alone, 1, tmp_path)
        assert fresh.row.error is None


PARAM = """7767517
5 6
Input                    in0     0 1 in0
Split                    splitncnn_0 1 2 in0 1 2
Gemm                     gemm_0  1 1 1 3 10=4 2=0
Reshape                  back    2 1 3 2 4 6="0w,1h,1c"
Reshape                  other   1 1 4 5 0=8 1=2
"""


def test_expressions_of_shapes_become_numbers() -> None:
    layers = parse(PARAM)
    assert [layer.by_expression for layer in layers] == [False, False, False, True, False]
    text = write(with_numbers(layers, {"4": [16, 8, 2]}))
    assert text.splitlines()[1] == "5 5"
    assert "Split splitncnn_0 1 1 in0 1\n" in text
    assert "Reshape back 1 1 3 4 0=16 1=8 2=2\n" in text
    assert "Reshape other 1 1 4 5 0=8 1=2\n" in text
    assert parse(text) == parse(write(parse(text)))


@pytest.mark.parametrize(
    ("shape", "numbers"),
    [([7], "0=7"), ([7, 3], "0=7 1=3"), ([7, 3, 5, 2], "0=7 1=3 11=5 2=2")],
    ids=["1", "2", "4"],
)
def test_axes_have_their_own_numbers(shape: list[int], numbers: str) -> None:
    assert f"Reshape back 1 1 3 4 {numbers}\n" in write(with_numbers(parse(PARAM), {"4": shape}))


def test_another_file_is_not_read_as_one() -> None:
    with pytest.raises(ValueError, match="not ncnn's"):
        parse("#!/bin/sh\n1 2\n")
