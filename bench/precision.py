"""What int8 and fp16 give against fp32, by paired ratios; bounds that were promised.

    python bench/precision.py

It measures nothing: samples are those of `bench/peers/run.py --variant l1|l2 --ours FILES`
(one interleaved run per network) and of `bench/precision_arm.py`. Time is processor time, which
other work on the machine hardly changes. Writes bench/results/precision.md and exits with 1 where
a bound is missed.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers.tables import record_of, work_ratio

from fca_edge.records import Record, from_document
from fca_edge.stats import counted
from fca_edge.store import read_json, write_text

RESULTS = Path(__file__).with_name("results")
VARIANTS = ("l1", "l2")
PEER = "litert-torch.tflite"
MIB = 1 << 20


@dataclass(frozen=True)
class Bound:
    """A ratio that was promised: of one file to another, of one network."""

    variant: str
    file: str
    over: str
    what: str
    most: float
    needs_vnni: bool = False


BOUNDS = (
    Bound("l1", "int8.tflite", "fp32.tflite", "time", 0.55),
    Bound("l1", "int8.tflite", PEER, "time", 0.40),
    Bound("l1", "int8.onnx", "fp32.onnx", "time", 0.65, needs_vnni=True),
    *(
        Bound(variant, f"{precision}.{kind}", f"fp32.{kind}", "size", most)
        for variant in VARIANTS
        for precision, most in (("int8", 0.30), ("fp16", 0.52))
        for kind in ("tflite", "onnx")
    ),
)
# Of the best file on a core with products of bytes, against the fp32 file.
ARM_CORE, ARM_MOST = "cortex-a76", 0.5


@dataclass(frozen=True)
class Timed:
    """A file that was timed: its record, and its row with the processor time."""

    record: Record
    row: dict[str, Any]


Files = dict[str, Timed]


def main() -> None:
    lines, verdicts = ["# Precisions against fp32", ""], []
    for variant in VARIANTS:
        document = read_json(RESULTS / f"peers-{variant}.json")
        timed = files_of(document)
        lines += timed_table(variant, timed, document["vnni"])
        verdicts += [
            judged(bound, timed, document["vnni"]) for bound in BOUNDS if bound.variant == variant
        ]
    for path in sorted(RESULTS.glob("precision-arm-*.json")):
        records = from_document(read_json(path))
        lines += counted_table(records)
        verdicts += list(judged_counts(records))
    lines += ["## Bounds", "", *table(("what", "found", "at most", ""), verdicts), ""]
    write_text(RESULTS / "precision.md", "\n".join(lines), force=True)
    print("\n".join(lines))
    sys.exit(any(row[-1] == "missed" for row in verdicts))


def files_of(document: dict[str, Any]) -> Files:
    """Find the timed files of a run, by their short names."""
    records = {r.artefact.file: r for r in from_document(document["timed"])}
    pairs = [(record_of(row, records), row) for row in document["rows"]]
    return {short(record): Timed(record, row) for record, row in pairs if record is not None}


def short(record: Record) -> str:
    """Name a file without its network: int8.tflite, fp32-lean.onnx, litert-torch.tflite."""
    file = record.artefact.file
    return file.split("-", 1)[1] if file.startswith(("fcaformer", "convnext", "swin")) else file


def timed_table(variant: str, timed: Files, vnni: bool) -> list[str]:
    """Show every file of ours beside the fp32 file of its format, and litert-torch's."""
    some = next(iter(timed.values())).record
    rows = [
        (
            name,
            interval(*work_ratio(one.row, timed[full_of(name)].row)),
            interval(*work_ratio(one.row, timed[PEER].row)) if PEER in timed else "",
            f"{size(one, timed[full_of(name)]):.3f}",
            f"{one.record.memory.model_bytes / MIB:.1f}" if one.record.memory else "",
        )
        for name, one in timed.items()
        if one.record.artefact.profile != "peer"
    ]
    head = ("file", "time over fp32", "over litert-torch", "size over fp32", "peak MiB over empty")
    return [
        f"## {variant}, time and size",
        "",
        f"{some.target.cpu_model} ({'' if vnni else 'no '}VNNI), {some.plan.threads}"
        f" thread, {some.plan.processes} interleaved processes, {some.created[:10]}; medians of"
        " paired ratios of processor time with their intervals. *lean*: loaded as `fca-edge lean`"
        " does.",
        "",
        *table(head, rows),
        "",
    ]


def full_of(name: str) -> str:
    """Name the plain fp32 file of a file's format."""
    return f"fp32.{name.rpartition('.')[2]}"


def size(one: Timed, full: Timed) -> float:
    """Return the ratio of the files' sizes."""
    return one.record.artefact.file_bytes / full.record.artefact.file_bytes


def counted_table(records: list[Record]) -> list[str]:
    """Show instructions of each file beside the fp32 file of the same runtime."""
    rows = []
    for record in records:
        assert record.cost is not None
        agreement = record.agreement.snr_db if record.agreement else None
        rows.append(
            (
                record.target.cpu_model,
                f"{record.artefact.file} ({record.artefact.profile})",
                f"{record.runtime.name} {record.runtime.version}",
                f"{counted(record.cost).median / 1e6:.1f}",
                f"{work(record, records):.3f}",
                "" if agreement is None else f"{agreement:.1f}",
            )
        )
    head = ("core", "file", "runtime", "M instructions", "of fp32", "dB against this machine")
    words = "Emulated, 1 thread, one inference; never a time."
    title = f"## {records[0].artefact.variant}, instructions"
    return [title, "", words, "", *table(head, rows), ""]


def work(record: Record, records: list[Record]) -> float:
    """Return a record's instructions over those of fp32 on its core and runtime."""
    full = next(
        r
        for r in records
        if r.artefact.precision == "fp32"
        and (r.target.cpu_model, r.runtime.name) == (record.target.cpu_model, record.runtime.name)
    )
    assert record.cost is not None and full.cost is not None
    return counted(record.cost).median / counted(full.cost).median


def judged(bound: Bound, timed: Files, vnni: bool) -> tuple[str, ...]:
    """Compare a figure with what was promised of it."""
    what = f"{bound.variant} {bound.file} over {bound.over}, {bound.what}"
    if bound.file not in timed or bound.over not in timed:
        return what, "not measured", f"{bound.most:.2f}", "missed"
    pair = timed[bound.file], timed[bound.over]
    by_time = bound.what == "time"
    found = work_ratio(pair[0].row, pair[1].row) if by_time else (size(*pair), None, None)
    verdict = "holds" if found[0] <= bound.most else "missed"
    if bound.needs_vnni and not vnni:
        verdict = "cannot be judged: no VNNI"
    return what, interval(*found), f"{bound.most:.2f}", verdict


def judged_counts(records: list[Record]) -> Iterator[tuple[str, ...]]:
    """Compare the best file of the core that multiplies bytes with the fp32 file."""
    ratios = [
        (work(r, records), r.artefact.file) for r in records if r.target.cpu_model == ARM_CORE
    ]
    if ratios:
        best, file = min(ratios)
        verdict = "holds" if best <= ARM_MOST else "missed"
        yield f"{file} over fp32, instructions on {ARM_CORE}", f"{best:.3f}", f"{ARM_MOST}", verdict


def interval(middle: float, low: float | None, high: float | None) -> str:
    """Write a ratio with its interval, where it has one."""
    return (
        f"{middle:.3f}" if low is None or high is None else f"{middle:.2f} ({low:.2f}–{high:.2f})"
    )


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Write a Markdown table."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


if __name__ == "__main__":
    main()
