"""Repeat the parity check of a detector's file."""

from __future__ import annotations

from collections.abc import Sequence

from fca_edge.exporting.check_inputs import CheckInputs
from fca_edge.exporting.detect.check import Expected, check_file
from fca_edge.exporting.detect.reference import find_objects, pad_some
from fca_edge.manifest import Artefact
from fca_edge.parity import Check
from fca_edge.passes.run import logits
from fca_edge.zoo.dense.detectors import Detector


def verify_detector(
    artefact: Artefact,
    network: Detector,
    inputs: CheckInputs,
    runtimes: Sequence[str],
    floor_db: float,
    threads: int,
) -> tuple[Check, ...]:
    """Measure parity of a detector's file on runtimes."""
    manifest = artefact.manifest
    inputs, extents = pad_some(inputs)
    proposals, trained = manifest.forms.get("proposals"), manifest.source.trained
    objects = find_objects(network, inputs, extents, proposals, trained)
    reference = logits(network, inputs.tensor).numpy()
    expected = Expected(inputs.tensor.float().numpy(), reference, objects)
    checks = []
    for name in runtimes:
        verdict = check_file(
            artefact.path,
            name,
            expected,
            floor_db,
            manifest.forms.get("part"),
            manifest.input_layout,
            threads,
        )
        checks.append(Check(artefact.path.name, verdict.parity, verdict.short))
    return tuple(checks)
