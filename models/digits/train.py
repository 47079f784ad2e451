"""Train the FcaFormer that ships: micro dimensions, 96 px, ten handwritten digits.

    python models/digits/split.py /tmp/digits
    python models/digits/train.py /tmp/digits --out models/digits/digits.safetensors

Takes some minutes on two cores. The best epoch by the loss on a tenth of the
training images is kept; the test split is looked at once, at the end.
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

from fca_edge.preprocess import Preprocessing, find_images, labelled, load
from fca_edge.zoo.build import build

SIDE = 96
HOW = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
BATCH = 64
PEAK_RATE = 3e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that split.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    images, labels = tensors(arguments.data / "train")
    order = torch.randperm(len(images))
    held = len(images) // 10
    network = initialised(build("micro", SIDE, 10).train())
    best = fit(network, images, labels, order[held:], order[:held], arguments.epochs)
    network.load_state_dict(best)
    accuracy = evaluate(network, *tensors(arguments.data / "test"))
    print(f"test top-1 {100 * accuracy:.2f} %")
    moved(network)
    metadata = {
        "variant": "micro",
        "img_size": str(SIDE),
        "labels": json.dumps([str(n) for n in range(10)]),
        "preprocessing": json.dumps(HOW.to_dict()),
        "test_top1": f"{accuracy:.4f}",
    }
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, arguments.out, metadata)


def tensors(folder: Path) -> tuple[Tensor, Tensor]:
    """Read an ImageFolder tree as images (n, 3, H, W) and labels (n,)."""
    pairs = labelled(find_images(folder))
    images = np.stack([load(path, HOW) for path, _ in pairs])
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


def fit(
    network: nn.Module, images: Tensor, labels: Tensor, train: Tensor, held: Tensor, epochs: int
) -> dict[str, Tensor]:
    """Train with AdamW and a cosine rate; return the weights of the best epoch."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=PEAK_RATE)
    steps = epochs * math.ceil(len(train) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps)
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
            for picked in train[torch.randperm(len(train))].split(BATCH):
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
