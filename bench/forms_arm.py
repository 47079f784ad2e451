"""Which forms are cheapest on ARM: variants of one network, counted under emulation.

    python bench/forms_arm.py [RUNTIME ...] [--only WORD] [--variant l1]

One inference after one warm-up, 1 thread. dB are against float64, on this machine. The winners
stand in fca_edge/export/forms.py, the tables in docs/forms.md.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from forms_candidates import APART, CANDIDATES, Candidate
from rich.console import Console
from torch import Tensor, nn

from fca_edge.commands.shared import table
from fca_edge.errors import FcaEdgeError
from fca_edge.export import onnx as onnx_writer
from fca_edge.export.forms import (
    APPROXIMATE_MARGIN_DB,
    APPROXIMATE_SNR_DB,
    ONNX_FORMS,
    PROFILES,
    Forms,
    Profile,
)
from fca_edge.export.prepare import form_passes
from fca_edge.export.program import export_program, to_float32
from fca_edge.export.tflite.file import operator_counts
from fca_edge.export.tflite.lower import to_tflite
from fca_edge.measure.jobs import job_for
from fca_edge.measure.session import build_plan
from fca_edge.passes.base import clone_tree
from fca_edge.passes.run import DEFAULT_PASSES, apply, fold, logits
from fca_edge.passes.tanh_gelu import approximate_gelu
from fca_edge.records import Plan
from fca_edge.targets.resolve import resolve
from fca_edge.verify import in_layout, measure
from fca_edge.zoo.build import build, spec_of
from fca_edge.zoo.randomise import randomise

OUT = Path(__file__).with_name("out") / "forms_arm"
CHECKS, CALIBRATION = 2, 6
TIMEOUT_SECONDS = 3000.0
PLAN = Plan(threads=1, batch=1, warmups=1, iterations=1, processes=1)
# Runtime -> where it is counted, and its profile; None writes ONNX.
PLACES: dict[str, tuple[str, Profile | None]] = {
    "litert": ("qemu:aarch64", PROFILES["modern"]),
    "onnxruntime": ("qemu:aarch64", None),
    "tflite-2.14": ("qemu:armv7", PROFILES["tflite-2.14"]),
}


@dataclass(frozen=True)
class Subject:
    """The network in float64, folded once for each list of passes; images and their logits."""

    size: int
    folded: dict[tuple[Any, ...], nn.Module]
    images: Tensor
    reference: Tensor


def subject_of(variant: str) -> Subject:
    size = spec_of(variant).img_size
    network = randomise(build(variant)).double()
    images = noise(CHECKS, size, seed=0).double()
    folded = {passes: fold(network, images[:1], passes)[0] for passes in (DEFAULT_PASSES, APART)}
    return Subject(size, folded, images, logits(network, images))


def noise(count: int, size: int, seed: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def network_of(subject: Subject, candidate: Candidate, forms: Forms) -> nn.Module:
    """Return the float32 network of a candidate; the passes of its forms are proved again."""
    network = subject.folded[candidate.passes]
    for step in form_passes(forms):
        network, _, _ = apply(step, network, subject.reference[:1], subject.images[:1])
    for swap in candidate.swaps:
        network = swap(network)
    network = clone_tree(network)
    to_float32([network])
    if forms.gelu == "tanh":
        wanted = APPROXIMATE_SNR_DB + APPROXIMATE_MARGIN_DB
        calibration = noise(CALIBRATION, subject.size, seed=1)
        exact = logits(subject.folded[candidate.passes], calibration.double())
        network, _ = approximate_gelu(network, calibration, exact, wanted)
    return network


def written(subject: Subject, candidate: Candidate, runtime: str) -> tuple[Path, int]:
    """Export a candidate; returns the file and its number of operators."""
    _, profile = PLACES[runtime]
    forms = replace(profile.forms if profile else ONNX_FORMS, **candidate.forms)
    program = export_program(network_of(subject, candidate, forms), subject.size)
    if profile is None:
        path = OUT / "form.onnx"
        counts = onnx_writer.write(onnx_writer.to_onnx(program), {}, path)
    else:
        path = OUT / "form.tflite"
        to_tflite(program, replace(profile, **candidate.profile), "{}", path)
        counts = operator_counts(path)
    return path, sum(counts.values())


def row(subject: Subject, candidate: Candidate, runtime: str, target: Any) -> tuple[str, ...]:
    path, operators = written(subject, candidate, runtime)
    layout = "nchw" if path.suffix == ".onnx" else "nhwc"
    inputs = in_layout(subject.images.float().numpy(), layout)
    parity, _ = measure(path, runtime, inputs, subject.reference.numpy())
    job = job_for(path, runtime)
    plan = build_plan("cost", job, {path: str(path)}, PLAN, target.info())
    events = target.run(plan, TIMEOUT_SECONDS)
    loaded, million = events["loaded"], events["cost"]["instructions"][0] / 1e6
    parts = f"{loaded['partitions']}, {loaded['undelegated']}" if runtime == "litert" else ""
    found = f"{parity.worst_snr_db:.1f}"
    return candidate.what, candidate.name, str(operators), parts, found, f"{million:.1f}"


def row_or_reason(subject: Subject, candidate: Candidate, *where: Any) -> tuple[str, ...]:
    """Return a candidate's row, or why it has none; the others go on."""
    try:
        return row(subject, candidate, *where)
    except FcaEdgeError as error:
        return candidate.what, candidate.name, "", "", "", str(error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runtimes", nargs="*", metavar="RUNTIME", help=", ".join(PLACES))
    parser.add_argument("--only", default="", help="candidates with this word")
    parser.add_argument("--variant", default="l1")
    words = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    subject = subject_of(words.variant)
    for runtime in words.runtimes or PLACES:
        target = resolve(PLACES[runtime][0])
        title = f"{words.variant}, {runtime}, {target.cpu.name}"
        made = table(title, "what", "form", "operators", "parts, rest", "dB", "M instr.")
        for candidate in CANDIDATES[runtime]:
            if words.only in f"{candidate.what} {candidate.name}":
                found = row_or_reason(subject, candidate, runtime, target)
                made.add_row(*found)
                print(" | ".join(found), flush=True)
        target.close()
        Console(width=110).print(made)


if __name__ == "__main__":
    main()
