"""Rows F20 to F24 of the faults, and samples of their kinds that the list has not.

What a checkpoint, a header, a manifest, a record or a table says is read as a typed document: what
is wrong costs one line, and nothing that they say makes a check easier.
"""

import collections
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from commandline import Done, fca_edge, refused, written
from comparing.rows import counted, row
from conftest import DIGITS
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from weights_data import State, refusal, saved, source_of

from fca_edge.exporting.tflite.file import Operator, TfliteFile
from fca_edge.manifest import Artefact
from fca_edge.records import to_document

HUGE = 1 << 62
FULLY_CONNECTED = Operator.FULLY_CONNECTED


# F20: sizes that are arithmetic alone


class Placed:
    """A tensor of any shape and strides in a storage of four numbers."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> None:
        self.place = (offset, shape, strides)

    def __reduce__(self) -> tuple[Any, ...]:
        storage = torch.zeros(4)._typed_storage()
        arguments = (storage, *self.place, False, collections.OrderedDict())
        return torch._utils._rebuild_tensor_v2, arguments


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((10**11, 48), (0, 0)),
        ((HUGE, 48), (0, 0)),
        ((HUGE, HUGE), (0, 0)),
        ((HUGE, HUGE, 0), (1, 1, 1)),
        ((1 << 70, 0), (1, 1)),
        ((1, 1), (1 << 70, 1)),
        ((10, 48), (1, 1)),
        ((2, 2), (-1, 1)),
        ((2, 2), (1,)),
        ((1,) * 65, (1,) * 65),
    ],
)
def test_f20_no_tensor_is_larger_than_its_file(
    tmp_path: Path, state: State, shape: tuple[int, ...], strides: tuple[int, ...], zipped: bool
) -> None:
    """Each is refused before torch is asked for memory, whether a network has such a key or not."""
    content = {**state, "head.weight": Placed(shape, strides)}
    line = refusal(saved(tmp_path, content, _use_new_zipfile_serialization=zipped))
    assert len(line) < 500


def test_f20_a_repeated_value_beside_the_weights_is_no_fault(tmp_path: Path, state: State) -> None:
    for key in ("extra", "x.num_batches_tracked", "relative_position_index"):
        content = {**state, key: torch.zeros(1).expand(10**11)}
        source_of(saved(tmp_path, content))


@pytest.mark.parametrize("offset", [0, 1, (1 << 63) - 1])
def test_f20_a_tensor_beyond_its_storage(tmp_path: Path, state: State, offset: int) -> None:
    content = {**state, "head.bias": Placed((10,), (1,), offset)}
    assert "reaches beyond its storage" in refusal(saved(tmp_path, content))


# F21: weights that are no dense floating point


def as_fp4(tensor: Tensor) -> Tensor:
    return tensor.to(torch.uint8).view(torch.float4_e2m1fn_x2)


KINDS: dict[str, tuple[str, Callable[[Tensor], Any]]] = {
    "nested": ("nested", lambda t: torch.nested.nested_tensor([t, t])),
    "csr": ("sparse", lambda t: t.to_sparse_csr()),
    "uint16": ("uint16", lambda t: t.to(torch.uint16)),
    "complex32": ("complex32", lambda t: t.to(torch.complex32)),
    "per channel": (
        "quantised",
        lambda t: torch.quantize_per_channel(t, torch.ones(10), torch.zeros(10), 0, torch.qint8),
    ),
    "float8": ("float8_e4m3fn", lambda t: t.to(torch.float8_e4m3fn)),
    "exponents": ("float8_e8m0fnu", lambda t: t.to(torch.float8_e8m0fnu)),
    "float4": ("float4_e2m1fn_x2", as_fp4),
    "negated": ("negated view", torch._neg_view),
    "numpy int": ("int32", lambda t: t.numpy().astype("int32")),
    "numpy bool": ("bool", lambda t: t.numpy() > 0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_f21_only_dense_floating_point(tmp_path: Path, state: State, kind: str) -> None:
    word, change = KINDS[kind]
    line = refusal(saved(tmp_path, {**state, "head.weight": change(state["head.weight"])}))
    assert "'head.weight' is" in line and word in line
    assert "dense floating point" in line


def test_f21_counters_and_indices_may_be_integers(tmp_path: Path, state: State) -> None:
    counters = {k: v.to(torch.int32) for k, v in state.items() if not v.is_floating_point()}
    assert counters
    source_of(saved(tmp_path, {**state, **counters, "relative_position_index": torch.arange(4)}))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e5m2, torch.complex64])
def test_f21_in_safetensors(tmp_path: Path, state: State, dtype: torch.dtype) -> None:
    save_file({**state, "head.bias": state["head.bias"].to(dtype)}, tmp_path / "w.safetensors")
    assert "'head.bias' is" in refusal(tmp_path / "w.safetensors")


# F22: header entries of the wrong kind


def with_header(path: Path, **fields: str) -> Path:
    with safe_open(DIGITS, "np") as file:
        header = {**file.metadata(), **fields}
    save_file(load_file(DIGITS), path, header)
    return path


def how(**fields: Any) -> str:
    """The digits' preprocessing with other fields, as JSON of Python's."""
    with safe_open(DIGITS, "np") as file:
        return json.dumps({**json.loads(file.metadata()["preprocessing"]), **fields})


NESTED = "[" * 99_999 + "]" * 99_999
ENTRIES = [
    *(("img_size", value) for value in ("²", "", "0", "-96", "9e1", "9" * 5000, "8193", "96.0")),
    *(("img_size", value) for value in (" 96", "true", "null", "\x1b[31m", "[96]")),
    *(("labels", value) for value in ("5", "{}", "[]", "[1]", '["a", ["b"]]', NESTED, "0")),
    *(("labels", value) for value in ('["\\u001b[31m"]', json.dumps(["x"] * 9), '{"a": NaN}')),
    *(("preprocessing", value) for value in ("5", NESTED, "[]", '"x"', "{", "NaN", "true")),
    *(("preprocessing", how(std=value)) for value in (0, -1, float("nan"), [0.5, 0, 0.5], True)),
    *(("preprocessing", how(std=value)) for value in ("0.5", [0.5] * 4, float("inf"), {}, None)),
    *(("preprocessing", how(crop=value)) for value in (1e6, 10**6, 10**400, True, "96", -96, 0)),
    *(("preprocessing", how(resize=value)) for value in ([96], [96, 96, 96], 1e999, 10**12, [])),
    *(("preprocessing", how(mean=value)) for value in ([[0.5]], "a", 128, [None] * 3)),
    ("preprocessing", '{"mean": 0.5, "mean": 0.4}'),
    ("preprocessing", how(background=[1, 2, 300])),
    ("preprocessing", how(exif=True)),
    ("preprocessing", how(interpolation=3)),
    *(("variant", value) for value in ("", " ", "l9", "\x1b[31m", "x" * 100_000)),
]


@pytest.mark.parametrize(("entry", "value"), ENTRIES, ids=lambda text: text[:24])
def test_f22_a_wrong_entry_is_one_line(entry: str, value: str, tmp_path: Path) -> None:
    path = with_header(tmp_path / "w.safetensors", **{entry: value})
    done = fca_edge("export", "--checkpoint", path, "--format", "onnx", "--out", tmp_path / "o")
    line = refused(done, 2 if entry == "variant" and value == "l9" else 1, "w.safetensors")
    assert len(line) < 500
    assert written(tmp_path / "o") == []


def test_f22_entries_of_others_are_passed_by(tmp_path: Path) -> None:
    path = with_header(tmp_path / "w.safetensors", format="pt", epoch="²", img_size="96")
    assert source_of(path).img_size == 96


# F23: a manifest can only make a check harder


def negate_head(path: Path) -> None:
    """Negate the weights of a file's last layer; it stays a file that runs."""
    if path.suffix == ".onnx":
        model = onnx.load(str(path))
        (head,) = (one for one in model.graph.initializer if one.name == "head.weight")
        values = -onnx.numpy_helper.to_array(head)
        head.CopyFrom(onnx.numpy_helper.from_array(values, head.name))
        onnx.save(model, str(path))
        return
    file = TfliteFile(bytearray(path.read_bytes()))
    *_, last = (one for one in file.graph.operators if file.code(one) == FULLY_CONNECTED)
    weights = file.constant(int(last.inputs[1]))
    assert weights is not None and len(weights) == 10
    buffer = file.graph.tensors[int(last.inputs[1])].buffer
    file.model.buffers[buffer].data = (-weights).reshape(-1).view(np.uint8)
    file.write(path)


