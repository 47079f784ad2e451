"""Train a micro UperNet or a micro Mask R-CNN on drawn shapes.

    python models/shapes/draw.py /tmp/shapes --part train
    python models/shapes/train.py /tmp/shapes --variant mask_rcnn_micro --out mask_rcnn.safetensors
    python models/shapes/train.py /tmp/shapes --variant upernet_micro --steps 1000 \\
        --trunk mask_rcnn.safetensors --out upernet.safetensors

Each takes some minutes on one core. The second begins with the trunk of the first. The test part is
not looked at: `fca-edge eval` does that.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from draw import CLASSES
from losses import (
    IGNORED,
    Truth,
    check_encoding,
    compute_detector_losses,
    compute_label_loss,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fca_edge.zoo.build import build

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Height and width that the network is trained at, and the least and most scale of a picture.
SIZES = {"upernet_micro": (128, 128), "mask_rcnn_micro": (128, 160)}
SCALES = {"upernet_micro": (0.8, 1.7), "mask_rcnn_micro": (0.75, 1.0)}
WEIGHT_DECAY, BATCH, CLIP = 0.05, 8, 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that draw.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--variant", choices=SIZES, required=True)
    parser.add_argument("--trunk", type=Path, help="weights whose trunk to begin with")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--peak-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    check_encoding()
    labels = CLASSES if arguments.variant.startswith("mask") else ("background", *CLASSES)
    size = SIZES[arguments.variant]
    network = initialise(build(arguments.variant, size, len(labels)).train())
    if arguments.trunk is not None:
        take_trunk(network, arguments.trunk)
    pictures = read_pictures(arguments.data, arguments.variant)
    random = np.random.Generator(np.random.PCG64(arguments.seed))

    def draw_loss() -> dict[str, Tensor]:
        rows = random.integers(len(pictures), size=BATCH)
        return pick_loss(network, [pictures[row] for row in rows], arguments.variant, random)

    fit(network, draw_loss, arguments.steps, arguments.peak_rate)
    short, long = sorted(size)
    limits = (4 * short, short) if arguments.variant.startswith("upernet") else (long, short)
    preprocessing = {"mean": MEAN, "std": STD, "interpolation": "bilinear"}
    preprocessing |= {"fit": "pad", "layout": "RGB", "resize": limits}
    metadata = {
        "variant": arguments.variant,
        "img_size": "x".join(map(str, dict.fromkeys(size))),
        "labels": json.dumps(labels),
        "preprocessing": json.dumps(preprocessing),
    }
    state = {k: v.contiguous() for k, v in network.state_dict().items()}
    save_file(state, arguments.out, metadata)


def take_trunk(network: nn.Module, path: Path) -> None:
    """Begin with the trunk of other weights; it has the same names and shapes everywhere."""
    state = {k: v for k, v in load_file(path).items() if k.startswith("backbone.")}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected and not [name for name in missing if name.startswith("backbone.")]


def read_pictures(data: Path, variant: str) -> list[tuple[Image.Image, list]]:
    """Read all pictures of the training part, with (class, box, mask) of each object."""
    document = json.loads((data / "annotations" / "instances_train.json").read_text())
    objects: dict[int, list] = {image["id"]: [] for image in document["images"]}
    for entry in document["annotations"]:
        runs = entry["segmentation"]["counts"]
        flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        mask = flat.reshape(entry["segmentation"]["size"][::-1]).T
        objects[entry["image_id"]].append((entry["category_id"] - 1, mask))
    pictures = []
    for image in document["images"]:
        with Image.open(data / "images" / "train" / image["file_name"]) as opened:
            pictures.append((opened.convert("RGB"), objects[image["id"]]))
    return pictures


def pick_loss(
    network: nn.Module, pictures: list, variant: str, random: np.random.Generator
) -> dict[str, Tensor]:
    """Scale, mirror and place each picture anew, and compare the network's answers."""
    placed = [place(*picture, variant, random) for picture in pictures]
    images = torch.stack([image for image, _, _ in placed])
    if variant == "mask_rcnn_micro":
        return compute_detector_losses(network, images, [make_truth(*p[1:]) for p in placed])
    maps = torch.stack([paint(objects, size, SIZES[variant]) for _, objects, size in placed])
    return {"labels": compute_label_loss(network(images), maps)}


