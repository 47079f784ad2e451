"""The manifest: round trips, older exports, and each field that is missing, wrong or out of bounds.

`manifests/` holds what exports of this repository's commits wrote, by commit, with the lists of
passes cut short; `embedded.json` holds what stood in the files themselves.
"""

import json
import math
import shutil
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from commandline import fca_edge, refused

from fca_edge.documents import read_hints
from fca_edge.embedded import read_embedded
from fca_edge.errors import FcaEdgeError
from fca_edge.manifest import (
    Artefact,
    Manifest,
    Parity,
    manifest_path,
    read_artefact,
    read_manifest,
)
from fca_edge.measure.jobs import describe
from fca_edge.older_manifests import LACKED, NewerSchemaError
from fca_edge.parsing import DocumentError
from fca_edge.store import compute_sha256, write_json

SAMPLES = Path(__file__).with_name("manifests")
COMMITS = ("cf3e26d", "0a0bd9b", "321ac7d", "6f92cbf", "b212663", "e114bb6", "38463ef")
EMBEDDED = json.loads((SAMPLES / "embedded.json").read_text())


def sample(commit: str) -> dict[str, Any]:
    """Return a document that an export of a commit wrote."""
    document: dict[str, Any] = json.loads((SAMPLES / f"{commit}.json").read_text())
    return document


@pytest.fixture
def document() -> dict[str, Any]:
    """A document of today in which no field is null."""
    document = sample(COMMITS[-1])
    document |= {"quantization": {"hint": "small"}, "accuracy": {"max_drop_points": 1.0}}
    document["source"] |= {"weights": "model", "seed": 1, "notes": ["a"], "unsaid": ["mean"]}
    document["source"]["assumed"] = ["b"]
    document["passes"][0]["skipped"] = [["head", "why"]]
    document["verification"] |= {"images": "x", "images_sha256": "0" * 64}
    document["verification"] |= {"pictures": {"exif": 1}, "not_checked_on": ["r"]}
    document["approximations"] = ["gelu"]
    document["output"] = "labels"
    return document


def in_json(manifest: Manifest) -> Any:
    """Return a manifest as its file holds it."""
    return json.loads(json.dumps(manifest.to_document(), allow_nan=False))


# Older exports


def test_a_document_comes_back_whole(document: dict[str, Any]) -> None:
    assert in_json(Manifest.from_document(document)) == document
    plain = sample(COMMITS[-1])
    check = plain["verification"]
    plain["verification"] = {"images": None, "images_sha256": None, **check}
    assert in_json(Manifest.from_document(plain)) == plain
    assert list(in_json(Manifest.from_document(plain))) == list(plain)


@pytest.mark.parametrize("commit", COMMITS)
def test_manifests_of_every_export_so_far_are_read(commit: str) -> None:
    old = sample(commit)
    untouched = deepcopy(old)
    manifest = Manifest.from_document(old)
    assert old == untouched
    assert (manifest.source.variant, manifest.source.img_size) == ("micro", 96)
    assert manifest.source.labels == tuple("0123456789")
    assert (manifest.verification.seed, manifest.verification.checks) == (0, 4)
    assert manifest.verification.images is None
    assert manifest.proven[0] == ("onnxruntime" if commit == "0a0bd9b" else "litert")
    new = in_json(manifest)
    assert all(new[name] == old[name] for name in old if name not in ("source", "verification"))
    source, check = old["source"], old["verification"]
    assert {name: new["source"][name] for name in source if name != "preprocessing"} == {
        name: source[name] for name in source if name != "preprocessing"
    }
    assert new["source"]["preprocessing"].items() >= source["preprocessing"].items()
    for now, then in zip(new["verification"]["runtimes"], check["runtimes"], strict=True):
        assert now.items() >= then.items()


def test_the_first_manifests_had_a_folder_in_the_place_of_noise() -> None:
    old = sample("cf3e26d")
    old["verification"]["inputs"] = "seeded noise 7"
    assert Manifest.from_document(old).verification.seed == 7
    old["verification"]["inputs"] = "/data/val"
    check = Manifest.from_document(old).verification
    assert (check.images, check.seed, check.checks) == ("val", 0, 4)


