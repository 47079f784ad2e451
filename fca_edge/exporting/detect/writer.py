"""Writes and proves a detector's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from fca_edge.errors import NotEquivalentError
from fca_edge.exporting import onnx as onnx_writer
from fca_edge.exporting.detect.model import build_model
from fca_edge.exporting.detect.prove import measure_detector
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.program import export_program
from fca_edge.exporting.writer import Writer
from fca_edge.manifest import Parity
from fca_edge.parity import shortfall
from fca_edge.runtimes import RUNTIMES, available
from fca_edge.zoo.dense.detectors import Detector


@dataclass(frozen=True)
class Traced:
    """A float32 detector and the program of the part that sees the picture."""

    network: Detector
    picture: ExportedProgram


class DetectorWriter(Writer):
    """Writes files of a detector: one in ONNX, one for each part in TFLite."""

    def trace(self, network: nn.Module, output: Output) -> Traced:
        assert isinstance(network, Detector)
        self.report("tracing the network")
        return Traced(network, export_program(network, self.prepared.source.img_size))

    def write_file(
        self, program: Any, output: Output, metadata: dict[str, str], path: Path
    ) -> dict[str, int]:
        assert self.prepared.objects is not None
        side = self.prepared.source.img_size
        model = build_model(
            program.picture,
            program.network,
            (side, side),
            self.prepared.objects.proposals,
            simplify=output.folded,
        )
        return onnx_writer.write(model, metadata, path)

    def prove(
        self, program: Any, output: Output, metadata: dict[str, str], path: Path
    ) -> list[Parity]:
        """Measure parity on every runtime that is set up; the file's own must be.

        Raises:
            NotEquivalentError: below the profile's floor; names the part that is.
        """
        prepared, parities = self.prepared, []
        assert prepared.objects is not None
        for name in output.profile.runtimes:
            if name != output.profile.runtimes[0] and not available(RUNTIMES[name]):
                continue
            parity, errors, events = measure_detector(
                path, name, prepared.images, prepared.reference, prepared.objects
            )
            short = shortfall(parity, output.profile.snr_floor_db)
            if short:
                raise NotEquivalentError(f"{output.file} is refused: {errors.part} has {short}.")
            parities.append(parity)
        return parities

    def locate(self, program: Any, layer: str) -> str:
        """Name a layer; parts of a detector have their names in it."""
        return layer
