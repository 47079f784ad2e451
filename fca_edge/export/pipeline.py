"""Checkpoint to verified artefacts: load, fold, trace, write, verify, then move into place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from fca_edge.errors import FcaEdgeError, NotEquivalentError
from fca_edge.export.artefact import embedded, manifest, prove, write_artefact
from fca_edge.export.diagnose import placed
from fca_edge.export.manifest import manifest_path
from fca_edge.export.packed import keep_packed, write_settings
from fca_edge.export.plan import Output, Request, check, places_of
from fca_edge.export.precise import Choose, convert
from fca_edge.export.prepare import Prepared, prepare
from fca_edge.export.program import export_program, quick_collections, release
from fca_edge.export.quantize import LARGEST_HALF, HalfOverflowError
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.places import locked
from fca_edge.stopping import uncut
from fca_edge.store import move_into, refuse_existing, staging, write_json
from fca_edge.targets.call import AgentError

Report = Callable[[str], None]
# Sees a staged file and its manifest; raises where it must not be shipped, else returns what
# the manifest keeps of it under `accuracy`.
Judge = Callable[[Path, dict[str, Any]], dict[str, Any] | None]

REFUSED_SCHEMA = "fca_edge.refused/1"


@dataclass(frozen=True)
class Exported:
    """An artefact in its folder, with its manifest."""

    path: Path
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """A file that was not written, and why."""

    output: Output
    error: FcaEdgeError

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in the place of a manifest."""
        return {
            "schema": REFUSED_SCHEMA,
            "file": self.output.file,
            "precision": self.output.precision,
            "profile": self.output.profile_name,
            "refused": str(self.error),
        }


class RefusedError(NotEquivalentError):
    """Files are not good enough; what is proven was written.

    Attributes:
        exported: what was written.
        refusals: what was not.
    """

    def __init__(self, exported: list[Exported], refusals: list[Refusal]) -> None:
        self.exported, self.refusals = exported, refusals
        super().__init__(str(refusals[0].error))


def run_export(
    request: Request, report: Report, judge: Judge | None = None, choose: Choose | None = None
) -> list[Exported]:
    """Export everything that a request names and that is proven; the rest is refused by name.

    Args:
        report: called with a short line at each step.
        judge: has the last word on every file.
        choose: names layers of 8-bit files that stay in float.

    Raises:
        UsageError: options that do not fit together.
        RefusedError: a file is not good enough; the others are written, unless the request
            wants all or nothing.
        NotEquivalentError: a fold is not equal to the float64 network; nothing is written.
        FcaEdgeError: unusable input or output; nothing is written.
    """
    check(request)
    with quick_collections(), staging(request.out) as folder:
        report("loading and folding, each pass compared in float64")
        prepared, outputs = prepare(request)
        manifests, refusals = make_all(
            request, prepared, outputs, folder, report, choose, judge or unjudged
        )
        if not (refusals and request.all_or_nothing):
            move_all(request, [o for o in outputs if o.file in manifests], folder)
        else:
            manifests = {}
    exported = [Exported(request.out / name, found) for name, found in manifests.items()]
    if refusals:
        raise RefusedError(exported, refusals)
    return exported


def unjudged(path: Path, told: dict[str, Any]) -> None:
    """Take every file that is proven."""


def move_all(request: Request, outputs: list[Output], folder: Path) -> None:
    """Move proven files into place, looking once more for others: one export at a time.

    Raises:
        FcaEdgeError: another export was quicker, and nothing may be overwritten.
    """
    with locked(request.out), uncut():
        refuse_existing(places_of(request, outputs), request.force)
        for output in outputs:
            # A manifest of an older file must not outlive it, whatever happens in between.
            manifest_path(request.out / output.file).unlink(missing_ok=True)
            settings_path(request.out / output.file).unlink(missing_ok=True)
            shutil.rmtree(cache_path(request.out / output.file), ignore_errors=True)
            staged = folder / output.file
            beside = [path for path in (settings_path(staged), cache_path(staged)) if path.exists()]
            move_into([staged, *beside, manifest_path(staged)], request.out)


def make_all(
    request: Request,
    prepared: Prepared,
    outputs: list[Output],
    folder: Path,
    report: Report,
    choose: Choose | None,
    judge: Judge,
) -> tuple[dict[str, dict[str, Any]], list[Refusal]]:
    """Write and prove every output in the staging folder; returns manifests by file, refusals."""
    manifests, refusals = {}, []
    for forms, group in groupby(outputs, key=lambda output: output.forms):
        report("tracing the network")
        network = prepared.networks.pop(forms)
        program = export_program(network, prepared.source.img_size, request.dynamic_batch)
        del network
        release()
        for output in group:
            try:
                manifests[output.file] = make_one(
                    request, prepared, program, output, folder, report, choose, judge
                )
            except (NotEquivalentError, AgentError) as error:
                refusals.append(Refusal(output, error))
                if request.all_or_nothing:
                    return {}, refusals
    return manifests, refusals


def make_one(
    request: Request,
    prepared: Prepared,
    program: ExportedProgram,
    output: Output,
    folder: Path,
    report: Report,
    choose: Choose | None,
    judge: Judge,
) -> dict[str, Any]:
    """Write and prove one output in the staging folder; returns its manifest.

    Raises:
        NotEquivalentError: it is not good enough.
        AgentError: its runtime broke down over it.
    """
    path = folder / output.file
    metadata = embedded(prepared, output)
    report(f"writing {output.file}")
    counts = write_artefact(request, program, output, metadata, path)
    made = None
    if output.precision != "fp32":
        report(f"quantising {output.file}")
        try:
            counts, made = convert(request, prepared, output, path, choose)
        except HalfOverflowError as error:
            raise NotEquivalentError(
                f"{output.file} is refused: overflow in fp16, first in"
                f" {placed(program, error.layer)}, where a constant reaches {error.largest:.3g} and"
                f" halves end at {LARGEST_HALF:.0f}; leave this precision out."
            ) from None
    release()
    report(f"verifying {output.file}")
    parities = prove(request, prepared, program, output, metadata, path)
    told = manifest(request, prepared, output, path, counts, parities, made)
    write_settings(path, output, told)
    if request.weight_cache:
        report(f"packing {output.file} for this machine")
        keep_packed(path, output, prepared)
    accuracy = judge(path, told)
    if accuracy is not None:
        told["accuracy"] = accuracy
    write_json(manifest_path(path), told)
    return told
