"""`fca-edge profile`: where time or instructions go, by the checkpoint's modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import fca_edge
from fca_edge.commands.heed import FORCE, WIDE, Heeded, refuse_unheeded
from fca_edge.commands.help import Command
from fca_edge.commands.output import Format, claim_output, format_option, put_document
from fca_edge.commands.shared import (
    AT_LEAST_1,
    TARGET,
    Input,
    force_option,
    json_option,
    runtime_option,
    steps,
    threads_option,
)
from fca_edge.commands.tables import wide_option

MEASURING = Heeded(
    ("target", "runtime", "threads", "runs", "processes"),
    lambda v: any(p is not None and p.suffix != ".json" for p in (v["artefact"], v["against"])),
    "profiling an artefact, and a stored profile is shown as it was taken",
    "leave it out",
)
PROFILED = Input(
    "artefact or profile", "`fca-edge export` makes an artefact, `profile --json` a profile"
)


@click.command(cls=Command)
@click.argument("artefact", type=PROFILED)
@click.option("--target", type=TARGET, default="local", show_default=True, help="Where to profile.")
@click.option(
    "--against",
    type=PROFILED,
    help="Say what changed by module: another artefact, profiled in turns with the first, or a"
    " file of --json.",
)
@runtime_option
@threads_option
@click.option("--runs", type=AT_LEAST_1, help="Inferences per process.  [20; emulated: 1]")
@click.option(
    "--processes",
    type=AT_LEAST_1,
    help="Fresh processes with the profiler, and as many without.  [3; emulated: 1]",
)
@click.option(
    "--depth",
    type=AT_LEAST_1,
    default=2,
    show_default=True,
    help="How many levels of modules the table has.",
)
@click.option(
    "--top",
    type=AT_LEAST_1,
    default=10,
    show_default=True,
    help="How many modules are listed that are farthest from their bound, or changed most.",
)
@format_option
@wide_option
@json_option
@force_option
def command(
    artefact: Path,
    format_: Format,
    wide: bool,
    json_file: Path | None,
    force: bool,
    **settings: Any,
) -> None:
    """Tell where the time of ARTEFACT goes, by the checkpoint's own modules.

    The runtime's own profiler takes the time of each operator: ONNX Runtime's of .onnx files,
    and of .tflite files that of XNNPACK (--runtime xnnpack), whose kernels LiteRT uses too. On
    qemu targets instructions are counted instead, exactly.

    The bound is what the products alone would take at best. ARTEFACT may also be a file that
    --json wrote.

    \b
    Examples:
      fca-edge profile out/fcaformer_l1-fp32.onnx
      fca-edge profile out/fcaformer_l1-fp32.tflite --runtime xnnpack --depth 3
      fca-edge profile best.tflite --runtime xnnpack --target qemu:armv7
      fca-edge profile best.onnx --json today.json
      fca-edge profile best.onnx --against yesterday.json
    """
    refuse_unheeded((FORCE, WIDE, MEASURING))
    claim_output(format_, json_file, force)
    with steps() as report:
        result = fca_edge.profile(artefact, progress=report, **settings)
    put_document(result.document(), result.to_dict(), format_, json_file, force, wide)