@pytest.mark.parametrize("commit", COMMITS)
def test_files_of_every_export_so_far_are_known_by_themselves(commit: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(b"weights")
    beside = Manifest.from_document(sample("38463ef"))
    manifest = Manifest.from_embedded(EMBEDDED[commit], path)
    assert manifest is not None
    assert (manifest.sha256, manifest.bytes) == (compute_sha256(path), 7)
    assert manifest.source == replace(beside.source, checkpoint=None, chosen=None)
    assert (manifest.precision, manifest.profile, manifest.folded) == ("fp32", "modern", True)
    assert (manifest.input_layout, manifest.verification.runtimes) == ("nhwc", ())
    again = Manifest.from_embedded(manifest.to_embedded(), path)
    assert again is not None
    assert replace(again, folded=True) == manifest  # names of passes are not read back


@pytest.mark.parametrize("entry", sorted(EMBEDDED[COMMITS[-1]]))
@pytest.mark.parametrize(
    "value", ["", "{", "null", '{"a": 1}', "-1", "[1]", '{"crop": Infinity}', "[" * 99999]
)
def test_texts_of_others_are_unknown(entry: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(b"weights")
    manifest = Manifest.from_embedded({**EMBEDDED[COMMITS[-1]], entry: value}, path)
    free = entry in ("name", "tool", "profile", "variant", "passes") or (entry, value) in (
        ("labels", "null"),
        ("checkpoint_sha256", ""),
    )
    assert manifest is None or free


# Fields

TEXT = [None, 1, True, [], {}, ["x"]]
NAME = [*TEXT, "", " "]
FLAG = [None, 0, 1, "true", "", [], {}]
WHOLE = ["1", 1.0, True, [], {}, 10**400]
COUNT = [*WHOLE, -1]
LIST = [None, "ab", 1, {}, {"0": "x"}, [1], [None]]
MAPPING = [1, "x", [], True, [["a", 1]]]
NUMBER = ["1", True, [], {}, float("nan"), math.inf, 10**400]
DIGEST = [*TEXT[1:], "", "0" * 63, "0" * 65, "G" * 64, "A" * 64]
WRONG: dict[str, list[Any]] = {
    "file": NAME,
    "sha256": [None, *DIGEST],
    "bytes": [None, *COUNT],
    "created": TEXT,
    "tool": TEXT,
    "torch": TEXT[1:],
    "precision": [*TEXT, "fp8", "FP32", ""],
    "quantization": MAPPING,
    "output": [*TEXT, "label", ""],
    "profile": NAME,
    "forms": [None, *MAPPING],
    "optimize": TEXT[1:],
    "approximations": LIST,
    "input_layout": [*TEXT, "chw", ""],
    "dynamic_batch": FLAG,
    "folded": FLAG,
    "operators": [None, *MAPPING, {"ADD": "1"}, {"ADD": -1}, {"ADD": True}],
    "macs": COUNT,
    "accuracy": MAPPING,
    "source": [None, *MAPPING],
    "source.variant": NAME,
    "source.name": TEXT,
    "source.img_size": [None, *COUNT, 0, 8193, [96], [96, 0], [96, "9"], [9, 9, 9]],
    "source.num_classes": [None, *COUNT, 0, 1_000_001],
    "source.trained": FLAG,
    "source.checkpoint": TEXT[1:],
    "source.checkpoint_sha256": DIGEST,
    "source.weights": TEXT[1:],
    "source.seed": WHOLE,
    "source.chosen": TEXT[1:],
    "source.labels": [*LIST[1:], [""], ["a\nb"], []],
    "source.preprocessing": [None, *MAPPING, {}, {"resize": 96}],
    "source.assumed": LIST,
    "source.unsaid": LIST,
    "source.notes": LIST,
    "passes": [*LIST, [{}]],
    "passes[0].name": NAME,
    "passes[0].rewrote": LIST,
    "passes[0].skipped": [*LIST, ["ab"], [["a"]], [["a", "b", "c"]], [["a", 1]]],
    "passes[0].max_abs_error": [None, *NUMBER, -1e-9],
    "planned": [*MAPPING, {}],
    "planned.weights_bytes": [None, *COUNT],
    "planned.packed_bytes": [None, *COUNT],
    "planned.arena_bytes": [None, *COUNT],
    "verification": [None, *MAPPING],
    "verification.images": TEXT[1:],
    "verification.images_sha256": DIGEST,
    "verification.pictures": MAPPING,
    "verification.seed": [None, *WHOLE],
    "verification.checks": [None, *COUNT, 0, 1001],
    "verification.fold_max_abs_error": [None, *NUMBER, -1],
    "verification.floor_db": NUMBER,
    "verification.not_checked_on": LIST,
    "verification.runtimes": [*LIST, [{}]],
    "verification.runtimes[0].runtime": NAME,
    "verification.runtimes[0].version": TEXT,
    "verification.runtimes[0].delegate": TEXT,
    "verification.runtimes[0].partitions": COUNT,
    "verification.runtimes[0].threads": [None, *COUNT, 0],
    "verification.runtimes[0].inputs": [None, *COUNT, 0],
    "verification.runtimes[0].batch": [None, *COUNT, 0],
    "verification.runtimes[0].max_abs": [None, *NUMBER, -1],
    "verification.runtimes[0].relative": NUMBER,
    "verification.runtimes[0].snr_db": NUMBER,
    "verification.runtimes[0].worst_snr_db": NUMBER,
    "verification.runtimes[0].top1_agreement": [None, *NUMBER, -0.1, 1.1],
}


def put(document: dict[str, Any], place: str, value: Any, remove: bool = False) -> dict[str, Any]:
    """Return a copy of a document with another value at a place, or without it."""
    changed = deepcopy(document)
    *way, last = place.replace("[0]", ".0").split(".")
    inner: Any = changed
    for step in way:
        inner = inner[int(step) if step.isdigit() else step]
    inner.pop(last) if remove else inner.update({last: value})
    return changed


def places(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the place of every field, by the types of the dataclasses."""
    for name, hint in read_hints(kind).items():
        place = f"{prefix}{name}"
        yield place
        inner = [one for one in (hint, *get_args(hint)) if is_dataclass(one)]
        if get_origin(hint) is Annotated or not inner:
            continue
        yield from places(inner[0], f"{place}[0]." if get_origin(hint) is tuple else f"{place}.")


def test_every_field_has_its_wrong_values() -> None:
    assert set(WRONG) == set(places(Manifest))


@pytest.mark.parametrize("place", WRONG)
def test_a_wrong_field_is_named(place: str, document: dict[str, Any]) -> None:
    for value in WRONG[place]:
        with pytest.raises(DocumentError) as caught:
            Manifest.from_document(put(document, place, value))
        message = str(caught.value)
        assert message.startswith(place), (value, message)
        assert "\n" not in message and len(message) < 200


@pytest.mark.parametrize("place", WRONG)
def test_a_missing_field_is_named(place: str, document: dict[str, Any]) -> None:
    """Except for those that older manifests lack, which have a value that stands for them."""
    *way, name = place.split(".")
    lacked = LACKED["run"] if "runtimes[0]" in place else LACKED.get(".".join(way), {})
    changed = put(document, place, None, remove=True)
    if name in lacked:
        Manifest.from_document(changed)
        return
    with pytest.raises(DocumentError, match="is missing") as caught:
        Manifest.from_document(changed)
    assert str(caught.value) == f"{place} is missing"


def test_what_it_does_not_know_is_passed_by(document: dict[str, Any]) -> None:
    """Another version may have added it; nothing else of the document means less for it."""
    assert in_json(Manifest.from_document({**document, "later": [1]})) == document


@pytest.mark.parametrize(
    "schema",
    [
        *(None, 1, {}, "", "x/1"),
        *(
            f"fca_edge.manifest{end}"
            for end in ("", "/", "/²", "/0", "/-1", "/1\n", "/" + "9" * 9999)
        ),
    ],
)
def test_other_documents_are_no_manifests(schema: Any, document: dict[str, Any]) -> None:
    with pytest.raises(DocumentError, match="not a manifest"):
        Manifest.from_document({**document, "schema": schema})


@pytest.mark.parametrize("content", [None, [], "x", 3, {}])
def test_other_json_is_no_manifest(content: Any) -> None:
    with pytest.raises(DocumentError, match="not a manifest"):
        Manifest.from_document(content)


def test_a_newer_schema_is_said(document: dict[str, Any]) -> None:
    with pytest.raises(NewerSchemaError, match=r"fca_edge\.manifest/2 is not this tool's"):
        Manifest.from_document({**document, "schema": "fca_edge.manifest/2"})


@pytest.mark.parametrize("value", [False, 1, "true", None])
def test_trained_is_said_twice_and_alike(value: Any, document: dict[str, Any]) -> None:
    with pytest.raises(DocumentError, match=r"trained: is not what source\.trained says"):
        Manifest.from_document({**document, "trained": value})


def test_infinity_survives(document: dict[str, Any]) -> None:
    """A file that is right bit for bit has no finite ratio, and JSON has no infinity."""
    run = document["verification"]["runtimes"][0]
    run |= {"snr_db": None, "worst_snr_db": None, "max_abs": 0}
    manifest = Manifest.from_document(document)
    first: Parity = manifest.verification.runtimes[0]
    assert first.snr_db == first.worst_snr_db == math.inf
    assert first.finite
    assert in_json(manifest) == document


# Files


def test_an_export_is_read_back(exported: list[Artefact]) -> None:
    for item in exported:
        manifest = read_manifest(item.path)
        assert manifest is not None
        assert in_json(manifest) == json.loads(manifest_path(item.path).read_text())
        entries = read_embedded(item.path)
        assert json.loads(entries.pop("modules"))["head"]
        assert entries == manifest.to_embedded()


@pytest.mark.parametrize("number", [0, 1])
def test_alone_it_is_what_it_says(exported: list[Artefact], number: int, tmp_path: Path) -> None:
    """All that a record takes of a file, but for what only the manifest has counted."""
    item = exported[number]
    alone = Path(shutil.copy(item.path, tmp_path / item.path.name))
    own, beside = describe(alone, read_manifest(alone)), describe(item.path, item.manifest)
    assert own == replace(beside, macs=None, operators=None, planned=None)
    with pytest.raises(FcaEdgeError, match="there is no manifest"):
        read_artefact(alone)


def test_another_files_manifest_is_refused(exported: list[Artefact], tmp_path: Path) -> None:
    path = tmp_path / exported[0].path.name
    path.write_bytes(exported[0].path.read_bytes()[:-1])
    write_json(manifest_path(path), exported[0].manifest.to_document())
    for read in (read_manifest, read_artefact):
        with pytest.raises(FcaEdgeError, match="its checksum is not the manifest's"):
            read(path)


def test_other_ways_of_reading_change_nothing_else(exported: list[Artefact]) -> None:
    item = exported[0].read_as({"exif": "apply"})
    assert (exported[0].preprocessing.exif, item.preprocessing.exif) == ("ignore", "apply")
    assert item.read_as({"exif": "ignore"}) == exported[0].read_as({}) == exported[0]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("source.img_size", "96", "source.img_size: '96' is no whole number from 1 to 8192"),
        ("verification.runtimes", {}, "verification.runtimes: {} is no list"),
        ("schema", "fca_edge.manifest/9", "read it with a newer fca_edge"),
        ("source.preprocessing", {"resize": 9}, "source.preprocessing: 'crop' is missing"),
    ],
)
def test_every_command_says_which_field(
    exported: list[Artefact], digits: Path, tmp_path: Path, place: str, value: Any, said: str
) -> None:
    path = Path(shutil.copy(exported[0].path, tmp_path / "x.onnx"))
    write_json(manifest_path(path), put(in_json(exported[0].manifest), place, value))
    for words in (
        ("bench", path),
        ("verify", path),
        ("eval", path, "--data", digits),
        ("bundle", path, "--out", tmp_path / "b"),
        ("sensitivity", path, "--data", digits),
    ):
        line = refused(fca_edge(*words), 1, said, f"{path.name}.json")
        assert "export the artefact again" in line or "newer" in line
