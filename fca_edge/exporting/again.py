"""Repeat the parity check of an artefact that stands in its folder.

What its manifest says is believed only where that makes the check no easier: floors are those of
this tool's table, and what follows from the file is counted again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.exporting import onnx
from fca_edge.exporting.check_inputs import CheckInputs, make_inputs
from fca_edge.exporting.detect.again import verify_detector
from fca_edge.exporting.forms import Profile, choose_profile
from fca_edge.exporting.planned import measure_footprint
from fca_edge.exporting.quantize import STATIC
from fca_edge.exporting.request import LEAST_CHECKS, build_network_request
from fca_edge.exporting.source import load_source
from fca_edge.exporting.tflite import file as tflite
from fca_edge.manifest import Artefact, Source, Verification, manifest_path
from fca_edge.parity import Check, in_layout, measure, shortfall
from fca_edge.passes.run import logits
from fca_edge.runtimes import RUNTIMES, available, interpreter
from fca_edge.zoo.dense.detectors import Detector
from fca_edge.zoo.specs import find_task


@dataclass(frozen=True)
class Verified:
    """The parity of one artefact on its runtimes, and what to say of it."""

    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def verify_again(
    artefact: Artefact,
    checkpoint: Path | None,
    weights: str | None,
    images: Path | None,
    threads: int,
) -> Verified:
    """Measure parity on every runtime that is set up.

    Raises:
        FcaEdgeError: the checkpoint is not the manifest's, nothing was verified, or the manifest
            says something else than what is counted in the file.
        UsageError: a trained artefact without its checkpoint, or a static one without images.
    """
    manifest, proof = artefact.manifest, artefact.manifest.verification
    profile, floor_db = find_profile(artefact), find_floor(artefact)
    runtimes = list_runtimes(profile, manifest.output)
    network, source = load_source(build_network_request(artefact, checkpoint, weights))
    inputs = choose_inputs(artefact, source, images)
    checks: tuple[Check, ...] = ()
    if isinstance(network, Detector):
        checks = verify_detector(artefact, network, inputs, runtimes, floor_db, threads)
        check_counts(artefact)
        return Verified(checks, list_notes(artefact.path.name, proof, inputs))
    reference = logits(network, inputs.tensor).numpy()
    arrays = in_layout(inputs.tensor.float().numpy(), manifest.input_layout)
    for name in runtimes:
        for together in (False, True) if manifest.dynamic_batch else (False,):
            parity, _ = measure(artefact.path, name, arrays, reference, threads, together)
            checks += (Check(artefact.path.name, parity, shortfall(parity, floor_db)),)
    check_counts(artefact)
    return Verified(checks, list_notes(artefact.path.name, proof, inputs))


def find_profile(artefact: Artefact) -> Profile:
    """Return the profile that a file of its kind is written for, by this tool's table.

    Raises:
        FcaEdgeError: its manifest names none that the file can have.
    """
    manifest, where = artefact.manifest, manifest_path(artefact.path)
    try:
        profile = choose_profile(manifest.profile, manifest.precision, fold=manifest.folded)
    except UsageError as error:
        raise FcaEdgeError(f"{where}: {error}") from None
    if artefact.path.suffix != f".{profile.format}":
        raise FcaEdgeError(f"{where}: profile {profile.name} is for .{profile.format} files.")
    return replace(profile, task=find_task(manifest.source.variant))


def find_floor(artefact: Artefact) -> float:
    """Return the least signal-to-noise ratio that is taken: a manifest can only raise it.

    Raises:
        FcaEdgeError: the file was never verified.
    """
    stated = artefact.manifest.verification.floor_db
    if stated is None:
        raise FcaEdgeError(f"{artefact.path}: was never verified; export the artefact again.")
    return max(stated, find_profile(artefact).snr_floor_db)


def list_runtimes(profile: Profile, answer: str) -> list[str]:
    """Runtimes on which an artefact must be right: its own, and others that are set up here.

    Raises:
        TargetUnavailableError: its own is not set up.
    """
    usual, *others = profile.list_runtimes(answer)
    interpreter(RUNTIMES[usual])
    return [usual, *(name for name in others if available(RUNTIMES[name]))]


def choose_inputs(artefact: Artefact, source: Source, images: Path | None) -> CheckInputs:
    """Read the images that are given, else draw the noise that the manifest's seed tells.

    Raises:
        UsageError: a static file, which is right for pictures like its own, without images.
    """
    manifest, proof = artefact.manifest, artefact.manifest.verification
    if images is None and proof.images is not None and manifest.precision == STATIC:
        raise UsageError(
            f"{artefact.path}: was proven on pictures of '{proof.images}', and noise is outside of"
            " what it was made for; name that folder with --images."
        )
    return make_inputs(source, max(proof.checks, LEAST_CHECKS), proof.seed, images)


def list_notes(file: str, proof: Verification, inputs: CheckInputs) -> tuple[str, ...]:
    """Say where a file was not verified on what it was proven on."""
    if proof.images is None or inputs.sha256 == proof.images_sha256 is not None:
        return ()
    now = "seeded noise" if inputs.folder is None else f"other pictures, of '{inputs.folder}'"
    return (f"{file}: was proven on pictures of '{proof.images}', now on {now} (--images).",)


def check_counts(artefact: Artefact) -> None:
    """Count again what a manifest says of the file's graph; records and gates rely on it.

    Raises:
        FcaEdgeError: names what differs.
    """
    manifest, path = artefact.manifest, artefact.path
    count = onnx.count_operators if path.suffix == ".onnx" else tflite.count_operators
    try:
        counted: dict[str, Any] = {"operators": count(path)}
        if manifest.planned is not None or manifest.macs is not None:
            graph = measure_footprint(path)
            counted |= {"macs": graph.macs, "planned": graph.planned}
    except Exception as error:  # a graph that a runtime takes can still be odd in any way
        reason = str(error).splitlines()[:1] or [type(error).__name__]
        raise FcaEdgeError(f"{path}: its graph cannot be counted ({reason[0]}).") from None
    for name, value in counted.items():
        stated = getattr(manifest, name)
        if stated and stated != value:
            raise FcaEdgeError(
                f"{manifest_path(path)}: {name}: is not what the file has; export the artefact"
                " again."
            )
