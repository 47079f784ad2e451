"""Labels of pixels: exact, in bounded memory, and proven by the margins of what differs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import fca_edge, refused
from torch import Tensor, nn

from fca_edge.exporting import label_map
from fca_edge.exporting.label_map import LabelMap
from fca_edge.manifest import read_manifest
from fca_edge.parity import compare_labels, enlarge_line
from fca_edge.zoo.dense.upernet import resize

NAME = "upernet_micro-96x128px-labels-fp32"


class Same(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def draw(classes: int, size: tuple[int, int]) -> Tensor:
    return torch.randn(1, classes, *size, generator=torch.Generator().manual_seed(3)).double()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("most", [1, 5000, 1 << 30])
@pytest.mark.parametrize(
    ("small", "size"), [((24, 32), (96, 128)), ((25, 19), (97, 75)), ((8, 3), (8, 12))]
)
def test_they_are_the_best_class_of_the_enlarged_logits(
    small: tuple, size: tuple, most: int, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_map, "MOST_BYTES", most)
    network = LabelMap(Same(), size, small, 7, tied).double()
    logits = draw(7, small)
    labels = network(logits)
    assert labels.dtype == torch.uint8 and labels.shape == (1, *size)
    assert torch.equal(labels.long(), resize(logits, size).argmax(1))
    # The best class of small logits, enlarged, is something else.
    coarse = resize(logits.argmax(1, keepdim=True).double(), size)[:, 0].round().long()
    assert size == small or not torch.equal(labels.long(), coarse)
    assert len(network.bands) == {1: size[0], 1 << 30: 1}.get(most, len(network.bands))


def test_a_band_is_made_of_the_rows_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_map, "MOST_BYTES", 16 * 7 * 128 * 4)
    network = LabelMap(Same(), (96, 128), (24, 32), 7, tied=False)
    assert network.bands[:2] == [(0, 5), (3, 9)] and len(network.bands) == 6


def test_a_pixel_is_as_wrong_as_the_margin_it_lost() -> None:
    logits = draw(5, (6, 9))
    grown = resize(logits, (24, 36))
    labels = grown.argmax(1).numpy().astype(np.uint8)
    figures = compare_labels(logits.numpy(), labels)
    assert (figures["max_abs"], figures["top1_agreement"]) == (0, 1)
    assert figures["snr_db"] == figures["worst_snr_db"] == np.inf
    second = grown.topk(2, 1)
    margins = (second.values[:, 0] - second.values[:, 1])[0]
    for place in (margins.argmin(), margins.argmax()):
        row, column = divmod(int(place), 36)
        wrong = labels.copy()
        wrong[0, row, column] = second.indices[0, 1, row, column]
        figures = compare_labels(logits.numpy(), wrong)
        assert figures["max_abs"] == pytest.approx(float(margins[row, column]))
        assert figures["top1_agreement"] == pytest.approx(1 - 1 / 864)
        assert figures["snr_db"] > 110 or place == margins.argmax()
    assert figures["snr_db"] < 60
    wrong[0, 0, 0] = 5  # of which there is no class
    assert compare_labels(logits.numpy(), wrong)["snr_db"] == -np.inf


@pytest.mark.parametrize(("small", "large"), [(24, 96), (25, 97), (7, 8), (1, 4), (5, 5)])
def test_a_line_is_enlarged_as_by_torch(small: int, large: int) -> None:
    cells = torch.eye(small).double().reshape(small, 1, small, 1)
    expected = resize(cells, (large, 1)).reshape(small, large).T.numpy()
    assert np.abs(enlarge_line(small, large) - expected).max() < 1e-12


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported in several bands."""
    out = tmp_path_factory.mktemp("labels")
    words = ("--variant", "upernet_micro", "--img-size", "96x128", "--output", "labels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_map, "MOST_BYTES", 40 * 7 * 128 * 4)
        done = fca_edge("export", *words, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("end", ["onnx", "tflite"])
def test_files_are_proven_and_say_what_they_give(files: Path, end: str, tmp_path: Path) -> None:
    path = files / f"{NAME}.{end}"
    manifest = read_manifest(path)
    assert manifest is not None and manifest.output == "labels"
    run = manifest.verification.runtimes[0]
    assert run.snr_db >= 110 and run.top1_agreement > 0.999
    assert fca_edge("verify", path).returncode == 0
    done = fca_edge("bench", path, "--processes", "1", "--json", "-")
    assert done.returncode == 0, done.stderr
    alone = tmp_path / path.name
    alone.write_bytes(path.read_bytes())
    manifest = read_manifest(alone)
    assert manifest is not None and manifest.output == "labels"


def test_older_manifests_are_of_logits(files: Path, tmp_path: Path) -> None:
    path = files / f"{NAME}.onnx"
    document = json.loads(path.with_name(path.name + ".json").read_text())
    del document["output"]
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    copy.with_name(copy.name + ".json").write_text(json.dumps(document))
    # The file says labels, so this manifest is not its own.
    refused(fca_edge("verify", copy), 1, "output", "export again")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--variant", "micro"), "micro is none"),
        (("--variant", "mask_rcnn_micro"), ""),
        (("--variant", "upernet_micro", "--num-classes", 300), "a byte tells 256"),
    ],
)
def test_where_there_are_no_labels(words: tuple, said: str, tmp_path: Path) -> None:
    done = fca_edge("export", *words, "--output", "labels", "--out", tmp_path / "o")
    refused(done, 2, said)
    assert not list(tmp_path.glob("o/*"))
