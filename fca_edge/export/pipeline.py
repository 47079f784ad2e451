"""Checkpoint to verified artefacts: load, fold, trace, write, verify, then move into place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from fca_edge.export.artefact import embedded, manifest, prove, write_artefact
from fca_edge.export.manifest import manifest_path
from fca_edge.export.memory import quick_collections, release
from fca_edge.export.packed import keep_packed, write_settings
from fca_edge.export.plan import Output, Request, check
from fca_edge.export.precise import Choose, convert
from fca_edge.export.prepare import Prepared, prepare
from fca_edge.export.program import export_program
from fca_edge.harness.runtime_profile import kept_path, profile_path
from fca_edge.store import move_into, staging, write_json

Report = Callable[[str], None]
# Sees a staged file and its manifest; raises where it must not be shipped, else returns what
# the manifest keeps of it under `accuracy`.
Judge = Callable[[Path, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Exported:
    """An artefact in its folder, with its manifest."""

    path: Path
    manifest: dict[str, Any]


def run_export(
    request: Request, report: Report, judge: Judge | None = None, choose: Choose | None = None
) -> list[Exported]:
    """Export everything that a request names, or leave the folder as it was.

    Args:
        report: called with a short line at each step.
        judge: has the last word on every file.
        choose: names layers of 8-bit files that stay in float.

    Raises:
        UsageError: options that do not fit together.
        NotEquivalentError: a fold or an artefact is not equal to the float64 network.
        FcaEdgeError: unusable input or output.
    """
    check(request)
    with quick_collections(), staging(request.out) as folder:
        report("loading and folding, each pass compared in float64")
        prepared, outputs = prepare(request)
        manifests = make_all(request, prepared, outputs, folder, report, choose)
        if judge is not None:
            judge_all(judge, manifests, folder)
        for output in outputs:
            # A manifest of an older file must not outlive it, whatever happens in between.
            manifest_path(request.out / output.file).unlink(missing_ok=True)
            shutil.rmtree(kept_path(request.out / output.file), ignore_errors=True)
            staged = folder / output.file
            beside = [path for path in (profile_path(staged), kept_path(staged)) if path.exists()]
            move_into([staged, *beside, manifest_path(staged)], request.out)
    return [Exported(request.out / name, found) for name, found in manifests.items()]


def make_all(
    request: Request,
    prepared: Prepared,
    outputs: list[Output],
    folder: Path,
    report: Report,
    choose: Choose | None = None,
) -> dict[str, dict[str, Any]]:
    """Write and prove every output in the staging folder; returns the manifests by file."""
    manifests = {}
    for forms, group in groupby(outputs, key=lambda output: output.forms):
        report("tracing the network")
        network = prepared.networks.pop(forms)
        program = export_program(network, prepared.source.img_size, request.dynamic_batch)
        del network
        release()
        for output in group:
            path = folder / output.file
            metadata = embedded(prepared, output)
            report(f"writing {output.file}")
            counts = write_artefact(request, program, output, metadata, path)
            made = None
            if output.precision != "fp32":
                report(f"quantising {output.file}")
                counts, made = convert(request, prepared, output, path, choose)
            release()
            report(f"verifying {output.file}")
            parities = prove(request, prepared, program, output, metadata, path)
            manifests[output.file] = manifest(
                request, prepared, output, path, counts, parities, made
            )
            write_json(manifest_path(path), manifests[output.file])
            write_settings(path, output, manifests[output.file])
            if request.weight_cache:
                report(f"packing {output.file} for this machine")
                keep_packed(path, output, prepared)
    return manifests


def judge_all(judge: Judge, manifests: dict[str, dict[str, Any]], folder: Path) -> None:
    """Let a judge see every staged file; its findings go into the manifests."""
    for file, told in manifests.items():
        told["accuracy"] = judge(folder / file, told)
        write_json(manifest_path(folder / file), told)
