"""Writes the measured tables of README.md and docs/ from the JSON that is committed: `make tables`.

    python bench/tables.py [--check]

A table stands between two comments, `<!-- table: FILE.json VIEW -->` and `<!-- end of table -->`,
in any Markdown file of the repository; VIEW is a function of this script.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "peers")]

import tables as peers_tables  # noqa: E402

from fca_edge.comparing.bounds import judge_bounds, read_bounds  # noqa: E402
from fca_edge.comparing.metrics import METRICS  # noqa: E402
from fca_edge.comparing.ratios import compute_row_ratio, place  # noqa: E402
from fca_edge.comparing.read import read_records  # noqa: E402
from fca_edge.parsing import read_json  # noqa: E402
from fca_edge.records import Record  # noqa: E402
from fca_edge.store import write_text  # noqa: E402

MARKED = re.compile(r"(<!-- table: (\S+) (\S+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
RESULTS = HERE / "results"
MIB = 1 << 20
Table = list[list[str]]


def peers(path: Path) -> Table:
    """Our plain fp32 TFLite file beside the peers' fp32 files, by processor time."""
    document = read_json(path)
    records = peers_tables.records_of(document)
    rows = document["peers"]["rows"]
    best = peers_tables.best_of(rows, records)
    assert best is not None
    timed = [
        (row, records[row["file"]])
        for row in rows
        if row["file"] in records and row["precision"] == "fp32"
    ]
    lines = []
    for row, record in sorted(timed, key=lambda one: processor_ratio(one[1], best)):
        if row["ours"] and row["name"].endswith("-lean.onnx"):
            continue
        ratio = compute_row_ratio(METRICS["processor_ns"], record, best)
        times = "1" if record is best else peers_tables.over(ratio)
        lines.append([peer_title(row, record, best), times, memory_text(record)])
    head = f"FcaFormer-{document['peers']['variant'].upper()}, fp32, {best.target.cpu_model},"
    return [[f"{head} 1 thread", "× ours, CPU time", "MiB over the empty runtime"], *lines]


def processor_ratio(record: Record, best: Record) -> float:
    """Return a ratio of processor times, to sort by."""
    ratio = compute_row_ratio(METRICS["processor_ns"], record, best)
    return float("inf") if ratio is None else ratio.value


def peer_title(row: dict, record: Record, best: Record) -> str:
    """Name a row of the comparison with peers."""
    if not row["ours"]:
        return row["title"]
    runtime = {"litert": "TFLite", "onnxruntime": "ONNX Runtime"}[record.runtime.name]
    text = f"ours, {runtime}{', lean' if '-lean.' in row['name'] else ''}"
    return f"**{text}**" if record is best else text


def memory_text(record: Record) -> str:
    """Write what the model adds to the empty runtime's peak."""
    return f"{record.memory.model_bytes / MIB:.1f}" if record.memory else ""


def precision_arm(path: Path) -> Table:
    """int8 over fp32 in instructions, by core and runtime."""
    records = read_records(path)
    columns = {
        "LiteRT int8": ("litert", "modern"),
        "LiteRT int8, `--profile litert-fp16`": ("litert", "litert-fp16"),
        "ONNX Runtime int8": ("onnxruntime", "onnx"),
        "tflite-2.14 int8": ("tflite-2.14", "tflite-2.14"),
    }
    table = [["", *columns]]
    for core in dict.fromkeys(r.target.cpu_model for r in records):
        mine = [r for r in records if r.target.cpu_model == core]
        cells = []
        for runtime, profile in columns.values():
            small = find_record(mine, runtime, profile, "int8")
            full = find_record(mine, runtime, None, "fp32")
            ratio = small and full and compute_row_ratio(METRICS["instructions"], small, full)
            cells.append(f"{ratio.value:.2f}" if ratio else "")
        table.append([core, *cells])
    return table


def find_record(
    records: Iterable[Record], runtime: str, profile: str | None, precision: str
) -> Record | None:
    """Find the record of a runtime, a profile (None is any) and a precision."""
    for record in records:
        artefact = record.artefact
        if (record.runtime.name, artefact.precision) == (runtime, precision) and (
            profile in (None, artefact.profile)
        ):
            return record
    return None