def copy_of(artefact: Artefact, folder: Path, change: Callable[[Path], None] | None = None) -> Path:
    """Copy a file with its manifest, which says the checksum of the changed file."""
    path = Path(shutil.copy(artefact.path, folder))
    if change:
        change(path)
    content = path.read_bytes()
    edit(artefact, path, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    return path


def edit(artefact: Artefact, path: Path, **fields: Any) -> None:
    """Write a manifest beside a file with other fields; `a__b` is field b of a."""
    document = artefact.manifest.to_document()
    beside = path.with_name(f"{path.name}.json")
    if beside.exists():
        document = json.loads(beside.read_text())
    for name, value in fields.items():
        *way, last = name.split("__")
        inner = document
        for step in way:
            inner = inner[step]
        inner[last] = value
    beside.write_text(json.dumps(document))


def verify(path: Path, *words: object) -> Done:
    return fca_edge("verify", path, "--checkpoint", DIGITS, *words)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("floor", [-1e9, 0, 7, 109.9])
def test_f23_floors_are_the_tools(
    exported: list[Artefact], number: int, floor: float, tmp_path: Path
) -> None:
    path = copy_of(exported[number], tmp_path, negate_head)
    edit(exported[number], path, verification__floor_db=floor)
    refused(verify(path), 3, "less than 110 dB")


def test_f23_a_manifest_can_raise_its_floor(exported: list[Artefact], tmp_path: Path) -> None:
    path = copy_of(exported[0], tmp_path)
    assert verify(path).returncode == 0
    edit(exported[0], path, verification__floor_db=500)
    refused(verify(path), 3, "less than 500 dB")
    edit(exported[0], path, verification__floor_db=None)
    refused(verify(path), 1, "never verified")


def test_f23_a_smaller_precision_in_the_file_as_well(
    exported: list[Artefact], tmp_path: Path
) -> None:
    """Its floor is lower, and far above what a wrong file reaches."""

    def call_it_int8(path: Path) -> None:
        negate_head(path)
        model = onnx.load(str(path))
        (entry,) = (one for one in model.metadata_props if one.key == "precision")
        entry.value = "int8"
        onnx.save(model, str(path))

    path = copy_of(exported[0], tmp_path, call_it_int8)
    edit(exported[0], path, precision="int8", verification__floor_db=-1e9)
    refused(verify(path), 3, "less than 28 dB")


SAID_TWICE = {
    "precision": "int8",
    "profile": "modern",
    "input_layout": "nhwc",
    "folded": False,
    "bytes": 1,
    "tool": "other",
    "source__variant": "l1",
    "source__name": "other",
    "source__trained": False,
    "source__checkpoint_sha256": "0" * 64,
    "source__num_classes": 11,
    "source__labels": [*"1023456789"],
}


@pytest.mark.parametrize("field", [*SAID_TWICE, "source__preprocessing", "source__img_size"])
def test_f23_a_file_and_its_manifest_agree(
    exported: list[Artefact], digits: Path, field: str, tmp_path: Path
) -> None:
    """Whatever a command believes of a manifest stands in the file as well."""
    path = copy_of(exported[0], tmp_path)
    changes: dict[str, Any] = {field: SAID_TWICE.get(field)}
    preprocessing = exported[0].preprocessing.to_dict()
    if field == "source__preprocessing":
        changes = {field: {**preprocessing, "mean": [0.1, 0.1, 0.1]}}
    if field == "source__img_size":
        changes = {field: 64, "source__preprocessing": {**preprocessing, "crop": 64}}
    if field == "source__trained":
        changes |= {"trained": False, "source__seed": 0}
    if field == "source__num_classes":
        changes |= {"source__labels": None}
    edit(exported[0], path, **changes)
    for words in (
        ("verify", path, "--checkpoint", DIGITS),
        ("bench", path, "--runs", 1),
        ("eval", path, "--data", digits),
        ("bundle", path, "--out", tmp_path / "b"),
    ):
        refused(fca_edge(*words), 1, f"{path.name}.json", "not what the file says of itself")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("macs", 1),
        ("operators", {"CONV": 1}),
        ("planned", {"weights_bytes": 1, "packed_bytes": 1, "arena_bytes": 1}),
    ],
)
def test_f23_what_gates_rely_on_is_counted_again(
    exported: list[Artefact], field: str, value: Any, tmp_path: Path
) -> None:
    path = copy_of(exported[0], tmp_path)
    edit(exported[0], path, **{field: value})
    refused(verify(path), 1, f"{field}: is not what the file has")


