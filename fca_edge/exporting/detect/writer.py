"""Writes and proves a detector's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from fca_edge.embedded import read_embedded
from fca_edge.errors import NotEquivalentError
from fca_edge.exporting import onnx as onnx_writer
from fca_edge.exporting.artefact import check_delegation
from fca_edge.exporting.detect.check import Expected, check_file
from fca_edge.exporting.detect.choice import SMALL_BLOCKS, USUAL_BLOCKS, Blocks
from fca_edge.exporting.detect.model import PICTURE, PICTURE_OUTPUTS, build_model
from fca_edge.exporting.detect.parts import name_outputs, trace_part
from fca_edge.exporting.modules import describe_modules
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.program import export_program
from fca_edge.exporting.tflite.file import count_operators
from fca_edge.exporting.tflite.lower import to_tflite
from fca_edge.exporting.writer import Writer
from fca_edge.manifest import Manifest, Parity
from fca_edge.runtimes import RUNTIMES, available
from fca_edge.sizes import split_size
from fca_edge.zoo.dense.detectors import Detector


@dataclass(frozen=True)
class Traced:
    """A float32 detector and the program of the part that sees the picture."""

    network: Detector
    picture: ExportedProgram


def choose_blocks(output: Output) -> Blocks:
    """Choose how many boxes go through a head at once; all in a network as it was trained."""
    if not output.folded:
        return Blocks()
    return SMALL_BLOCKS if output.optimize == "memory" else USUAL_BLOCKS


class DetectorWriter(Writer):
    """Writes files of a detector: one in ONNX, one for each part in TFLite."""

    def trace(self, network: nn.Module, output: Output) -> Traced:
        assert isinstance(network, Detector)
        self.report("tracing the network")
        return Traced(network, export_program(network, self.prepared.source.img_size))

    def write(self, output: Output, program: Traced) -> Manifest:
        if output.part is None:
            return super().write(output, program)
        size = split_size(self.prepared.source.img_size)
        return super().write(output, trace_part(program.network, output.part, size))

    def write_file(
        self, program: Any, output: Output, metadata: dict[str, str], path: Path
    ) -> tuple[dict[str, int], dict[str, str]]:
        assert self.prepared.objects is not None
        if output.part is not None:
            names = name_outputs(output.part)
            metadata = {**metadata, **describe_modules(program, names)}
            to_tflite(program, output.profile, json.dumps(metadata), path, output.layout, names)
            return count_operators(path), metadata
        model = build_model(
            program.picture,
            program.network,
            split_size(self.prepared.source.img_size),
            self.prepared.objects.proposals,
            choose_blocks(output),
            simplify=output.folded,
        )
        metadata = {**metadata, **describe_modules(program.picture, PICTURE_OUTPUTS, PICTURE)}
        return onnx_writer.write(model, metadata, path), metadata

    def prove(
        self, program: Any, output: Output, metadata: dict[str, str], path: Path
    ) -> list[Parity]:
        """Measure parity on every runtime that is set up; the file's own must be.

        Raises:
            NotEquivalentError: below the profile's floor; names the tensor that is.
        """
        prepared, parities = self.prepared, []
        assert prepared.objects is not None
        if read_embedded(path) != metadata:
            raise NotEquivalentError(f"{output.file}: its metadata cannot be read back.")
        expected = Expected(prepared.images, prepared.reference, prepared.objects)
        for name in output.profile.runtimes:
            if name != output.profile.runtimes[0] and not available(RUNTIMES[name]):
                continue
            verdict = check_file(
                path, name, expected, output.profile.snr_floor_db, output.part, output.layout
            )
            if verdict.short:
                raise NotEquivalentError(f"{output.file} is refused: {verdict.short}.")
            check_delegation(output, name, verdict.events["loaded"])
            parities.append(verdict.parity)
        return parities

    def locate(self, program: Any, layer: str) -> str:
        """Name a layer; parts of a detector have their names in it."""
        return layer
