"""Checkpoints of other programs and other formats of torch, and how to convert them.

Imports no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shlex import quote

from fca_edge.checkpoint.shards import clean

PLAIN = "x.pth"
# Their names and the order of their axes are others': no command alone makes torch's of them.
RENAME = "give its arrays torch's names and axes and save them with safetensors.numpy.save_file"
MOST_NAMES, MOST_FOLDERS = 10_000, 50
DCP_INDEX, DCP_SUFFIX = ".metadata", ".distcp"
TF_DATA = re.compile(r".+\.data-\d{5}-of-\d{5}")
# The first word of a class's full name: whose models they are.
PACKAGES = {
    "sklearn": "scikit-learn",
    "joblib": "scikit-learn (joblib)",
    "xgboost": "XGBoost",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "keras": "Keras",
    "tensorflow": "TensorFlow",
    "jax": "JAX",
    "jaxlib": "JAX",
    "flax": "Flax",
    "paddle": "Paddle",
    "mxnet": "MXNet",
}


def dcp_command(folder: Path) -> str:
    """Write the command that makes one file of a folder of torch.distributed.checkpoint."""
    module = "torch.distributed.checkpoint.format_utils"
    return (
        f"`python -m {module} dcp_to_torch {quote(str(folder))} {PLAIN}` makes a plain file of it"
    )


def export_command(path: Path) -> str:
    """Write the command that saves the weights of a program of torch.export."""
    # Double quotes inside, so that the shell's are single ones around all of it.
    load, save = json.dumps(str(path)), json.dumps(PLAIN)
    script = f"import torch; torch.save(torch.export.load({load}).state_dict, {save})"
    return f"`python -c {quote(script)}` takes its weights"


@dataclass(frozen=True)
class FolderKind:
    """A kind of checkpoint that is a folder.

    Attributes:
        fits: tells it from the names in it.
        text: what it is and what to do, from its path.
    """

    fits: Callable[[set[str]], bool]
    text: Callable[[Path], str]


def has_dcp(names: set[str]) -> bool:
    """Tell a folder of torch.distributed.checkpoint."""
    return DCP_INDEX in names and any(name.endswith(DCP_SUFFIX) for name in names)


def has_orbax(names: set[str]) -> bool:
    """Tell a folder of Orbax: of the whole, or of one item of it."""
    marks = {"_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"}
    return bool(marks & names) or any(name.startswith("ocdbt.process_") for name in names)


# The first that fits counts: some keep files of their own that look like checkpoints.
FOLDERS = (
    FolderKind(
        has_dcp, lambda path: f"a folder of torch.distributed.checkpoint; {dcp_command(path)}"
    ),
    FolderKind(
        lambda names: "zero_to_fp32.py" in names,
        lambda path: (
            "a folder of DeepSpeed's shards;"
            f" `python {quote(str(path / 'zero_to_fp32.py'))} {quote(str(path))} plain` puts them"
            " together in the folder 'plain'"
        ),
    ),
    FolderKind(
        has_orbax,
        lambda path: (
            "an Orbax checkpoint (JAX, Flax); read it with"
            " orbax.checkpoint.PyTreeCheckpointer().restore("
            f"{str(path)!r}), {RENAME}"
        ),
    ),
    FolderKind(
        lambda names: "saved_model.pb" in names,
        lambda path: (
            "a TensorFlow SavedModel, not a torch checkpoint; read it with"
            f" tf.saved_model.load({str(path)!r}).variables, {RENAME}"
        ),
    ),
    FolderKind(
        lambda names: any(TF_DATA.fullmatch(name) for name in names),
        lambda path: (
            "a TensorFlow checkpoint, not one of torch; read it with"
            f" tf.train.load_checkpoint({str(path)!r}), {RENAME}"
        ),
    ),
    FolderKind(
        lambda names: "data.pkl" in names and "data" in names,
        lambda path: "an unpacked torch checkpoint; zip it again, or save it again",
    ),
)


def list_names(folder: Path) -> set[str]:
    """Return the names in a folder."""
    return {path.name for path, _ in zip(folder.iterdir(), range(MOST_NAMES))}


def describe_known_folder(path: Path) -> str | None:
    """Say what a folder is by the files in it; None where it is none of the known."""
    names = list_names(path)
    return next((kind.text(path) for kind in FOLDERS if kind.fits(names)), None)


def describe_folder(path: Path) -> str:
    """Say what a folder is, and which of its files to give, or what to run."""
    if text := describe_known_folder(path):
        return text
    names = sorted(list_names(path))
    suffixes = (".index.json", ".safetensors", ".pth", ".pt", ".bin", ".ckpt")
    for suffix in suffixes:
        files = [name for name in names if name.lower().endswith(suffix)]
        if fits := [name for name in files if (path / name).is_file()]:
            return f"a folder; give one of its files, such as {path / fits[0]}"
    # A trainer's folder has the checkpoint a step below, beside its own state.
    for name in names[:MOST_FOLDERS]:
        below = path / name
        if below.is_dir() and (text := describe_known_folder(below)):
            return f"a folder, and '{clean(name)}' in it is {text}"
    return "a folder without a checkpoint in it; give a file"


def describe_zip(names: list[str], path: Path) -> str:
    """Say what a zip archive without a torch pickle is, from its entries' names."""
    files = [name for name in names if not name.endswith("/")]
    if not files:
        return "an empty zip archive"
    last = {PurePosixPath(name).name for name in files}
    if "serialized_exported_program.json" in last or is_export(files):
        return f"a program of torch.export (.pt2), not a checkpoint; {export_command(path)}"
    if any("/data/aotinductor/" in f"/{name}" for name in files):
        return (
            "a program that torch compiled (AOTInductor), not a checkpoint; save the state dict of"
            f" the network that it was made of: torch.save(model.state_dict(), {PLAIN!r})"
        )
    if any(name.endswith(".data/extern_modules") for name in files):
        return (
            "a torch.package archive; load its network with torch.package.PackageImporter where you"
            f" trust it, and torch.save(model.state_dict(), {PLAIN!r})"
        )
    if all(name.endswith(".npy") for name in files):
        return "NumPy arrays (.npz), not a torch checkpoint; save them as .safetensors"
    if any(name.endswith("weights.h5") for name in files):
        load = f"keras.models.load_model({path.name!r}).weights"
        return f"a Keras file, not a torch checkpoint; read it with {load}, {RENAME}"
    weights = [
        n for n in files if n.lower().endswith((".pth", ".pt", ".safetensors", ".bin", ".ckpt"))
    ]
    if weights:
        return f"a zip archive around '{weights[0][:60]}'; unpack it and give that"
    if "model.json" in last:
        return "a zip archive of another format than torch's (it has a model.json)"
    return f"a zip archive without a torch checkpoint in it (it begins with '{files[0][:60]}')"


