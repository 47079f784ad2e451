"""Train an FcaFormer on ten handwritten digits.

    python models/digits/split.py /tmp/digits
    python models/digits/train.py /tmp/digits --out models/digits/digits.safetensors
    python models/digits/train.py /tmp/digits --variant l1 --img-size 64 \\
        --epochs 12 --batch 32 --peak-rate 1e-3 --layer-scale 0.1 \\
        --out /tmp/digits/l1-digits.safetensors

The first is the network that ships, of micro dimensions; the second has the real
width and is what quantisation is judged on. The first takes some minutes on two cores,
the second nine on one. A few hundred steps do not move a layer scale
of 1e-6 far enough for a network as wide as L1 to use its blocks, so it starts larger.
The best epoch by the loss on a tenth of the training images is kept; the test
split is looked at once, at the end.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn

from fca_edge.preprocess import Preprocessing, find_images, label_images, load
from fca_edge.zoo.build import build

WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that split.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--variant", default="micro")
    parser.add_argument("--img-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--layer-scale", type=float, help="start of the layer scales")
    parser.add_argument("--peak-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    how = preprocessing(arguments.img_size)
    images, labels = tensors(arguments.data / "train", how)
    order = torch.randperm(len(images))
    held = len(images) // 10
    network = initialised(build(arguments.variant, arguments.img_size, 10).train())
    if arguments.layer_scale is not None:
        scale_layers(network, arguments.layer_scale)
    parts = order[held:], order[:held]
    how_long = arguments.epochs, arguments.batch, arguments.peak_rate
    best = fit(network, images, labels, *parts, *how_long)
    network.load_state_dict(best)
    accuracy = evaluate(network, *tensors(arguments.data / "test", how))
    print(f"test top-1 {100 * accuracy:.2f} %")
    moved(network)
    metadata = {
        "variant": arguments.variant,
        "img_size": str(arguments.img_size),
        "labels": json.dumps([str(n) for n in range(10)]),
        "preprocessing": json.dumps(how.to_dict()),
        "test_top1": f"{accuracy:.4f}",
    }
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, arguments.out, metadata)


def preprocessing(side: int) -> Preprocessing:
    """Scale the whole image to the network's size; values from -1 to 1."""
    return Preprocessing(resize=side, crop=side, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def tensors(folder: Path, how: Preprocessing) -> tuple[Tensor, Tensor]:
    """Read an ImageFolder tree as images (n, 3, H, W) and labels (n,)."""
    pairs = label_images(find_images(folder))
    images = np.stack([load(path, how) for path, _ in pairs])
    return torch.from_numpy(images), torch.tensor([label for _, label in pairs])


def initialised(network: nn.Module) -> nn.Module:
    """Give Linear layers and tables the usual small random start."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    for name, parameter in network.named_parameters():
        if name.endswith("attention_biases"):
            nn.init.trunc_normal_(parameter, std=0.02)
    return network


def scale_layers(network: nn.Module, start: float) -> None:
    """Let all layer scales start from one value."""
    for name, parameter in network.named_parameters():
        if name.rsplit(".", 1)[-1].startswith("gamma"):
            nn.init.constant_(parameter, start)


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    train: Tensor,
    held: Tensor,
    epochs: int,
    batch: int,
    peak_rate: float,
) -> dict[str, Tensor]:
    """Train with AdamW and a cosine rate; return the weights of the best epoch."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=peak_rate)
    steps = epochs * math.ceil(len(train) / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak_rate, total_steps=steps)
    best_loss, best = math.inf, {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=epochs)
        for epoch in range(epochs):
            network.train()
            for picked in train[torch.randperm(len(train))].split(batch):
                loss = F.cross_entropy(
                    network(jittered(images[picked])),
                    labels[picked],
                    label_smoothing=LABEL_SMOOTHING,
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            loss = held_loss(network, images[held], labels[held])
            if loss < best_loss:
                best_loss = loss
                best = {k: v.detach().clone() for k, v in network.state_dict().items()}
            progress.update(
                task, advance=1, description=f"epoch {epoch + 1}, held-out loss {loss:.4f}"
            )
    return best


def jittered(images: Tensor) -> Tensor:
    """Turn, scale and shift each image (n, 3, H, W) a little."""
    n = len(images)
    angle = (torch.rand(n) - 0.5) * 0.4
    scale = 1 + (torch.rand(n) - 0.5) * 0.3
    shift = (torch.rand(n, 2) - 0.5) * 0.25
    matrix = torch.stack(
        [
            torch.stack([angle.cos() / scale, -angle.sin() / scale, shift[:, 0]], 1),
            torch.stack([angle.sin() / scale, angle.cos() / scale, shift[:, 1]], 1),
        ],
        1,
    )  # (n, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@torch.no_grad()
def held_loss(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Cross entropy of held-out images."""
    network.eval()
    return float(F.cross_entropy(network(images), labels))


@torch.no_grad()
def evaluate(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose class is right."""
    network.eval()
    return float((network(images).argmax(1) == labels).float().mean())


def moved(network: nn.Module) -> None:
    """Refuse to ship weights that still are what they were initialised to."""
    starts = {
        "gamma": 1e-6,
        "s_scale_factors": 1.0,
        "attention_biases": 0.0,
        "s_token_bias": 0.0,
        "running_mean": 0.0,
        "running_var": 1.0,
    }
    for name, tensor in network.state_dict().items():
        for leaf, start in starts.items():
            if name.rsplit(".", 1)[-1].startswith(leaf):
                change = float((tensor - start).abs().mean())
                assert change > 1e-3, f"{name} moved by {change:.2g} only"


if __name__ == "__main__":
    main()
