"""F8: settings beside a file name no other places; planted links are not followed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packed_weights import Kept, copy_kept

from fca_edge.errors import FcaEdgeError
from fca_edge.lean_settings import SCHEMA, read_settings, settings_path

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
        entry = fresh.entry
        shutil.rmtree(entry)
        entry.symlink_to(victim)
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