def is_export(files: list[str]) -> bool:
    """Tell an archive of torch.export since 2.8: its program beside its weights."""
    inside = {name.partition("/")[2] for name in files}
    return "archive_format" in inside and any(
        name.startswith("models/") and name.endswith(".json") for name in inside
    )


def advise(name: str, path: Path) -> str:
    """Say what to do about a pickle that wants to call something, by its full name."""
    if name.startswith("torch.distributed.checkpoint."):
        return (
            "it is the index of a folder of torch.distributed.checkpoint;"
            f" {dcp_command(path.absolute().parent)}"
        )
    if name.startswith("torch.export."):
        return (
            "it is a program of torch.export; load it where you trust it, and"
            f" torch.save(program.state_dict, {PLAIN!r})"
        )
    if package := PACKAGES.get(name.partition(".")[0]):
        return f"it is a model of {package}, not of torch; no network of the zoo can be made of it"
    return "save the bare state dict (torch.save(model.state_dict(), ...)) and use that"


def describe_object(name: str) -> str | None:
    """Say what a pickled object of another library is, from its class; None where unknown."""
    package = PACKAGES.get(name.partition(".")[0])
    description = f"a pickled {clean(name)}, a model of {package}, not of torch"
    return f"{description}; no network of the zoo can be made of it" if package else None


def describe_tensor(path: Path) -> str:
    """Say what a file is that holds one tensor and no names."""
    if path.suffix == DCP_SUFFIX:
        folder = path.absolute().parent
        return f"one part of a folder of torch.distributed.checkpoint; {dcp_command(folder)}"
    return "one tensor without a name, not a state dict; save torch.save(model.state_dict(), ...)"
