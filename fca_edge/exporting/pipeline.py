"""A request to verified artefacts: load, fold, trace, write, prove, then move into place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from fca_edge.artefacts import Artefacts, Refusal, RefusedError
from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.artefact import (
    build_manifest,
    complete_manifest,
    prove_artefact,
    write_artefact,
)
from fca_edge.exporting.diagnose import locate_layer
from fca_edge.exporting.label_map import answer_with, check_labels
from fca_edge.exporting.outputs import Output, list_outputs, list_places
from fca_edge.exporting.packed import keep_packed, write_settings
from fca_edge.exporting.precise import Choose, convert
from fca_edge.exporting.prepare import Prepared, prepare
from fca_edge.exporting.program import export_program, quick_collections, release
from fca_edge.exporting.quantize import LARGEST_HALF, HalfOverflowError
from fca_edge.exporting.request import Request, check_output, check_request
from fca_edge.exporting.source import load_source
from fca_edge.lean_settings import cache_path, settings_path
from fca_edge.manifest import Artefact, Manifest, manifest_path
from fca_edge.places import locked
from fca_edge.stopping import uncut
from fca_edge.store import move_into, refuse_existing, staging, write_json
from fca_edge.targets.call import AgentError

Report = Callable[[str], None]
# Sees a staged file; raises if it must not be shipped, else returns what the manifest keeps
# of it under `accuracy`.
CheckAccuracy = Callable[[Artefact], dict[str, Any] | None]


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
        loaded = [network]
        del network  # `prepare` alone holds it from now on
        check_output(request, source.variant)
        check_labels(source, request.output)
        outputs = list_outputs(request, source.name)
        refuse_existing(list_places(request.out, outputs), request.force)
        prepared = prepare(loaded, source, outputs, request)
        writer = Writer(prepared, folder, report, check_accuracy, choose, request.weight_cache)
        manifests, refusals = write_all(writer, outputs, request.all_or_nothing)
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


def write_all(
    writer: Writer, outputs: list[Output], all_or_nothing: bool
) -> tuple[dict[str, Manifest], list[Refusal]]:
    """Write and prove every output in the staging folder; returns manifests by file, refusals.

    Args:
        all_or_nothing: stop at the first refusal, without any manifest.
    """
    manifests, refusals = {}, []
    for forms, group in groupby(outputs, key=lambda output: output.forms):
        same_network = list(group)
        writer.report("tracing the network")
        source, first = writer.prepared.source, same_network[0]
        network = answer_with(
            first.output, writer.prepared.networks.pop(forms), source, first.profile.whole
        )
        program = export_program(network, source.img_size, first.dynamic_batch)
        del network
        release()
        for output in same_network:
            try:
                manifests[output.file] = writer.write(output, program)
            except (NotEquivalentError, AgentError) as error:
                refusals.append(Refusal(output.file, output.precision, output.profile.name, error))
                if all_or_nothing:
                    return {}, refusals
    return manifests, refusals


@dataclass(frozen=True)
class Writer:
    """Writes one output after the other into the staging folder, and proves it there.

    Attributes:
        weight_cache: pack the weights for this machine, too.
    """

    prepared: Prepared
    folder: Path
    report: Report
    check_accuracy: CheckAccuracy | None
    choose: Choose | None
    weight_cache: bool

    def write(self, output: Output, program: ExportedProgram) -> Manifest:
        """Write and prove one output, with what stands beside it; returns its manifest.

        Raises:
            NotEquivalentError: it is not good enough.
            AgentError: its runtime broke down over it.
        """
        path, prepared = self.folder / output.file, self.prepared
        manifest = build_manifest(prepared, output)
        metadata = manifest.to_embedded()
        self.report(f"writing {output.file}")
        counts, quantization = write_artefact(program, output, metadata, path), None
        if output.precision != "fp32":
            self.report(f"quantising {output.file}")
            counts, quantization = self.quantise(manifest, output, program, path)
        release()
        self.report(f"verifying {output.file}")
        parities = prove_artefact(prepared, program, output, metadata, path)
        manifest = complete_manifest(
            manifest, prepared, output, path, counts, parities, quantization
        )
        assert manifest.planned is not None
        write_settings(path, output, manifest.planned.arena_bytes)
        if self.weight_cache:
            self.report(f"packing {output.file} for this machine")
            keep_packed(path, output, prepared)
        if self.check_accuracy is not None:
            manifest = replace(manifest, accuracy=self.check_accuracy(Artefact(path, manifest)))
        write_json(manifest_path(path), manifest.to_document())
        return manifest

    def quantise(
        self, manifest: Manifest, output: Output, program: ExportedProgram, path: Path
    ) -> tuple[dict[str, int], dict[str, Any]]:
        """Replace a written fp32 file by its smaller one.

        Raises:
            NotEquivalentError: a constant is too large for half precision.
        """
        try:
            return convert(manifest, output, path, self.choose)
        except HalfOverflowError as error:
            raise NotEquivalentError(
                f"{output.file} is refused: overflow in fp16, first in"
                f" {locate_layer(program, error.layer)}, where a constant reaches"
                f" {error.largest:.3g} and halves end at"
                f" {LARGEST_HALF:.0f}; leave this precision out."
            ) from None
