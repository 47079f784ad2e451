"""One artefact: described, written from a program, read back, proven on its runtimes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from fca_edge import __version__
from fca_edge.embedded import read_embedded
from fca_edge.errors import NotEquivalentError
from fca_edge.exporting import onnx as onnx_writer
from fca_edge.exporting.diagnose import (
    find_diverging_layer,
    find_infinite_layer,
    find_layer_beyond,
    locate_layer,
)
from fca_edge.exporting.modules import describe_modules
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.planned import Footprint, measure_footprint
from fca_edge.exporting.prepare import Prepared
from fca_edge.exporting.program import name_output
from fca_edge.exporting.quantize import LARGEST_HALF
from fca_edge.exporting.tflite.file import count_operators
from fca_edge.exporting.tflite.lower import to_tflite
from fca_edge.manifest import LABELS, Manifest, Parity, Verification
from fca_edge.parity import in_layout, measure, shortfall
from fca_edge.passes import tanh_gelu
from fca_edge.runtimes import RUNTIMES, available
from fca_edge.store import compute_sha256
from fca_edge.targets.call import Event


def build_manifest(prepared: Prepared, output: Output) -> Manifest:
    """Say what a file is going to be: all that is known before it is written."""
    return Manifest(
        file=output.file,
        tool=f"fca_edge {__version__}",
        torch=torch.__version__,
        precision=output.precision,
        source=prepared.source,
        profile=output.profile.name,
        forms={
            **({"opset": onnx_writer.OPSET} if output.profile.format == "onnx" else {}),
            **output.profile.describe(),
            **describe_detector(output),
        },
        optimize=output.optimize,
        approximations=list_approximations(prepared, output),
        input_layout=output.layout,
        output=output.output,
        dynamic_batch=output.dynamic_batch,
        folded=output.folded,
        passes=prepared.reports[output.forms],
    )


def describe_detector(output: Output) -> dict[str, Any]:
    """Return what a manifest's forms say of a detector's file; nothing of other networks'."""
    fields = {"part": output.part, "proposals": output.proposals}
    return {name: value for name, value in fields.items() if value is not None}


def write_artefact(
    program: ExportedProgram, output: Output, metadata: dict[str, str], path: Path
) -> tuple[dict[str, int], dict[str, str]]:
    """Write the file, metadata last, and read the metadata back.

    Returns:
        Its operators by type, and its metadata, which also say where its operators came from.

    Raises:
        NotEquivalentError: the metadata did not survive.
    """
    if output.profile.format == "onnx":
        model, modules = onnx_writer.convert_to_onnx(program, simplify=output.folded)
        metadata = {**metadata, **modules}
        return onnx_writer.write(model, metadata, path), metadata
    metadata = {**metadata, **describe_modules(program, [name_output(program)])}
    to_tflite(program, output.profile, json.dumps(metadata), path, output.layout)
    if read_embedded(path) != metadata:
        raise NotEquivalentError(f"{output.file}: its metadata cannot be read back.")
    return count_operators(path), metadata


def prove_artefact(
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
    for name in output.profile.list_runtimes(output.output):
        if name != output.profile.runtimes[0] and not available(RUNTIMES[name]):
            continue
        for together in (False, True) if output.dynamic_batch else (False,):
            parity, events = measure(path, name, inputs, prepared.reference, together=together)
            short = shortfall(parity, output.profile.snr_floor_db)
            if short:
                raise NotEquivalentError(
                    f"{output.file} is refused: {short};"
                    f" {explain_refusal(program, output, path, prepared, parity)}."
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
    if not output.profile.half_arithmetic:
        return
    beyond = find_layer_beyond(program, prepared.images, LARGEST_HALF)
    if beyond is not None:
        layer, peak = beyond
        raise NotEquivalentError(
            f"{output.file} is refused: overflow in fp16, first in"
            f" {locate_layer(program, layer)}, which reaches {peak:.3g} where"
            f" halves end at {LARGEST_HALF:.0f}; leave --profile {output.profile.name} out."
        )


def explain_refusal(
    program: ExportedProgram, output: Output, path: Path, prepared: Prepared, parity: Parity
) -> str:
    """Say where a refused file goes wrong: in smaller precisions every layer is a little off."""
    runtime = parity.runtime
    if not parity.finite:
        layer = find_infinite_layer(program, output, path, prepared.images[:1], runtime)
        return f"overflow in {output.precision}, first in {layer}"
    if output.output == LABELS:
        return "an export of its logits tells the first diverging layer (--output logits)"
    if output.precision != "fp32":
        return "keep layers in float (--keep-float) or leave this precision out"
    image = prepared.images[:1]
    layer_name = find_diverging_layer(program, output, path, image, runtime)
    return f"first diverging layer: {layer_name}"


def check_delegation(output: Output, runtime: str, loaded: Event) -> None:
    """Refuse a file that its own runtime's delegate does not take whole, if that is promised.

    Raises:
        NotEquivalentError: several partitions, or operators outside the only one.
    """
    # No delegate takes the choice of the best class.
    whole = output.profile.whole and output.output != LABELS
    is_promised = whole and runtime == output.profile.runtimes[0]
    if is_promised and (loaded["partitions"] != 1 or loaded["undelegated"]):
        raise NotEquivalentError(
            f"{output.file} is refused: {loaded['delegate']} takes it in {loaded['partitions']}"
            f" partitions with {loaded['undelegated']} operators between, not whole."
        )


def list_unchecked_runtimes(output: Output, parities: list[Parity]) -> tuple[str, ...]:
    """Name the runtimes on which a file should have been checked and was not."""
    checked_runtimes = {parity.runtime for parity in parities}
    return tuple(
        name for name in output.profile.list_runtimes(output.output) if name not in checked_runtimes
    )


def list_approximations(prepared: Prepared, output: Output) -> tuple[str, ...]:
    """Name what is not exact in real arithmetic."""
    for report in prepared.reports[output.forms]:
        if report.name == tanh_gelu.NAME and report.rewrote:
            done, total = len(report.rewrote), len(report.rewrote) + len(report.skipped)
            return (f"gelu: tanh form instead of erf at {done} of {total} sites",)
    return ()


def complete_manifest(
    manifest: Manifest,
    prepared: Prepared,
    output: Output,
    path: Path,
    counts: dict[str, int],
    parities: list[Parity],
    quantization: dict[str, Any] | None = None,
) -> Manifest:
    """Add to a manifest what is known of the finished file: identity, cost by its graph, proof."""
    inputs = prepared.inputs
    # How many boxes there are, and so what a detector's graph costs, its picture decides.
    is_open = prepared.objects is not None and output.part is None
    graph = Footprint(None, None) if is_open else measure_footprint(path)
    return replace(
        manifest,
        sha256=compute_sha256(path),
        bytes=path.stat().st_size,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        quantization=quantization,
        operators=dict(sorted(counts.items(), key=lambda item: -item[1])),
        macs=graph.macs,
        planned=graph.planned,
        verification=Verification(
            images=inputs.folder,
            images_sha256=inputs.sha256,
            pictures=inputs.pictures,
            seed=inputs.seed,
            checks=inputs.count,
            fold_max_abs_error=prepared.fold_error,
            floor_db=output.profile.snr_floor_db,
            runtimes=tuple(parities),
            not_checked_on=list_unchecked_runtimes(output, parities),
        ),
    )
