"""Export end to end: proven files with manifests, or nothing at all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import DIGITS

from fca_edge.embedded import read_embedded
from fca_edge.errors import FcaEdgeError, NotEquivalentError, TargetUnavailableError, UsageError
from fca_edge.exporting import artefact
from fca_edge.exporting.again import verify_again
from fca_edge.exporting.forms import ONNX, PROFILES
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.manifest import Artefact, read_manifest
from fca_edge.runtimes import OLD_TFLITE_VARIABLE, RUNTIMES, available
from fca_edge.store import compute_sha256

RANDOM = NetworkRequest(variant="micro")


def quiet(text: str) -> None:
    """Take a progress line and say nothing."""


@pytest.mark.old_tflite
def test_three_artefacts_are_proven(exported: list[Artefact]) -> None:
    names = [item.path.name for item in exported]
    assert names == ["digits-fp32.onnx", "digits-fp32.tflite", "digits-fp32-tflite-2.14.tflite"]
    for item in exported:
        manifest = read_manifest(item.path)
        assert manifest is not None
        assert manifest.sha256 == compute_sha256(item.path)
        assert manifest.source.trained is True
        check = manifest.verification
        assert check.not_checked_on == ()
        assert check.floor_db is not None
        for parity in check.runtimes:
            assert parity.snr_db >= check.floor_db
            assert parity.top1_agreement == 1.0


@pytest.mark.old_tflite
def test_the_modern_file_is_one_partition_and_right_on_the_old_runtime(
    exported: list[Artefact],
) -> None:
    parities = {run.runtime: run for run in exported[1].manifest.verification.runtimes}
    assert parities["litert"].partitions == 1
    assert parities["litert"].delegate == "XNNPACK"
    assert parities["tflite-2.14"].snr_db >= 110


def test_the_approximation_is_named(exported: list[Artefact]) -> None:
    assert exported[0].manifest.approximations == exported[1].manifest.approximations == ()
    (named,) = exported[2].manifest.approximations
    assert named.startswith("gelu: tanh form instead of erf at ")


def test_exact_on_request(tmp_path: Path) -> None:
    request = Request(
        network=RANDOM, out=tmp_path, formats=("tflite",), profiles=("tflite-2.14",), exact=True
    )
    (done,) = run_export(request, quiet)
    assert done.manifest.approximations == ()
    assert done.manifest.verification.runtimes[0].snr_db >= 110


def test_metadata_of_tflite(exported: list[Artefact]) -> None:
    metadata = read_embedded(exported[1].path)
    assert metadata["variant"] == "micro"
    assert metadata["profile"] == "modern"
    assert metadata["input_layout"] == "nhwc"
    assert json.loads(metadata["labels"]) == [str(n) for n in range(10)]


def test_nchw_input(tmp_path: Path) -> None:
    (done,) = run_export(
        Request(network=RANDOM, out=tmp_path, formats=("tflite",), input_layout="nchw"), quiet
    )
    assert done.manifest.input_layout == "nchw"
    assert done.manifest.operators["TRANSPOSE"] > 0


def test_random_weights_say_so(tmp_path: Path) -> None:
    (done,) = run_export(Request(network=RANDOM, out=tmp_path, formats=("onnx",)), quiet)
    assert done.manifest.source.trained is False
    assert done.manifest.source.checkpoint is None


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    run_export(Request(network=RANDOM, out=tmp_path, formats=("onnx",)), quiet)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(FcaEdgeError, match="exists already; overwrite with --force"):
        run_export(Request(network=RANDOM, out=tmp_path, formats=("onnx",)), quiet)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
    run_export(Request(network=RANDOM, out=tmp_path, formats=("onnx",), force=True), quiet)


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_one_perturbed_weight_leaves_no_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation test of artefacts: a weight is changed between proof and writing."""
    original = artefact.write_artefact

    def perturbed(program, output, metadata, path):
        name = next(n for n in program.state_dict if n.endswith("layer_2.blocks.1.mlp.fc1.weight"))
        weight = program.state_dict[name].clone()
        program.state_dict[name].data.view(-1)[0] += 0.05
        counts = original(program, output, metadata, path)
        program.state_dict[name].data.copy_(weight)
        return counts

    monkeypatch.setattr("fca_edge.exporting.writer.write_artefact", perturbed)
    with pytest.raises(NotEquivalentError, match="is refused") as caught:
        run_export(Request(network=RANDOM, out=tmp_path, formats=(kind,)), quiet)
    assert "layer_2.blocks.1.mlp" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_artefact_below_its_floor_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fca_edge.exporting.forms.ONNX", replace(ONNX, snr_floor_db=400.0))
    with pytest.raises(NotEquivalentError, match="less than 400 dB"):
        run_export(Request(network=RANDOM, out=tmp_path, formats=("onnx",)), quiet)
    assert list(tmp_path.iterdir()) == []