def test_f23_no_fewer_inputs_than_usual(exported: list[Artefact], tmp_path: Path) -> None:
    path = copy_of(exported[0], tmp_path)
    edit(exported[0], path, verification__checks=1)
    done = verify(path, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert all(check["inputs"] == 4 for check in json.loads(done.stdout))
    edit(exported[0], path, verification__checks=10**9)
    refused(verify(path), 1, "verification.checks", "from 1 to 1000")


def test_f23_pictures_of_a_proof_are_said(
    exported: list[Artefact], digits: Path, tmp_path: Path
) -> None:
    """A manifest names no folder to read from; on what else a file was verified is said."""
    path = copy_of(exported[0], tmp_path)
    edit(exported[0], path, verification__images=str(digits))
    done = verify(path)
    assert done.returncode == 0, done.stderr
    assert "was proven on pictures of 'digits', now on seeded noise (--images)" in done.stderr
    again = verify(path, "--images", digits)
    assert "now on other pictures, of 'digits'" in again.stderr


# F24: documents with nested or missing parts, huge numbers


ODD = ["1e999", "-1e999", "NaN", "Infinity", "9" * 10_000, "1" + "0" * 400, NESTED, '{"a": 1}']
ODD += [
    "null",
    "true",
    '"9"',
    "[[]]",
    "1.5",
    "-1",
    '"\\u001b[31m"',
    '{"a": 1, "a": 2}',
    '"\\ud800"',
]


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:20])
@pytest.mark.parametrize("field", ["bytes", "macs", "verification", "source", "operators"])
def test_f24_manifests(exported: list[Artefact], field: str, text: str, tmp_path: Path) -> None:
    path = copy_of(exported[0], tmp_path)
    edit(exported[0], path, **{field: "HERE"})
    beside = path.with_name(f"{path.name}.json")
    beside.write_text(beside.read_text().replace('"HERE"', text))
    done = fca_edge("bundle", path, "--out", tmp_path / "b")
    if (field == "macs" and text == "null") or (field == "operators" and text == '{"a": 1}'):
        assert done.returncode == 0, done.stderr
        return
    assert len(refused(done, 1, f"{path.name}.json")) < 500


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:20])
@pytest.mark.parametrize(
    "field", ["latency_ns", "plan", "target", "memory", "cost", "artefact", "warnings"]
)
def test_f24_records(field: str, text: str, tmp_path: Path) -> None:
    document = json.loads(json.dumps(to_document([row(), counted(5)])))
    document["records"][1][field] = "HERE"
    (tmp_path / "r.json").write_text(json.dumps(document).replace('"HERE"', text))
    done = fca_edge("compare", tmp_path / "r.json", tmp_path / "r.json")
    if field in ("memory", "cost") and text == "null":
        assert done.returncode == 0, done.stderr
        return
    assert len(refused(done, 1, "r.json")) < 500


