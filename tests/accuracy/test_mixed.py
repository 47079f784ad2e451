"""The layer that a quantiser spoils is found, and it alone stays in float."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import DIGITS

from fca_edge.accuracy import mixed, sensitivity
from fca_edge.accuracy.check import AccuracyCheck
from fca_edge.accuracy.data import Data, DataRequest, read_tree
from fca_edge.accuracy.evaluate import Predictions, predict
from fca_edge.accuracy.layerwise import measure_layers
from fca_edge.accuracy.mixed import search
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.accuracy.sensitivity import Base, Loss, measure_sensitivities
from fca_edge.errors import FcaEdgeError, NotEquivalentError, UsageError
from fca_edge.exporting.forms import FLOORS
from fca_edge.exporting.pipeline import run_export
from fca_edge.exporting.quantize import Outcome, Recipe, list_layers, run
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.manifest import Artefact, read_artefact

SPOILED = 2
NOTHING = Predictions(np.zeros(1, np.int32), np.zeros(1, np.int32))


def quiet(text: str) -> None:
    """Take a progress line and say nothing."""


@pytest.fixture
def base(exported: list[Artefact]) -> Base:
    """Four layers of the digits network; the others are kept from the start."""
    artefact = read_artefact(exported[0].path)
    candidates = run(artefact.path, artefact.path.parent / "q.onnx", Recipe("int8")).quantised
    (artefact.path.parent / "q.onnx").unlink()
    keep_float = tuple(name for name in list_layers(artefact.path) if name not in candidates[:4])
    return Base(artefact, ("onnxruntime",), Recipe("int8", keep_float=keep_float))


@pytest.fixture
def few(base: Base, digits: Path) -> Data:
    return read_tree(
        digits,
        base.artefact.manifest.source.labels,
        base.artefact.manifest.source.num_classes,
        20,
        0,
    )


@pytest.fixture
def spoiled(base: Base, monkeypatch: pytest.MonkeyPatch) -> str:
    """A quantiser that gets one layer wrong."""
    others = set(list_layers(base.artefact.path)) - set(base.recipe.keep_float)
    name = [layer for layer in list_layers(base.artefact.path) if layer in others][SPOILED]

    def wrong(path_in: Path, path_out: Path, recipe: Recipe, inputs: None) -> Outcome:
        outcome = run(path_in, path_out, recipe, inputs)
        if name in outcome.quantised:
            model = onnx.load(path_out)
            bias = next(t for t in model.graph.initializer if list(t.dims) == [10])
            worse = onnx.numpy_helper.to_array(bias) + 9 * np.eye(10, dtype=np.float32)[0]
            bias.CopyFrom(onnx.numpy_helper.from_array(worse, bias.name))
            onnx.save(model, path_out)
        return outcome

    monkeypatch.setattr(sensitivity, "run", wrong)
    return name


def test_a_sound_quantiser_needs_no_layer_in_float(base: Base, few: Data) -> None:
    losses = measure_sensitivities(base, few, quiet)
    assert len(losses) == 4
    assert all(loss.snr_db is None or loss.snr_db > FLOORS["int8"] for loss in losses), losses
    assert any(loss.snr_db is not None for loss in losses)
    assert [loss.drop_points for loss in losses] == [0, 0, 0, 0]
    assert losses == measure_sensitivities(base, few, quiet)


def test_the_spoiled_layer_is_found_and_kept(base: Base, few: Data, spoiled: str) -> None:
    losses = measure_sensitivities(base, few, quiet)
    assert losses[0].layer == spoiled
    assert losses[0].snr_db is not None
    assert losses[0].snr_db < 10
    assert losses[0].drop_points > 50
    assert all(loss.drop_points == 0 for loss in losses[1:])
    with ArtefactRunner(base.artefact, "onnxruntime") as runner:
        (reference,), _ = predict([runner], few, lambda count: None)
    mix = search(base, losses, few, reference, 1.0, quiet)
    assert mix.keep == (spoiled,)
    drops = {trial.kept: trial.drop_points for trial in mix.trials}
    assert drops[0] > 50
    assert drops[1] == 0


def losses_of(number: int) -> list[Loss]:
    return [Loss(f"linear_{n}", float(n), 100.0, 0.0) for n in range(number)]


@pytest.mark.parametrize("needed", [0, 1, 2, 7, 12, 13])
def test_the_count_is_the_least(
    needed: int, base: Base, few: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count that is one less was tried and failed; few counts were tried at all."""

    def drops(base: Base, keep: Sequence[str], *_: object) -> dict[str, float]:
        return {"litert": 0.0, "tflite-2.14": 3.0 if len(keep) < needed else 1.0}

    monkeypatch.setattr(mixed, "measure_drops", drops)
    mix = search(base, losses_of(13), few, NOTHING, 1.0, quiet)
    assert len(mix.keep) == needed
    tried = {trial.kept: trial.drop_points for trial in mix.trials}
    assert needed == 0 or tried[needed - 1] == 3.0
    assert tried[needed] == 1.0
    assert len(tried) <= 6


def test_what_float_does_not_mend_is_said(
    base: Base, few: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed, "measure_drops", lambda *_: {"onnxruntime": 2.5})
    with pytest.raises(NotEquivalentError, match=r"2\.50 points with every layer in float"):
        search(base, losses_of(5), few, NOTHING, 1.0, quiet)


def test_nothing_to_quantise(base: Base, few: Data) -> None:
    none = Base(
        base.artefact, base.runtimes, Recipe("int8", keep_float=list_layers(base.artefact.path))
    )
    with pytest.raises(FcaEdgeError, match="no layer to quantise"):
        measure_sensitivities(none, few, quiet)


def test_an_export_keeps_no_layer_where_none_is_needed(digits: Path, tmp_path: Path) -> None:
    wanted = NetworkRequest(checkpoint=DIGITS)
    gate = AccuracyCheck(DataRequest(digits), wanted, 5.0, quiet)
    request = Request(network=wanted, out=tmp_path, formats=("onnx",), precisions=("int8",))
    (done,) = run_export(request, quiet, gate, gate.choose)
    mix = done.manifest.quantization["mix"]
    assert (mix["keep"], mix["images"]) == ((), 60)
    assert [trial["kept"] for trial in mix["trials"]] == [0]
    assert done.manifest.accuracy["runtimes"][0]["drop_points"] <= 5
    assert done.manifest.quantization["quantised"]


def test_layers_of_other_forms_are_not_judged(exported: list[Artefact], digits: Path) -> None:
    """`linear_3` of a file that is never quantised is another layer than that of one that is."""
    artefact = read_artefact(exported[0].path)
    assert artefact.manifest.forms["blocks"] == "channels_first"
    with pytest.raises(UsageError, match=r"digits-fp32\.onnx: its blocks are channels first"):
        measure_layers(
            artefact.path,
            digits,
            reading={},
            precision="int8",
            max_drop=1.0,
            images=8,
            limit=None,
            seed=0,
            report=quiet,
        )
