"""Put an artefact into a folder of its own, with all that running it needs."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from fca_edge import decode, fields
from fca_edge.device import LEAN
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.export.facts import Facts
from fca_edge.export.manifest import manifest_path
from fca_edge.labels import check_count
from fca_edge.lean_settings import (
    Settings,
    read_settings,
    settings_path,
    to_document,
)
from fca_edge.places import locked
from fca_edge.runtimes import RUNTIMES, Runtime
from fca_edge.stopping import uncut
from fca_edge.store import sha256_of, staging, write_json

BOARD = Path(__file__).with_name("board")
SUMS = "SHA256SUMS"
# Shared with the tools here, so that both see the same pixels.
SHARED = (Path(decode.__file__), Path(fields.__file__))
LOADERS = {".onnx": "onnx.py", ".tflite": "tflite.py"}


def write_bundle(
    facts: Facts,
    out: Path,
    threads: int | None = None,
    force: bool = False,
    exif: str = "apply",
) -> list[Path]:
    """Write the bundle of an artefact; returns its files, or leaves the folder as it was.

    Args:
        exif: whether the runner turns pictures upright: "apply" or "ignore".

    Raises:
        FcaEdgeError: the folder is there already, or cannot be written; or a manifest whose
            preprocessing or labels do not fit the model.
        UsageError: the artefact lies in that folder.
    """
    out = out.resolve()
    check_fit(facts)
    refuse(facts, out, force)
    with staging(out.parent) as place:
        staged = place / out.name
        staged.mkdir()
        fill(staged, facts, threads, exif)
        before = place / "before"
        with locked(out.parent), uncut():
            refuse(facts, out, force)
            if out.exists():
                out.rename(before)
            try:
                os.replace(staged, out)
            except OSError:
                if before.exists():
                    before.rename(out)
                raise
    return sorted(out.iterdir())


def refuse(facts: Facts, out: Path, force: bool) -> None:
    """Refuse to replace anything but an older bundle, and that only when told to."""
    if not out.exists():
        return
    if out.resolve() in facts.path.resolve().parents:
        raise UsageError(f"{out}: the artefact lies in it; choose a folder of its own for --out.")
    if not out.is_dir() or (any(out.iterdir()) and not (out / SUMS).is_file()):
        raise UsageError(f"{out}: holds something that is no bundle; choose another --out.")
    if any(out.iterdir()) and not force:
        raise UsageError(f"{out}: exists already; overwrite with --force or choose another place.")


def check_fit(facts: Facts) -> None:
    """Refuse what would break on the board: labels and crop that are not the model's.

    Raises:
        FcaEdgeError: says which.
    """
    where, size = manifest_path(facts.path), facts.told["source"]["img_size"]
    if facts.labels is not None:
        check_count(facts.labels, facts.num_classes, str(where))
    if facts.how.crop != size:
        raise FcaEdgeError(
            f"{where}: crop {facts.how.crop}, but the model's input is {size} px; export again."
        )


def fill(folder: Path, facts: Facts, threads: int | None, exif: str) -> None:
    """Write all files of a bundle, the checksums last."""
    beside = Settings(**read_settings(facts.path))
    threads = threads or beside.threads or 1
    shutil.copyfile(facts.path, folder / facts.path.name)
    shutil.copyfile(manifest_path(facts.path), folder / manifest_path(facts.path).name)
    for path in (BOARD / "run.py", BOARD / "files.py", BOARD / "checks.py", *SHARED):
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(BOARD / LOADERS[facts.path.suffix], folder / "model.py")
    if settings_path(facts.path).is_file() and installed(facts)[0].lean:
        # Packed weights have a place of their own in a bundle.
        own = replace(beside, threads=threads, cache=None)
        document = to_document(own, facts.proven[0])
        write_json(settings_path(folder / facts.path.name), document)
        shutil.copyfile(LEAN, folder / LEAN.name)
    write_json(folder / "preprocessing.json", preprocessing_of(facts, exif))
    write_json(folder / "runtime.json", settings_of(facts, threads))
    labels = labels_of(facts)
    write_json(folder / "labels.json", labels)
    lines = [" ".join(label.split()) for label in labels]
    (folder / "labels.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme(facts), "utf-8", "surrogateescape")
    sums = [f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(sums))


def preprocessing_of(facts: Facts, exif: str) -> dict[str, Any]:
    """Say what an image goes through: as `fca_edge.decode` does, then in which layout."""
    return {**facts.how.to_dict(), "exif": exif, "input_layout": facts.layout}


def installed(facts: Facts) -> list[Runtime]:
    """List the runtimes that a file was proven on, its own first."""
    proven = [RUNTIMES[name] for name in facts.proven if name in RUNTIMES]
    # The profile names the runtime that the file is for, which may not be had where it was made.
    own = [r for r in RUNTIMES.values() if facts.told["profile"] in r.profiles]
    return list(dict.fromkeys([*own, *proven]))


def settings_of(facts: Facts, threads: int) -> dict[str, Any]:
    """Say how model.py loads the model."""
    found = installed(facts)
    providers = [runtime.provider for runtime in found if facts.path.suffix == ".onnx"]
    return {
        "model": facts.path.name,
        "packages": [shlex.join(runtime.requirements) for runtime in found],
        "modules": list(dict.fromkeys(runtime.module for runtime in found)),
        "providers": providers,
        "threads": threads,
    }


def labels_of(facts: Facts) -> list[str]:
    """Name the classes; by number where the checkpoint has no names."""
    return list(facts.labels or (f"class {number}" for number in range(facts.num_classes)))


def readme(facts: Facts) -> str:
    """Say in three lines what the folder is and how it is used."""
    source = facts.told["source"]
    runtimes = [shlex.join(runtime.requirements) for runtime in installed(facts)]
    return (
        f"{facts.path.name}: {source['variant']}, {source['img_size']} px, {facts.num_classes}"
        f" classes, {facts.told['precision']}; made by {facts.told['tool']}.\n"
        f"Install: `pip install pillow {runtimes[0]}`"
        + "".join(f" (or {other})" for other in runtimes[1:])
        + ".\nCheck: `sha256sum -c SHA256SUMS`. Run: `python run.py image.jpg`.\n"
    )
