"""Writes one output after the other into the staging folder, and proves it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.artefact import (
    build_manifest,
    complete_manifest,
    prove_artefact,
    write_artefact,
)
from fca_edge.exporting.diagnose import locate_layer
from fca_edge.exporting.label_map import answer_with
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.packed import keep_packed, write_settings
from fca_edge.exporting.precise import Choose, convert
from fca_edge.exporting.prepare import Prepared
from fca_edge.exporting.program import export_program, release
from fca_edge.exporting.quantize import LARGEST_HALF, HalfOverflowError
from fca_edge.manifest import Artefact, Manifest, Parity, manifest_path
from fca_edge.store import write_json

Report = Callable[[str], None]
# Sees a staged file; raises if it must not be shipped, else returns what the manifest keeps
# of it under `accuracy`.
CheckAccuracy = Callable[[Artefact], dict[str, Any] | None]


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

    def trace(self, network: nn.Module, output: Output) -> Any:
        """Trace a float32 network for outputs of the same forms: what `write` takes."""
        self.report("tracing the network")
        source = self.prepared.source
        network = answer_with(output.output, network, source, output.profile.whole)
        return export_program(network, source.img_size, output.dynamic_batch)

    def write(self, output: Output, program: Any) -> Manifest:
        """Write and prove one output, with what stands beside it; returns its manifest.

        Raises:
            NotEquivalentError: it is not good enough.
            AgentError: its runtime broke down over it.
        """
        path, prepared = self.folder / output.file, self.prepared
        manifest = build_manifest(prepared, output)
        self.report(f"writing {output.file}")
        counts, metadata = self.write_file(program, output, manifest.to_embedded(), path)
        quantization = None
        if output.precision != "fp32":
            self.report(f"quantising {output.file}")
            counts, quantization = self.quantise(manifest, output, program, path)
        release()
        self.report(f"verifying {output.file}")
        parities = self.prove(program, output, metadata, path)
        manifest = complete_manifest(
            manifest, prepared, output, path, counts, parities, quantization
        )
        if manifest.planned is not None:
            write_settings(path, output, manifest.planned.arena_bytes)
        if self.weight_cache:
            self.report(f"packing {output.file} for this machine")
            keep_packed(path, output, prepared)
        if self.check_accuracy is not None:
            manifest = replace(manifest, accuracy=self.check_accuracy(Artefact(path, manifest)))
        write_json(manifest_path(path), manifest.to_document())
        return manifest

    def write_file(
        self, program: ExportedProgram, output: Output, metadata: dict[str, str], path: Path
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Write an fp32 file; returns its operators by type, and its metadata."""
        return write_artefact(program, output, metadata, path)

    def prove(
        self, program: ExportedProgram, output: Output, metadata: dict[str, str], path: Path
    ) -> list[Parity]:
        """Compare a file with the float64 network; see `prove_artefact`."""
        return prove_artefact(self.prepared, program, output, metadata, path)

    def locate(self, program: ExportedProgram, layer: str) -> str:
        """Write a layer with the module that it is in."""
        return locate_layer(program, layer)

    def quantise(
        self, manifest: Manifest, output: Output, program: Any, path: Path
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
                f" {self.locate(program, error.layer)}, where a constant reaches"
                f" {error.largest:.3g} and halves end at"
                f" {LARGEST_HALF:.0f}; leave this precision out."
            ) from None
