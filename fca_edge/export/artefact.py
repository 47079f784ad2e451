"""One artefact: written from a program, read back, proven on its runtimes, described."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from fca_edge import __version__
from fca_edge.errors import NotEquivalentError
from fca_edge.export import onnx as onnx_writer
from fca_edge.export.diagnose import (
    first_beyond,
    first_diverging_layer,
    first_infinite_layer,
    placed,
)
from fca_edge.export.manifest import SCHEMA
from fca_edge.export.plan import Output, Request
from fca_edge.export.planned import footprint
from fca_edge.export.prepare import Prepared
from fca_edge.export.quantize import LARGEST_HALF
from fca_edge.export.tflite.file import operator_counts, read_metadata
from fca_edge.export.tflite.lower import to_tflite
from fca_edge.passes import tanh_gelu
from fca_edge.runtimes import RUNTIMES, available
from fca_edge.store import sha256_of
from fca_edge.targets.call import Event
from fca_edge.verify import Parity, in_layout, measure, shortfall


def embedded(prepared: Prepared, output: Output) -> dict[str, str]:
    """Return the metadata that goes into the file itself."""
    source = prepared.source
    passes = [report.name for report in prepared.reports[output.forms] if report.rewrote]
    return {
        "name": source.name,
        "variant": source.variant,
        "trained": json.dumps(source.trained),
        "checkpoint_sha256": source.checkpoint_sha256 or "",
        "preprocessing": json.dumps(source.preprocessing),
        "img_size": str(source.img_size),
        "num_classes": str(source.num_classes),
        "labels": json.dumps(source.labels),
        "input_layout": output.layout,
        "profile": output.profile_name,
        "precision": output.precision,
        "passes": json.dumps(passes),
        "tool": f"fca_edge {__version__}",
    }


def write_artefact(
    request: Request, program: ExportedProgram, output: Output, metadata: dict[str, str], path: Path
) -> dict[str, int]:
    """Write the file, metadata last, and read the metadata back; returns its operators by type.

    Raises:
        NotEquivalentError: the metadata did not survive.
    """
    if output.profile is None:
        model = onnx_writer.to_onnx(program, simplify=request.fold)
        return onnx_writer.write(model, metadata, path)
    text = json.dumps(metadata)
    to_tflite(program, output.profile, text, path, output.layout)
    if read_metadata(path) != text:
        raise NotEquivalentError(f"{output.file}: its metadata cannot be read back.")
    return operator_counts(path)


def prove(
    request: Request,
    prepared: Prepared,
    program: ExportedProgram,
    output: Output,
    metadata: dict[str, str],
    path: Path,
) -> list[Parity]:
    """Measure parity on every runtime that is set up; the file's own must be.

    A file with dynamic batch is run with one input at a time and with all as one batch.

    Raises:
        NotEquivalentError: below the profile's floor; names the first diverging layer.
        TargetUnavailableError: the file's own runtime is not set up.
        NotEquivalentError: not delegated as promised.
    """
    refuse_overflow(program, output, prepared)
    inputs = in_layout(prepared.images, output.layout)
    parities = []
    for name in output.runtimes:
        if name != output.runtimes[0] and not available(RUNTIMES[name]):
            continue
        for together in (False, True) if request.dynamic_batch else (False,):
            parity, events = measure(path, name, inputs, prepared.reference, together=together)
            short = shortfall(parity, output.floor_db)
            if short:
                raise NotEquivalentError(
                    f"{output.file} is refused: {short};"
                    f" {blame(program, output, path, prepared, parity)}."
                )
            parities.append(parity)
        if name == "onnxruntime" and events["loaded"]["metadata"] != metadata:
            raise NotEquivalentError(f"{output.file}: its metadata cannot be read back.")
        check_delegation(output, name, events["loaded"])
    return parities


def refuse_overflow(program: ExportedProgram, output: Output, prepared: Prepared) -> None:
    """Refuse a file whose board computes in half what does not fit there; this machine does not.

    Raises:
        NotEquivalentError: names the first such layer.
    """
    if output.profile is None or not output.profile.half_arithmetic:
        return
    beyond = first_beyond(program, prepared.images, LARGEST_HALF)
    if beyond is not None:
        layer, peak = beyond
        raise NotEquivalentError(
            f"{output.file} is refused: overflow in fp16, first in {placed(program, layer)}, which"
            f" reaches {peak:.3g} where halves end at {LARGEST_HALF:.0f};"
            f" leave --profile {output.profile_name} out."
        )


def blame(
    program: ExportedProgram, output: Output, path: Path, prepared: Prepared, parity: Parity
) -> str:
    """Say where a refused file goes wrong: in smaller precisions every layer is a little off."""
    runtime = parity.runtime
    if not parity.finite:
        layer = first_infinite_layer(program, output, path, prepared.images[:1], runtime)
        return f"overflow in {output.precision}, first in {layer}"
    if output.precision != "fp32":
        return "keep layers in float (--keep-float) or leave this precision out"
    image = prepared.images[:1]
    found = first_diverging_layer(program, output, path, image, runtime)
    return f"first diverging layer: {found}"


def check_delegation(output: Output, runtime: str, loaded: Event) -> None:
    """Refuse a file that its own runtime's delegate does not take whole, where that is promised.

    Raises:
        NotEquivalentError: several partitions, or operators outside the only one.
    """
    promised = output.profile is not None and output.profile.whole and runtime == output.runtimes[0]
    if promised and (loaded["partitions"] != 1 or loaded["undelegated"]):
        raise NotEquivalentError(
            f"{output.file} is refused: {loaded['delegate']} takes it in {loaded['partitions']}"
            f" partitions with {loaded['undelegated']} operators between, not whole."
        )


def unchecked(output: Output, parities: list[Parity]) -> list[str]:
    """Name the runtimes on which a file should have been checked and was not."""
    done = {parity.runtime for parity in parities}
    return [name for name in output.runtimes if name not in done]


def approximations(prepared: Prepared, output: Output) -> list[str]:
    """Name what is not exact in real arithmetic."""
    for report in prepared.reports[output.forms]:
        if report.name == tanh_gelu.NAME and report.rewrote:
            done, total = len(report.rewrote), len(report.rewrote) + len(report.skipped)
            return [f"gelu: tanh form instead of erf at {done} of {total} sites"]
    return []


def manifest(
    request: Request,
    prepared: Prepared,
    output: Output,
    path: Path,
    counts: dict[str, int],
    parities: list[Parity],
    quantization: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe an artefact: identity, source, forms, passes, cost by its graph, and proof."""
    found = footprint(path)
    return {
        "schema": SCHEMA,
        "file": output.file,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tool": f"fca_edge {__version__}",
        "torch": torch.__version__,
        "precision": output.precision,
        "quantization": quantization,
        "trained": prepared.source.trained,
        "source": asdict(prepared.source),
        "profile": output.profile_name,
        "forms": {
            **(asdict(output.profile) if output.profile else {"opset": onnx_writer.OPSET}),
            **asdict(output.forms),
        },
        "optimize": request.optimize,
        "approximations": approximations(prepared, output),
        "input_layout": output.layout,
        "dynamic_batch": request.dynamic_batch,
        "folded": request.fold,
        "passes": [asdict(report) for report in prepared.reports[output.forms]],
        "operators": dict(sorted(counts.items(), key=lambda item: -item[1])),
        "macs": found.macs,
        "planned": asdict(found.planned),
        "verification": {
            "images": str(request.pictures.resolve()) if request.pictures else None,
            "pictures": prepared.pictures,
            "seed": request.wanted.seed,
            "checks": request.checks,
            "fold_max_abs_error": prepared.fold_error,
            "floor_db": output.floor_db,
            "runtimes": [parity.to_dict() for parity in parities],
            "not_checked_on": unchecked(output, parities),
        },
    }