def test_the_old_profile_needs_its_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(TargetUnavailableError, match="fca-edge targets setup local"):
        run_export(
            Request(
                network=RANDOM, out=tmp_path / "out", formats=("tflite",), profiles=("tflite-2.14",)
            ),
            quiet,
        )
    (done,) = run_export(Request(network=RANDOM, out=tmp_path / "out", formats=("tflite",)), quiet)
    assert done.manifest.verification.not_checked_on == ("tflite-2.14",)


def test_dynamic_batch_is_not_for_tflite(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--dynamic-batch is for ONNX only"):
        run_export(Request(network=RANDOM, out=tmp_path, dynamic_batch=True), quiet)


def test_checkpoint_in_the_training_scripts_form(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    path = tmp_path / "best.pth"
    torch.save({"model": load_file(DIGITS), "epoch": 1}, path)
    wanted = NetworkRequest(variant="micro", checkpoint=path)
    (done,) = run_export(Request(network=wanted, out=tmp_path / "out", formats=("onnx",)), quiet)
    assert done.path.name == "fcaformer_micro-fp32.onnx"
    assert done.manifest.source.num_classes == 10
    assert done.manifest.source.chosen == "taken from its entry 'model'"


def test_verify_again(exported: list[Artefact]) -> None:
    for item in exported:
        checks = verify_again(item, DIGITS, None, None, 2).checks
        assert checks
        assert all(check.equal for check in checks)
    with pytest.raises(UsageError, match="name it with --checkpoint"):
        verify_again(exported[0], None, None, None, 1)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["l1", "l2", "l3", "l4", "convnext_tiny", "swin_tiny"])
def test_real_networks(variant: str, tmp_path: Path) -> None:
    wanted = NetworkRequest(variant=variant)
    done = run_export(
        Request(network=wanted, out=tmp_path, profiles=("modern", "tflite-2.14")), quiet
    )
    modern = next(item for item in done if item.path.name.endswith("fp32.tflite"))
    assert modern.manifest.verification.runtimes[0].partitions == 1
    assert variant != "l1" or sum(modern.manifest.operators.values()) <= 560
    names = [[run.runtime for run in i.manifest.verification.runtimes] for i in done]
    native = ["xnnpack"] if available(RUNTIMES["xnnpack"]) else []
    modern_names = ["litert", "tflite-2.14", *native]
    assert sorted(names) == [modern_names, ["onnxruntime"], ["tflite-2.14"]]
    for item in done:
        assert item.manifest.verification.not_checked_on == ()


def test_no_fold_describes_itself(tmp_path: Path) -> None:
    request = Request(
        network=RANDOM, out=tmp_path, formats=("tflite",), profiles=("tflite-2.14",), fold=False
    )
    (done,) = run_export(request, quiet)
    assert done.manifest.forms["gelu"] == "erf"
    assert done.manifest.forms["depthwise"] is None
    assert done.manifest.verification.floor_db == 110


@pytest.mark.old_tflite
def test_partial_delegation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(PROFILES["tflite-2.14"], whole=True)
    monkeypatch.setitem(PROFILES, "tflite-2.14", whole)
    with pytest.raises(FcaEdgeError, match="partitions with"):
        run_export(
            Request(network=RANDOM, out=tmp_path, formats=("tflite",), profiles=("tflite-2.14",)),
            quiet,
        )
    assert list(tmp_path.iterdir()) == []


def test_the_rationed_gelu_holds_on_other_inputs(tmp_path: Path) -> None:
    request = Request(
        network=RANDOM, out=tmp_path, formats=("tflite",), profiles=("tflite-2.14",), checks=12
    )
    (done,) = run_export(request, quiet)
    parity = done.manifest.verification.runtimes[0]
    assert parity.snr_db >= 70
    assert parity.worst_snr_db >= 66


def test_other_sizes_get_other_names(tmp_path: Path) -> None:
    wanted = NetworkRequest(variant="fcaformer_micro", img_size=64)
    (done,) = run_export(Request(network=wanted, out=tmp_path, formats=("onnx",)), quiet)
    assert done.path.name == "fcaformer_micro-64px-fp32.onnx"
    assert done.manifest.source.variant == "micro"


def test_a_manifest_alone_is_not_overwritten(tmp_path: Path) -> None:
    orphan = tmp_path / "fcaformer_micro-fp32.onnx.json"
    orphan.write_text("{}")
    with pytest.raises(FcaEdgeError, match="exists already"):
        run_export(Request(network=RANDOM, out=tmp_path, formats=("onnx",)), quiet)
    assert orphan.read_text() == "{}"


def test_verify_needs_the_files_own_runtime(
    exported: list[Artefact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(TargetUnavailableError):
        verify_again(exported[2], DIGITS, None, None, 1)
