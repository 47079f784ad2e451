"""Dense networks, and the arithmetic of boxes, give the official numbers in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

import golden_data
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fca_edge.errors import UsageError
from fca_edge.zoo.build import build, build_trunk, cost
from fca_edge.zoo.dense import boxes, detectors
from fca_edge.zoo.dense.upernet import AuxiliaryHead, UperNet, resize
from fca_edge.zoo.published import published_dense
from fca_edge.zoo.specs import DENSE, DenseSpec, find_spec

SEED, NEAR = 100, 1e-9
# What mmcv's checkpoints call the networks -> ours.
NAMES = {"fcaformer_l2": "l2", "swin_tiny": "swin_tiny", "convnext_tiny": "convnext_tiny"}
UNPADDED = {"320x416": (300, 400), "96x128": (90, 120)}
QUICK_SIZES = ("96x96", "128x160", "224x224", "96x128")


@cache
def golden() -> Mapping[str, np.ndarray]:
    with np.load(golden_data.FOLDER / "dense.npz") as stored:
        return dict(stored)


@cache
def manifests() -> dict[str, dict[str, list[int]]]:
    return json.loads((golden_data.FOLDER / "dense_manifests.json").read_text())


def variant_of(name: str) -> str:
    """Our name of a network of the golden file."""
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name.replace("cascade_mask_rcnn", "cascade")


def make(name: str, size: tuple[int, int]) -> torch.nn.Module:
    if name.endswith("_dense"):
        trunk = variant_of(name).removesuffix("_dense").removeprefix("fcaformer_")
        return build_trunk(find_spec(f"upernet_{trunk}"), size)
    network = build(variant_of(name), size)
    if isinstance(network, UperNet):
        network.auxiliary_head = auxiliary(name)
    return network


def auxiliary(name: str) -> AuxiliaryHead:
    """The head that official checkpoints hold for training."""
    shape = manifests()[name]["auxiliary_head.convs.0.conv.weight"]
    return AuxiliaryHead(shape[1], shape[0], manifests()[name]["auxiliary_head.conv_seg.bias"][0])


def load(name: str, size: tuple[int, int]) -> torch.nn.Module:
    network = make(name, size).to(torch.float64).eval()
    stream = np.random.Generator(np.random.PCG64(SEED))
    state = {
        key: torch.from_numpy(np.asarray(golden_data.value(stream, key.split(".")[-1], shape, 0.9)))
        for key, shape in manifests()[name].items()
    }
    network.load_state_dict(state)
    return network.requires_grad_(False)


def picture(size: tuple[int, int], padded: tuple[int, int] | None = None) -> Tensor:
    """Noise of a size, zeros at the right and bottom up to another."""
    stream = np.random.Generator(np.random.PCG64(golden_data.IMAGE_SEED + SEED))
    noise = torch.from_numpy(stream.standard_normal((1, 3, *size)))
    down, right = (0, 0) if padded is None else (padded[0] - size[0], padded[1] - size[1])
    return F.pad(noise, (0, right, 0, down))


def check(key: str, got: Tensor, near: float = NEAR) -> None:
    """Compare with a whole tensor of the golden file, or with the samples that it has."""
    stored, array = golden(), got.numpy()
    if key in stored:
        expected = stored[key]
        array = array[: len(expected)] if key.endswith("masks28") else array
        assert expected.shape == array.shape, key
    else:
        assert tuple(stored[f"{key}.shape"]) == array.shape, key
        array = array.reshape(-1)[stored[f"positions/{array.size}"]]
        expected = stored[f"{key}.sample"]
    assert array.size == 0 or np.abs(array - expected).max() <= near, key


def cases(*heads: str) -> list[object]:
    """(network, size) of the golden file whose name begins so; large ones are slow."""
    pairs = sorted({tuple(key.split("/")[:2]) for key in golden() if key.startswith(heads)})
    return [
        pytest.param(name, size, marks=() if size in QUICK_SIZES else pytest.mark.slow)
        for name, size in pairs
    ]


def sides(size: str) -> tuple[int, int]:
    height, width = map(int, size.split("x"))
    return height, width


@pytest.mark.parametrize(("name", "size"), cases("fcaformer", "swin", "convnext"))
def test_maps_of_a_trunk(name: str, size: str) -> None:
    for number, got in enumerate(load(name, sides(size))(picture(sides(size)))):
        check(f"{name}/{size}/{SEED}/out{number}", got)


@pytest.mark.parametrize(("name", "size"), cases("upernet"))
def test_upernet(name: str, size: str) -> None:
    network, key = load(name, sides(size)), f"{name}/{size}/{SEED}"
    assert isinstance(network, UperNet)
    maps = network.backbone(picture(sides(size)))
    levels = network.decode_head.pyramid(maps)
    fused = network.decode_head.fuse(levels)
    logits = network.decode_head.conv_seg(fused)
    check(f"{key}/fpn_bottleneck", fused)
    check(f"{key}/logits", logits)
    assert (logits[0].argmax(0).numpy() == golden()[f"{key}/argmax"]).all()
    if "micro" in name:
        check(f"{key}/aux_logits", network.auxiliary_head(maps))
        check(f"{key}/resized_logits", resize(logits, sides(size)))


@pytest.mark.parametrize(("name", "size"), cases("mask_rcnn", "cascade"))
def test_detectors(name: str, size: str) -> None:
    unpadded, key = UNPADDED[size], f"{name}/{size}/{SEED}"
    network, extent = load(name, sides(size)), torch.tensor(unpadded)
    image = picture(unpadded, sides(size))
    maps, scores, deltas = network(image)
    if f"{key}/fpn0" in golden():  # the large cascade has Mask R-CNN's
        for number in range(5):
            check(f"{key}/fpn{number}", maps[number])
            check(f"{key}/rpn_cls{number}", scores[number])
            check(f"{key}/rpn_reg{number}", deltas[number])
    chosen, shares = detectors.propose(scores, deltas, extent, detectors.MOST_PROPOSALS)
    check(f"{key}/proposals", torch.cat([chosen, shares[:, None]], 1))
    check_heads(key, network, maps, extent)
    found = network.detect(image, extent)
    check(f"{key}/det/boxes", found.boxes)
    check(f"{key}/det/scores", found.scores)
    check(f"{key}/det/labels", found.labels)
    if f"{key}/det/masks28" in golden():
        check(f"{key}/det/masks28", found.masks, near=3.1e-8)  # stored as float32


def check_heads(key: str, network: torch.nn.Module, maps: tuple, extent: Tensor) -> None:
    """Box and mask heads on fixed boxes, stage by stage."""
    rois = torch.from_numpy(golden()["rois/{}x{}".format(*extent.tolist())])
    drawn, boxes_now, total = rois[[0, 3, 4, 7, 12]], rois, 0.0
    stages = network.roi_head.stages
    for number, (box_head, mask_head) in enumerate(stages):
        place = f"{key}/fixed/stage{number}" if len(stages) > 1 else f"{key}/fixed"
        features = boxes.read_rois(maps[:4], boxes_now, detectors.STRIDES, detectors.BOX_BINS)
        logits, moves = box_head(features)
        check(f"{place}/cls_score", logits)
        check(f"{place}/bbox_pred", moves)
        features = boxes.read_rois(maps[:4], drawn, detectors.STRIDES, detectors.MASK_BINS)
        check(f"{place}/mask_logits", mask_head(features))
        moved = boxes.decode(boxes_now, moves, detectors.STAGE_STDS[number], extent)
        total = total + logits
        if number < len(stages) - 1:
            boxes_now = detectors.choose_class(moved, logits)
            check(f"{place}/refined_rois", boxes_now)
    if len(stages) > 1:
        check(f"{key}/fixed/mean_score_softmax", (total / len(stages)).softmax(-1))
        check(f"{key}/fixed/decoded_boxes", moved.flatten(1))


def stored(name: str) -> Tensor:
    return torch.from_numpy(golden()[f"ops/0/{name}"])


@pytest.mark.parametrize("number", range(5))
def test_anchors(number: int) -> None:
    size = [(3, 5), (2, 3), (2, 2), (1, 2), (1, 1)][number]
    anchors = boxes.make_anchors(size, detectors.STRIDES[number], torch.zeros(1).double())
    check(f"ops/0/anchors/grid{number}", anchors)


def test_decoding_and_refinement() -> None:
    extent, start = torch.tensor([300, 400]), stored("decode/boxes")
    for std in detectors.STAGE_STDS:
        moved = boxes.decode(start, stored("decode/deltas5"), std, extent)
        check(f"ops/0/decode/box_std{std[0]}_clipped_300x400", moved.flatten(1))
    for clip, name in ((extent, "clipped_300x400"), (None, "unclipped")):
        moved = boxes.decode(start, stored("decode/deltas"), detectors.UNIT_STDS, clip)
        check(f"ops/0/decode/rpn_{name}", moved.flatten(1))
    for number in (0, 1):
        rois, moves = stored("cascade/rois"), stored("cascade/bbox_pred")
        moved = boxes.decode(rois, moves, detectors.STAGE_STDS[number], extent)
        refined = detectors.choose_class(moved, stored("cascade/cls_score"))
        check(f"ops/0/cascade/refined_stage{number}_300x400", refined)


def test_features_of_boxes() -> None:
    check("ops/0/levels/level", boxes.choose_levels(stored("levels/rois")))
    for bins in (7, 14):
        features = boxes.align_rois(stored("roi_align/map"), stored("roi_align/rois"), 8, bins)
        check(f"ops/0/roi_align/out{bins}_stride8", features)
    maps = tuple(stored(f"roi_extract/map{number}")[None] for number in range(4))
    features = boxes.read_rois(maps, stored("roi_extract/rois"), detectors.STRIDES, 7)
    check("ops/0/roi_extract/out7", features)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_suppression(threshold: float) -> None:
    groups = {"batched": stored("nms/classes"), "one_class": torch.zeros(80)}
    for name, group in groups.items():
        rows = boxes.suppress(stored("nms/boxes"), stored("nms/scores"), group, threshold)
        check(f"ops/0/nms/{name}_keep_{threshold}", rows)


@pytest.mark.parametrize("most", [100, 15])
def test_choice_of_objects(most: int) -> None:
    candidates = stored("multiclass_nms/boxes").reshape(60, 5, 4)
    rows, scores, labels = detectors.select(candidates, stored("multiclass_nms/scores"), most)
    check(f"ops/0/multiclass_nms/max{most}/dets", torch.cat([rows, scores[:, None]], 1))
    check(f"ops/0/multiclass_nms/max{most}/labels", labels)


def test_pasting() -> None:
    masks = stored("paste/masks").double()
    check("ops/0/paste/pasted_60x80", boxes.paste(masks, stored("paste/boxes"), (60, 80)))


@pytest.mark.parametrize("name", sorted(manifests()))
def test_state_dict_is_the_official_one(name: str) -> None:
    if name == "deit_tiny":
        pytest.skip("a classifier: test_golden.py")
    with torch.device("meta"):
        network = make(name, (512, 512))
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert shapes == manifests()[name]


@pytest.mark.parametrize("variant", published_dense())
def test_counts_against_the_published_table(variant: str) -> None:
    published = published_dense()[variant]
    counted = cost(variant, published.size)
    aux = 0.924e6 if variant.startswith("upernet") else 0
    params, gmacs = (counted.params + aux) / 1e6, counted.macs / 1e9
    if published.counts == "all products":
        assert abs(gmacs - published.gmacs) < 1
        assert abs(params - published.params_millions) < 0.8
    else:
        assert gmacs > published.gmacs + 3 or variant == "cascade_convnext_tiny"


def test_a_picture_too_small_for_four_maps_is_refused() -> None:
    with pytest.raises(UsageError, match="64 or more per side"):
        build("upernet_micro", (32, 200))
    with pytest.raises(UsageError, match="square"):
        build("l1", (224, 320))


def test_every_dense_network_is_built() -> None:
    for variant, spec in DENSE.items():
        assert isinstance(spec, DenseSpec)
        build(variant, device="meta")