@pytest.mark.parametrize("text", ["{}", "[]", '{"schema": "fca_edge.records/1"}', "1", '"x"'])
@pytest.mark.parametrize(
    "more", ["", ', "records": [[]]}', ', "records": {}}', ', "records": [1]}']
)
def test_f24_records_without_their_parts(text: str, more: str, tmp_path: Path) -> None:
    content = text.rstrip("}") + more if more and text.startswith("{") else text
    (tmp_path / "r.json").write_text(content.replace("{,", "{"))
    refused(fca_edge("compare", tmp_path / "r.json", tmp_path / "r.json"), 1, "r.json")


TABLES = [
    ("bench --suite {file}", '[[entries]]\nvariant = "l1"\n', "threads = {value}\n"),
    ("bench --suite {file}", "", "[[entries]]\nvariant = {value}\n"),
    ("bench --suite {file}", "", "entries = {value}\n"),
    ("compare {records} --bounds {file}", "", '[[bounds]]\nmetric = "macs"\nat_most = {value}\n'),
    ("compare {records} --bounds {file}", "", "[[bounds]]\nrow = {value}\n"),
    ("compare {records} {records} --gate {file}", "", "[measured_percent]\nload_ns = {value}\n"),
    ("compare {records} {records} --gate {file}", "", "measured_percent = {value}\n"),
]
VALUES = ["9" * 4000, "9" * 10_000, "1e999", "nan", "inf", NESTED, "1979-05-27", "[{a = [1]}]"]
VALUES += ['"\\u001b[31m"', "true", "{}", "-0.0", '""', "'x'", "0x" + "f" * 5000]


@pytest.mark.parametrize("value", VALUES, ids=lambda text: text[:20])
@pytest.mark.parametrize("number", range(len(TABLES)))
def test_f24_tables(number: int, value: str, tmp_path: Path) -> None:
    command, behind, text = TABLES[number]
    records, file = tmp_path / "r.json", tmp_path / "t.toml"
    records.write_text(json.dumps(to_document([row()])))
    file.write_text(text.replace("{value}", value) + behind)
    done = fca_edge(*command.format(file=file, records=records).split())
    if value == "-0.0" and number == 5:  # no change at all is allowed
        assert done.returncode == 5, done.stderr
        return
    assert len(refused(done, 1, "t.toml")) < 500


def test_f24_a_document_has_an_end(tmp_path: Path) -> None:
    refused(fca_edge("compare", "/dev/zero", "/dev/zero"), 1, "/dev/zero", "larger than 64 MiB")
    deep = ".".join("a" * 2_000)
    (tmp_path / "t.toml").write_text(f"{deep} = 1\n")
    done = fca_edge("bench", "--suite", tmp_path / "t.toml")
    refused(done, 1, "t.toml", "nested too deeply")