def memory(path: Path) -> Table:
    """Peak memory over the empty runtime: plain, and lean and warm."""
    records = read_records(path)
    ways = {
        "fp32, plain, `--optimize latency`": ("latency/*fp32", "no"),
        "fp32, lean, warm, `--optimize memory`": ("memory/*fp32", "warm"),
        "int8, lean, warm, `--optimize memory`": ("*int8", "warm"),
    }
    table = [["peak MiB over the empty runtime, x86-64", *ways]]
    kinds = {(r.artefact.variant, r.runtime.name): None for r in records}
    names = {"litert": "LiteRT", "onnxruntime": "ONNX Runtime"}
    for variant, runtime in sorted(kinds):
        mine = [r for r in records if (r.artefact.variant, r.runtime.name) == (variant, runtime)]
        cells = [next(map(memory_text, loaded(mine, *way)), "") for way in ways.values()]
        table.append([f"{variant.upper()} on {names[runtime]}", *cells])
    return table


def loaded(records: list[Record], pattern: str, lean: str) -> list[Record]:
    """Choose records by their file and how it was loaded."""
    from fca_edge.comparing.bounds import fits

    return [r for r in records if fits(r, {"file": f"{pattern}.*", "lean": lean})]


def precision(path: Path) -> Table:
    """Every file of ours beside the fp32 file of its format, and litert-torch's."""
    records = peers_tables.records_of(read_json(path))
    litert_torch = records.get("litert-torch.tflite")
    head = ["file", "CPU time over fp32", "over litert-torch", "size over fp32"]
    table = [[*head, "peak MiB over the empty runtime"]]
    for name, record in records.items():
        if record.artefact.profile == "peer":
            continue
        full = records[f"{name.split('-')[0]}-fp32{Path(name).suffix}"]
        metric = METRICS["processor_ns"]
        ratios = [compute_row_ratio(metric, record, one) for one in (full, litert_torch) if one]
        size = record.artefact.file_bytes / full.artefact.file_bytes
        cells = [*map(peers_tables.over, ratios), *[""] * (2 - len(ratios))]
        table.append([name, *cells, f"{size:.3f}", memory_text(record)])
    return table


def counts(path: Path) -> Table:
    """Instructions of each file, and over those of fp32 on the same core and runtime."""
    records = read_records(path)
    head = ["core", "file", "runtime", "M instructions", "of fp32", "dB against this machine"]
    table = [head]
    for record in records:
        full = next(
            r
            for r in records
            if r.artefact.precision == "fp32"
            and (place(r), r.runtime.name) == (place(record), record.runtime.name)
        )
        ratio = compute_row_ratio(METRICS["instructions"], record, full)
        count = METRICS["instructions"].value(record) or 0.0
        db = record.agreement.snr_db if record.agreement else None
        table.append(
            [
                record.target.cpu_model,
                record.artefact.file,
                f"{record.runtime.label} {record.runtime.version}",
                f"{count / 1e6:.1f}",
                f"{ratio.value:.3f}" if ratio else "",
                "" if db is None else f"{db:.1f}",
            ]
        )
    return table


def bounds(path: Path) -> str:
    """What was promised, held against all committed records."""
    files = sorted(path.parent.glob("*.json"))
    records = [record for file in files for record in read_records(file)]
    return judge_bounds(read_bounds(HERE / "bounds.toml"), records).to_markdown()


def whole(path: Path) -> str:
    """Everything about a comparison with peers."""
    return peers_tables.markdown(read_json(path))


VIEWS: dict[str, Callable[[Path], Table | str]] = {
    view.__name__.replace("_", "-"): view
    for view in (peers, precision_arm, memory, precision, counts, bounds, whole)
}


def render_view(view: str, file: str) -> str:
    """Return a view of a file as Markdown."""
    content = VIEWS[view](ROOT / file)
    if isinstance(content, str):
        return content.rstrip() + "\n"
    head, *rows = content
    rules = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rules, *rows))


def renewed(text: str) -> str:
    """Return a page with its tables made anew."""
    return MARKED.sub(lambda m: f"{m[1]}\n{render_view(m[3], m[2])}\n{m[5]}", text)


def pages() -> list[Path]:
    """List the pages that may hold tables."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *RESULTS.glob("*.md")])


def main() -> None:
    """Write the tables, or with --check say which differ."""
    stale = []
    for page in pages():
        text = page.read_text()
        new = renewed(text)
        if new != text:
            stale.append(page)
            if "--check" not in sys.argv:
                write_text(page, new, force=True)
    for page in stale:
        print(page.relative_to(ROOT))
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
