"""Top-1 on the digits test split: the checkpoint in torch, and each artefact on its own runtime.

    python bench/digits_accuracy.py --out models/out --images models/out/digits-images/test

Fails if an fp32 artefact is right on a number of images that differs by more than one, and a
smaller one by more than a point.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from fca_edge.checkpoint.fit import fitted
from fca_edge.checkpoint.read import load_checkpoint
from fca_edge.commands.shared import table
from fca_edge.manifest import read_artefact
from fca_edge.preprocess import Preprocessing, find_images, labelled, load
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.outputs import run_artefact
from fca_edge.verify import in_layout

CHECKPOINT = Path(__file__).parents[1] / "models" / "digits" / "digits.safetensors"

# The others may lose a point.
EXACT = ("checkpoint", "digits-fp32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the artefacts")
    parser.add_argument("--images", type=Path, required=True, help="ImageFolder tree")
    arguments = parser.parse_args()
    checkpoint = load_checkpoint(CHECKPOINT)
    how = Preprocessing.from_dict(json.loads(checkpoint.metadata["preprocessing"]))
    pairs = labelled(find_images(arguments.images))
    images = np.stack([load(path, how) for path, _ in pairs])
    labels = np.array([label for _, label in pairs])
    rows = {"checkpoint, torch float32": right_in_torch(checkpoint, images, labels)}
    for path in sorted(arguments.out.glob("digits-*")):
        if path.suffix in (".onnx", ".tflite"):
            rows |= right_of(path, images, labels)
    made = table("digits test split", f"right of {len(labels)}", "top-1 %")
    for name, right in rows.items():
        made.add_row(name, str(right), f"{100 * right / len(labels):.2f}")
    Console(width=100).print(made)
    exact = [right for name, right in rows.items() if name.startswith(EXACT)]
    if max(exact) - min(exact) > 1 or max(exact) - min(rows.values()) > len(labels) // 100:
        sys.exit("an artefact is right less often than it may be")


def right_in_torch(checkpoint, images: np.ndarray, labels: np.ndarray) -> int:
    network, _, _ = fitted("micro", checkpoint, None, None, torch.float32)
    with torch.no_grad():
        return int((network(torch.from_numpy(images)).argmax(1).numpy() == labels).sum())


def right_of(path: Path, images: np.ndarray, labels: np.ndarray) -> dict[str, int]:
    manifest = read_artefact(path).manifest
    given = in_layout(images, manifest.input_layout)
    found = {}
    for run in manifest.verification.runtimes:
        arrays, _ = run_artefact(path, RUNTIMES[run.runtime], given)
        name = f"{path.name}, {run.runtime} {run.version}"
        found[name] = int((arrays["logits"].argmax(1) == labels).sum())
    return found


if __name__ == "__main__":
    main()
