"""A request to verified artefacts: load, fold, trace, write, prove, then move into place."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from fca_edge.artefacts import Artefacts, Refusal, RefusedError
from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.detect.writer import DetectorWriter
from fca_edge.exporting.label_map import check_labels
from fca_edge.exporting.outputs import Output, list_outputs, list_places
from fca_edge.exporting.precise import Choose
from fca_edge.exporting.prepare import prepare
from fca_edge.exporting.program import quick_collections, release
from fca_edge.exporting.request import Request, check_detector, check_output, check_request
from fca_edge.exporting.source import load_source
from fca_edge.exporting.writer import CheckAccuracy, Report, Writer
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.manifest import Artefact, Manifest, manifest_path
from fca_edge.places import locked
from fca_edge.stopping import uncut
from fca_edge.store import move_into, refuse_existing, staging
from fca_edge.targets.call import AgentError


def run_export(
    request: Request,
    report: Report,
    check_accuracy: CheckAccuracy | None = None,
    choose: Choose | None = None,
) -> Artefacts:
    """Export everything that a request names and that is proven; the rest is refused by name.

    Args:
        report: called with a short line at each step.
        check_accuracy: has the last word on every file.
        choose: names layers of 8-bit files that stay in float.

    Raises:
        UsageError: options that do not fit together.
        RefusedError: a file is not good enough; the others are written, unless the request
            wants all or nothing.
        NotEquivalentError: a fold is not equal to the float64 network; nothing is written.
        FcaEdgeError: unusable input or output; nothing is written.
    """
    check_request(request)
    with quick_collections(), staging(request.out) as folder:
        report("loading and folding, each pass compared in float64")
        network, source = load_source(request.network)
        check_detector(request, source.variant)
        loaded = [network]
        del network  # `prepare` alone holds it from now on
        check_output(request, source.variant)
        check_labels(source, request.output)
        outputs = list_outputs(request, source.name, source.variant)
        refuse_existing(list_places(request.out, outputs), request.force)
        prepared = prepare(loaded, source, outputs, request)
        kind = Writer if prepared.objects is None else DetectorWriter
        numbered = FileReport(report, len(outputs))
        writer = kind(prepared, folder, numbered, check_accuracy, choose, request.weight_cache)
        manifests, refusals = write_all(writer, numbered, outputs, request.all_or_nothing)
        proven = [output for output in outputs if output.file in manifests]
        if proven:
            move_all(proven, folder, request.out, request.force)
    artefacts = Artefacts(Artefact(request.out / name, m) for name, m in manifests.items())
    if refusals:
        raise RefusedError(artefacts, refusals, request.out)
    return artefacts


def move_all(outputs: list[Output], folder: Path, out: Path, force: bool) -> None:
    """Move proven files into place, looking once more for others: one export at a time.

    Raises:
        FcaEdgeError: another export was quicker, and nothing may be overwritten.
    """
    with locked(out), uncut():
        refuse_existing(list_places(out, outputs), force)
        for output in outputs:
            # A manifest of an older file must not outlive it, whatever happens in between.
            manifest_path(out / output.file).unlink(missing_ok=True)
            settings_path(out / output.file).unlink(missing_ok=True)
            shutil.rmtree(cache_path(out / output.file), ignore_errors=True)
            staged = folder / output.file
            beside = [path for path in (settings_path(staged), cache_path(staged)) if path.exists()]
            move_into([staged, *beside, manifest_path(staged)], out)


@dataclass
class FileReport:
    """Reports steps with the number of the file that they are for."""

    report: Report
    total: int
    number: int = 1

    def __call__(self, text: str) -> None:
        self.report(f"file {self.number} of {self.total}: {text}")


def write_all(
    writer: Writer, numbered: FileReport, outputs: list[Output], all_or_nothing: bool
) -> tuple[dict[str, Manifest], list[Refusal]]:
    """Write and prove every output in the staging folder; returns manifests by file, refusals.

    Args:
        numbered: what the writer reports to, which is told the file.
        all_or_nothing: stop at the first refusal, without any manifest.
    """
    manifests, refusals = {}, []
    for forms, group in groupby(outputs, key=lambda output: output.forms):
        same_network = list(group)
        numbered.number = outputs.index(same_network[0]) + 1
        traced = writer.trace(writer.prepared.networks.pop(forms), same_network[0])
        release()
        for output in same_network:
            numbered.number = outputs.index(output) + 1
            try:
                manifests[output.file] = writer.write(output, traced)
            except (NotEquivalentError, AgentError) as error:
                refusals.append(Refusal(output.file, output.precision, output.profile.name, error))
                if all_or_nothing:
                    return {}, refusals
    return manifests, refusals
