"""What a target needs to run whole frames: a bundle's runner and some pictures, in one file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from fca_edge import decode
from fca_edge.bundling.write import check_task, describe_settings, fill_python
from fca_edge.device import FRAMES
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.lean_settings import Settings, settings_path
from fca_edge.manifest import Artefact, manifest_path, read_artefact
from fca_edge.measure.jobs import Frames, Job
from fca_edge.parts import read_parts
from fca_edge.preprocess import list_images
from fca_edge.runtimes import DEFAULT_PROVIDER, Runtime
from fca_edge.store import compute_sha256, temporary, write_json

# The same content makes the same file, which a board then has already.
DATE = (1980, 1, 1, 0, 0, 0)


def choose_pictures(folder: Path, most: int) -> list[Path]:
    """Choose pictures evenly over a folder, each of which can be read.

    Raises:
        UsageError: no such folder.
        FcaEdgeError: no pictures in it, or one that cannot be read.
    """
    paths = list_images(folder).paths
    count = min(most, len(paths))
    chosen = [paths[number * len(paths) // count] for number in range(count)]
    for path in chosen:
        try:
            decode.decode(str(path))
        except decode.PictureError as error:
            raise FcaEdgeError(
                f"{path}: not a readable image ({error}); remove or replace it."
            ) from None
    return chosen


def pack_frames(
    job: Job, pictures: Sequence[Path], threads: int, draft: bool, folder: Path
) -> Frames:
    """Pack the runner of a job's file, without the file itself, and pictures.

    Args:
        draft: let the runner decode large JPEGs at a part of their size.
        folder: where the pack is written.

    Raises:
        UsageError: a job that no bundle in Python is for.
        FcaEdgeError: the file has no manifest, which says how pictures are prepared.
    """
    artefact = read_artefact(job.path)
    dense = check_task(artefact) != "classify"
    refuse(job, artefact, draft and dense)
    digests = [compute_sha256(path) for path in pictures]
    pack = folder / f"{job.path.name}-{job.runtime.name}-frames.zip"
    with temporary() as place, zipfile.ZipFile(pack, "w") as archive:
        fill_runner(place, artefact, job.runtime, threads)
        # The agent runs the file as a program, which is what this name means in it.
        archive.writestr(zipfile.ZipInfo("__main__.py", DATE), FRAMES.read_bytes())
        for path in sorted(place.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name, DATE), path.read_bytes())
        for number, path in enumerate(pictures):
            name = f"pictures/{number:05}{path.suffix.lower()}"
            archive.writestr(zipfile.ZipInfo(name, DATE), path.read_bytes())
    words = ("--force",) if dense else ("--draft",) if draft else ()
    sha256 = hashlib.sha256("".join(digests).encode()).hexdigest()
    return Frames(pack, words, len(pictures), sha256, draft)


def refuse(job: Job, artefact: Artefact, drafts_dense: bool) -> None:
    """Refuse what no runner in Python does, or not in this way.

    Raises:
        UsageError: with what to do.
    """
    if job.runtime.kits:
        raise UsageError(
            f"{job.path}: --images times runners in Python, not {job.runtime.name}; add"
            " --runtime litert, or leave --images out."
        )
    if job.settings is not None:
        raise UsageError(
            f"{job.path}: --images times files that are loaded plainly; leave --lean or --images"
            " out."
        )
    if read_parts(artefact):
        raise UsageError(
            f"{job.path}: --images times runners of one file, and this detector has several; give"
            " its ONNX file."
        )
    if drafts_dense:
        raise UsageError(
            f"{job.path}: --draft is for classifiers; this network answers for every pixel of a"
            " picture. Leave it out."
        )


def fill_runner(place: Path, artefact: Artefact, runtime: Runtime, threads: int) -> None:
    """Write what a bundle holds besides the file, for one runtime, loaded plainly."""
    fill_python(place, artefact, Settings(), threads, "apply", plain=True)
    for name in ("lean.py", settings_path(artefact.path).name, "README.md", "labels.txt"):
        (place / name).unlink(missing_ok=True)
    providers = list(dict.fromkeys((runtime.provider, DEFAULT_PROVIDER)))
    settings = describe_settings(artefact, threads)
    settings |= {"modules": [runtime.module], "providers": providers}
    write_json(place / "runtime.json", settings)
    write_json(place / manifest_path(artefact.path).name, artefact.manifest.to_document())
