"""F3, F4: what the lean loader keeps is checked, and made once more where it is wrong."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_weights import FILES, Kept, copy_kept, flip, largest_weight

from fca_edge.device import LEAN

NAMES = {
    "digests.json": ".onnx",
    "model.onnx": ".onnx",
    "model.data": ".onnx",
    "weights.xnnpack": ".tflite",
}


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

PARTS = 8


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
    "a link to a good one": lambda kept: kept.entry.symlink_to(
        kept.entry.rename(kept.artefact.with_name(kept.entry.name))
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
def test_f03_a_wrong_folder_is_seen(kept: Kept, state: str) -> None:
    STATES[state](kept)
    assert kept.lean["find_fault"](str(kept.entry))


@pytest.mark.parametrize("state", ["a file", "a link to nothing"])
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
    whole = shutil.copytree(kept.folder, kept.folder.with_name("whole"))
    # ONNX Runtime itself looks at some of what it has packed.
    for part in range(PARTS):
        shutil.rmtree(kept.folder)
        shutil.copytree(whole, kept.folder)
        weights = kept.entry / FILES[kept.artefact.suffix][-1]
        content = bytearray(weights.read_bytes())
        piece = len(content) // PARTS
        content[part * piece : (part + 1) * piece] = bytes(piece)
        weights.write_bytes(content)
        try:
            heals(kept, capfd)
        except AssertionError:
            return
    pytest.fail("no damage made the answer wrong")


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
