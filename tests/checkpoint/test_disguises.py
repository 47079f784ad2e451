"""A file that wants to run code is refused in every disguise, in one line, with what it wants."""

import base64
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import attacks
import pytest
import torch
from commandline import fca_edge, refused, written
from conftest import DIGITS
from safetensors.torch import load_file

from fca_edge.checkpoint import unpickle
from fca_edge.checkpoint.read import load_checkpoint
from fca_edge.errors import FcaEdgeError

CANARY = Path("/tmp/fca-edge-canary")
CASES = list(attacks.disguises(CANARY))


@pytest.fixture(autouse=True)
def canary() -> Iterator[None]:
    """Nothing that a file names has run."""
    CANARY.unlink(missing_ok=True)
    modules = set(sys.modules)
    yield
    assert not CANARY.exists()
    assert not {m for m in set(sys.modules) - modules if m.split(".")[0] in ("evil", "webbrowser")}


def refusal(path: Path) -> str:
    with pytest.raises(FcaEdgeError) as caught:
        load_checkpoint(path)
    line = str(caught.value)
    assert caught.value.exit_code == 1
    assert "\n" not in line
    return line


def test_these_attacks_are_real(tmp_path: Path) -> None:
    """Python itself runs them: each of these pickles is one that must be refused."""
    ran = 0
    for name in ("plain", "in the optimiser", "memo", "stack global", "inst", "obj", "slots"):
        content = next(pickled for case, pickled, _ in CASES if case == name)
        pickle.loads(content)
        ran += CANARY.exists()
        CANARY.unlink(missing_ok=True)
    assert ran == 6  # the last one only hides the function


@pytest.mark.parametrize(("name", "content", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_every_disguise_in_every_format(
    tmp_path: Path, name: str, content: bytes, wanted: str
) -> None:
    plain = tmp_path / "plain.pth"
    plain.write_bytes(content)
    members = {"storages": pickle.dumps(0) + pickle.dumps([]), "tensors": pickle.dumps(0)}
    paths = (
        attacks.as_zip(tmp_path / "zip.pth", content),
        attacks.as_legacy(tmp_path / "legacy.pth", content),
        *(
            (plain, attacks.as_tar(tmp_path / "tar.pth", {**members, "pickle": content}))
            if b"FloatStorage" not in content
            else ()
        ),
    )
    for path in paths:
        assert wanted in refusal(path), path.name


def test_through_the_command_line(tmp_path: Path) -> None:
    path = attacks.as_zip(tmp_path / "x.pth", CASES[1][1])
    words = ("export", "--variant", "micro", "--checkpoint", path, "--out", tmp_path / "o")
    refused(fca_edge(*words), 1, "posix.system", "torch.save(model.state_dict(), ...)")
    assert not written(tmp_path / "o")


def test_in_tables_of_the_first_format(tmp_path: Path) -> None:
    state = dict(list(load_file(DIGITS).items())[:3])
    members = attacks.tar_of(state)
    attack = b"\x80\x02" + attacks.run(CANARY) + b"."
    for member in members:
        path = attacks.as_tar(tmp_path / f"{member}.pth", {**members, member: attack})
        assert "posix.system" in refusal(path)
    assert "no storage" in refusal(
        attacks.as_zip(tmp_path / "a.pth", b"\x80\x02" + attacks.text("x") + b"Q.")
    )


def test_the_first_format_is_read(tmp_path: Path) -> None:
    state = load_file(DIGITS)
    path = attacks.as_tar(tmp_path / "old.pth", attacks.tar_of(state))
    found = load_checkpoint(path)
    assert all(torch.equal(found.state[key], value) for key, value in state.items())
    path = attacks.as_tar(tmp_path / "other.pth", {"readme": b"x"})
    assert "tar archive" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_with_two_pickles(tmp_path: Path) -> None:
    harmless = pickle.dumps({"epoch": 3}, 2)
    attack = CASES[0][1]
    for number, entry in enumerate(("archive/data.pkl", "other/data.pkl", "archive/a/data.pkl")):
        path = attacks.as_zip(tmp_path / f"{number}.pth", harmless, (entry, attack))
        line = refusal(path)
        assert "two entries of one name" in line or "several pickles" in line


def test_a_script_archives_code_is_not_run(tmp_path: Path) -> None:
    code = ("archive/code/__torch__.py", b"import os\nos.system('touch /tmp/fca-edge-canary')\n")
    pickled = b"\x80\x02" + attacks.name("__torch__", "Net") + b")\x81}b."
    assert "TorchScript" in refusal(attacks.as_zip(tmp_path / "x.pth", pickled, code))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"}" * 20_000,
        b"\x80\x02(" * 9_000,
        b"\x80\x04\x8c\x01a" + b"\x94h\x00\x86" * 40 + b"}h\x00K\x01s.",
        b"\x80\x02B\xff\xff\xff\x7fabc.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x02]" + b"]q\x00h\x00a" * 1000 + b".",
        b"\x80\x02" + b"\x85" * 9_000 + b".",
        b"\x80\x02K\x01" + b"\x85" * 9_000 + b".",
        b"\x80\x09N.",
    ],
    ids=["dicts", "marks", "doubling", "long text", "longer text", "cycle", "nothing", "deep", "9"],
)
def test_pickles_that_want_too_much(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpickle, "MOST_INSTRUCTIONS", 10_000)
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    refusal(path)


def test_deflated_bombs(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(40_000_000))
    assert "would unpack to" in refusal(path)


CONFIGS = json.loads(Path(__file__).with_name("configs.json").read_text())


@pytest.mark.parametrize("name", CONFIGS)
def test_real_configurations_are_harmless(tmp_path: Path, name: str) -> None:
    """Pickled by OmegaConf, EasyDict, yacs, addict, Box, ml_collections; none is installed."""
    path = tmp_path / "x.pkl"
    path.write_bytes(base64.b64decode(CONFIGS[name]))
    assert "not a state dict: no tensors in it, it holds a dict of cfg (" in refusal(path)
    assert not {"omegaconf", "easydict", "yacs", "addict", "box"} & set(sys.modules)
