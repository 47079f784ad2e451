"""Put an artefact into a folder of its own, with all that running it needs."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fca_edge import decode, detect, fields, maps, masks, scaling
from fca_edge.bundling import native
from fca_edge.device import LEAN
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.keeping import Report
from fca_edge.lean_settings import (
    Settings,
    read_settings,
    settings_path,
    to_document,
)
from fca_edge.manifest import Artefact, manifest_path, read_artefact
from fca_edge.native import Kit
from fca_edge.options import check_choice, spell_options
from fca_edge.parts import join_parts, read_parts
from fca_edge.places import locked
from fca_edge.runtimes import RUNTIMES, Runtime
from fca_edge.sizes import write_size
from fca_edge.stopping import uncut
from fca_edge.store import compute_sha256, staging, write_json
from fca_edge.zoo.specs import find_task

BOARD = Path(__file__).with_name("board")
SUMS = "SHA256SUMS"
# Shared with the tools here, so that both see the same pixels.
SHARED = (Path(decode.__file__), Path(fields.__file__))
DENSE = (Path(maps.__file__), Path(masks.__file__), Path(scaling.__file__))
# Task -> the runner's part of it, which is task.py in a bundle, and what else that needs.
TASKS = {
    "classify": ("classify.py", ()),
    "segment": ("segment.py", (BOARD / "results.py", *DENSE)),
    "detect": ("objects.py", (BOARD / "results.py", *DENSE, Path(detect.__file__))),
}
LOADERS = {".onnx": "onnx.py", ".tflite": "tflite.py"}


@dataclass(frozen=True)
class Bundle:
    """A folder that answers what images show on a board.

    Attributes:
        files: all that is in it.
        notes: what was assumed or is not there, in sentences; `warnings` weigh more.
    """

    folder: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def bundle_file(
    path: Path,
    out: Path,
    threads: int | None,
    exif: str,
    force: bool,
    runtime: str | None = None,
    target: str | None = None,
    plain: bool = False,
    report: Report = lambda text: None,
) -> Bundle:
    """Write the bundle of an artefact with a manifest, and say what is missing in it.

    Args:
        runtime: "xnnpack" for one without Python, which is for the machine of `target`.
        plain: leave `lean.py` out, so that the runner loads the usual way.

    Raises:
        FcaEdgeError: as `write_bundle`, or a manifest that cannot be used.
        TargetUnavailableError: a board cannot be reached, or the kit of its machine not made.
    """
    check_choice("exif", exif, fields.EXIF)
    if runtime is not None:
        check_choice("runtime", runtime, [native.RUNTIME.name])
        if plain:
            raise UsageError("--plain is for a runner in Python; leave it or --runtime out.")
    elif target is not None:
        raise UsageError(
            "--target: a bundle in Python runs on any machine; add --runtime xnnpack for one that"
            " needs no Python."
        )
    (artefact,) = join_parts([read_artefact(path)])
    source = artefact.manifest.source
    check_task(artefact)
    if plain and not is_lean(artefact):
        raise UsageError(f"--plain: the runner loads {path.name} the usual way; leave it out.")
    notes, warnings = [], []
    kit = None
    if runtime is not None:
        native.refuse_unfit(artefact)
        refuse(artefact, out.resolve(), force)
        kit = native.choose_kit(target or "local", report)
        notes.append(f"for Linux on {kit.machine}, without Python.")
        if runtime not in artefact.manifest.proven:
            notes.append(f"the file was not proven on {runtime}; `fca-edge verify` does that.")
    files = write_bundle(artefact, out, threads, force, exif, kit, plain)
    if not source.labels:
        notes.append("the classes have no names; export with --labels FILE to have them printed.")
    if source.assumed_preprocessing:
        assumed = ", ".join(source.assumed_preprocessing)
        notes.append(f"preprocessing was assumed at export, not stated: {assumed}.")
    if not source.trained:
        warnings.append("random weights: the classes it prints mean nothing.")
    return Bundle(out, tuple(files), tuple(map(spell_options, notes)), tuple(warnings))


def check_task(artefact: Artefact) -> str:
    """Name the task of a file, whose preprocessing must be of its kind.

    Raises:
        FcaEdgeError: it is not.
    """
    task = find_task(artefact.manifest.source.variant)
    if (artefact.preprocessing.fit == "pad") != (task != "classify"):
        raise FcaEdgeError(
            f"{artefact.path}: its preprocessing cuts a part out of each picture, and a dense"
            " network sees the whole; export it again."
        )
    return task


def write_bundle(
    artefact: Artefact,
    out: Path,
    threads: int | None = None,
    force: bool = False,
    exif: str = "apply",
    kit: Kit | None = None,
    plain: bool = False,
) -> list[Path]:
    """Write the bundle of an artefact; returns its files, or leaves the folder as it was.

    Args:
        exif: whether the runner turns pictures upright: "apply" or "ignore".
        kit: with the programs of a bundle without Python; None makes one in Python.
        plain: leave `lean.py` out.

    Raises:
        FcaEdgeError: the folder is there already, or cannot be written.
        UsageError: the artefact lies in that folder.
    """
    out = out.resolve()
    refuse(artefact, out, force)
    with staging(out.parent) as place:
        staged = place / out.name
        staged.mkdir()
        fill(staged, artefact, threads, exif, kit, plain)
        before = place / "before"
        with locked(out.parent), uncut():
            refuse(artefact, out, force)
            if out.exists():
                out.rename(before)
            try:
                os.replace(staged, out)
            except OSError:
                if before.exists():
                    before.rename(out)
                raise
    return list_bundle(out)


def refuse(artefact: Artefact, out: Path, force: bool) -> None:
    """Refuse to replace anything but an older bundle, and that only when told to."""
    if not out.exists():
        return
    if out.resolve() in artefact.path.resolve().parents:
        raise UsageError(f"{out}: the artefact lies in it; choose a folder of its own for --out.")
    if not out.is_dir() or (any(out.iterdir()) and not (out / SUMS).is_file()):
        raise UsageError(f"{out}: holds something that is no bundle; choose another --out.")
    if any(out.iterdir()) and not force:
        raise UsageError(f"{out}: exists already; overwrite with --force or choose another place.")


def fill(
    folder: Path,
    artefact: Artefact,
    threads: int | None,
    exif: str,
    kit: Kit | None,
    plain: bool = False,
) -> None:
    """Write all files of a bundle, the checksums last."""
    beside = Settings(**read_settings(artefact.path))
    threads = threads or beside.threads or 1
    for one in list_files(artefact):
        shutil.copyfile(one.path, folder / one.path.name)
        write_json(folder / manifest_path(one.path).name, one.manifest.to_document())
    if kit is None:
        fill_python(folder, artefact, beside, threads, exif, plain)
    else:
        native.fill_native(folder, artefact, kit, threads, exif, list_labels(artefact))
    sums = [f"{compute_sha256(p)}  {p.relative_to(folder)}\n" for p in list_bundle(folder)]
    (folder / SUMS).write_text("".join(sums))


def list_bundle(folder: Path) -> list[Path]:
    """List the files of a bundle."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def fill_python(
    folder: Path, artefact: Artefact, beside: Settings, threads: int, exif: str, plain: bool
) -> None:
    """Write the runner in Python, and what it reads."""
    kind = find_task(artefact.manifest.source.variant)
    task, others = TASKS[kind]
    for name in ("run.py", "files.py", "checks.py", "pictures.py"):
        shutil.copyfile(BOARD / name, folder / name)
    for path in (*SHARED, *others):
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(BOARD / task, folder / "task.py")
    shutil.copyfile(BOARD / LOADERS[artefact.path.suffix], folder / "model.py")
    if not plain and is_lean(artefact):
        # Packed weights have a place of their own in a bundle.
        own = replace(beside, threads=threads, cache=None)
        document = to_document(own, list_runtimes(artefact)[0].name)
        write_json(settings_path(folder / artefact.path.name), document)
        shutil.copyfile(LEAN, folder / LEAN.name)
    write_json(folder / "preprocessing.json", describe_preprocessing(artefact, exif))
    write_json(folder / "runtime.json", describe_settings(artefact, threads))
    labels = list_labels(artefact)
    write_json(folder / "labels.json", labels)
    lines = [" ".join(label.split()) for label in labels]
    (folder / "labels.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(write_readme(artefact), "utf-8", "surrogateescape")


def is_lean(artefact: Artefact) -> bool:
    """Tell whether a runner in Python loads a file in little memory.

    What loads so takes one input, and a detector has more.
    """
    if find_task(artefact.manifest.source.variant) == "detect":
        return False
    return list_runtimes(artefact)[0].lean and settings_path(artefact.path).is_file()


def list_files(artefact: Artefact) -> list[Artefact]:
    """List the files of a network, of which a detector may have several."""
    return list(read_parts(artefact).values()) or [artefact]


def describe_preprocessing(artefact: Artefact, exif: str) -> dict[str, Any]:
    """Say what an image goes through: as `fca_edge.decode` does, then in which layout."""
    return {
        **artefact.preprocessing.to_dict(),
        "exif": exif,
        "input_layout": artefact.manifest.input_layout,
    }


def list_runtimes(artefact: Artefact) -> list[Runtime]:
    """List the runtimes that a file was proven on, its own first.

    Raises:
        FcaEdgeError: its manifest names none that loads it.
    """
    manifest = artefact.manifest
    proven = [r for name, r in RUNTIMES.items() if name in manifest.proven and not r.kits]
    # The file was made for its profile's runtime, which was perhaps not installed there.
    own = [r for r in RUNTIMES.values() if manifest.profile in r.profiles and not r.kits]
    names = dict.fromkeys([*own, *proven])
    runtimes = [runtime for runtime in names if runtime.suffix == artefact.path.suffix]
    if not runtimes:
        raise FcaEdgeError(
            f"{manifest_path(artefact.path)}: profile: no runtime loads {manifest.profile!r};"
            " export the artefact again."
        )
    return runtimes


def describe_settings(artefact: Artefact, threads: int) -> dict[str, Any]:
    """Say how model.py loads the model."""
    runtimes = list_runtimes(artefact)
    providers = [runtime.provider for runtime in runtimes if artefact.path.suffix == ".onnx"]
    detector = {}
    if find_task(artefact.manifest.source.variant) == "detect":
        detector = {
            "parts": [one.path.name for one in list_files(artefact)],
            "layout": artefact.manifest.input_layout,
            "proposals": artefact.manifest.forms["proposals"],
        }
    return {
        **detector,
        "model": artefact.path.name,
        "packages": [shlex.join(runtime.requirements) for runtime in runtimes],
        "modules": list(dict.fromkeys(runtime.module for runtime in runtimes)),
        "providers": providers,
        "threads": threads,
    }


def list_labels(artefact: Artefact) -> list[str]:
    """Name the classes; by number where the checkpoint has no names."""
    source = artefact.manifest.source
    return list(source.labels or (f"class {number}" for number in range(source.num_classes)))


def write_readme(artefact: Artefact) -> str:
    """Say in three lines what the folder is and how it is used."""
    source = artefact.manifest.source
    runtimes = [shlex.join(runtime.requirements) for runtime in list_runtimes(artefact)]
    return (
        f"{artefact.path.name}: {source.variant}, {write_size(source.img_size)} px,"
        f" {source.num_classes} classes, {artefact.manifest.precision};"
        f" made by {artefact.manifest.tool}.\n"
        f"Install: `pip install pillow {runtimes[0]}`"
        + "".join(f" (or {other})" for other in runtimes[1:])
        + ".\nCheck: `sha256sum -c SHA256SUMS`. Run: `python run.py image.jpg`.\n"
    )