def place(
    picture: Image.Image, objects: list, variant: str, random: np.random.Generator
) -> tuple[Tensor, list, tuple[int, int]]:
    """Return the input (3, H, W), the objects with masks (H, W), and the size without padding."""
    height, width = SIZES[variant]
    scale = min(height / picture.height, width / picture.width)
    scale *= random.uniform(*SCALES[variant])
    size = (int(picture.width * scale + 0.5), int(picture.height * scale + 0.5))
    left, top = (int(random.integers(max(a - b, 0) + 1)) for a, b in zip(size, (width, height)))
    shape = (min(size[1], height), min(size[0], width))
    mirror = random.random() < 0.5

    def cut(image: Image.Image, method: int) -> np.ndarray:
        array = np.asarray(image.resize(size, method), np.float32)
        array = array[top : top + shape[0], left : left + shape[1]]
        return array[:, ::-1] if mirror else array

    pixels = (cut(picture, Image.Resampling.BILINEAR) / 255 - MEAN) / STD
    image = torch.zeros(3, height, width)
    image[:, : shape[0], : shape[1]] = torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()
    moved = []
    for label, mask in objects:
        part = np.zeros((height, width), np.float32)
        part[: shape[0], : shape[1]] = cut(Image.fromarray(mask), Image.Resampling.NEAREST)
        if part.sum() >= 16:
            moved.append((label, part))
    if not moved and objects:
        return place(picture, objects, variant, random)
    return image, moved, shape


def make_truth(objects: list, size: tuple[int, int]) -> Truth:
    """Return boxes around masks, and the masks."""
    boxes = []
    for _, mask in objects:
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    masks = np.stack([mask for _, mask in objects])
    labels = [label for label, _ in objects]
    return Truth(
        torch.tensor(np.array(boxes), dtype=torch.float32),
        torch.tensor(labels),
        torch.from_numpy(masks),
        torch.tensor(size),
    )


def paint(objects: list, size: tuple[int, int], whole: tuple[int, int]) -> Tensor:
    """Return a map (H, W) of classes, 0 the background and `IGNORED` the padding."""
    labels = torch.full(whole, IGNORED)
    labels[: size[0], : size[1]] = 0
    for label, mask in objects:
        labels[torch.from_numpy(mask) > 0] = label + 1
    return labels


def initialise(network: nn.Module) -> nn.Module:
    """Give tables and layer scales the start that dense networks have."""
    for name, parameter in network.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if leaf.startswith("gamma"):
            nn.init.constant_(parameter, 1.0)
        elif leaf.startswith("attention_biases"):
            nn.init.trunc_normal_(parameter, std=0.02)
        elif "fc_reg" in name or "rpn_reg" in name:
            nn.init.normal_(parameter, std=0.001)
    return network


def fit(
    network: nn.Module, draw_loss: Callable[[], dict[str, Tensor]], steps: int, peak_rate: float
) -> None:
    """Train with AdamW and a cosine rate."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=peak_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, peak_rate, total_steps=steps, pct_start=0.1
    )
    seen: dict[str, float] = {}
    begun = time.monotonic()
    for step in range(1, steps + 1):
        losses = draw_loss()
        loss = torch.stack(list(losses.values())).sum()
        assert math.isfinite(float(loss.detach())), f"step {step}: the loss is not finite"
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        for name, value in losses.items():
            now = float(value.detach())
            seen[name] = 0.95 * seen.get(name, now) + 0.05 * now
        if step % 50 == 0:
            text = ", ".join(f"{name} {value:.3f}" for name, value in seen.items())
            print(f"step {step}, {time.monotonic() - begun:.0f} s: {text}", flush=True)


if __name__ == "__main__":
    main()
