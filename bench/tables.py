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
from fca_edge.errors import plural  # noqa: E402
from fca_edge.manifest import Artefact, Manifest  # noqa: E402
from fca_edge.parsing import read_json  # noqa: E402
from fca_edge.records import Record  # noqa: E402
from fca_edge.report.export_table import build_sheet  # noqa: E402
from fca_edge.store import write_text  # noqa: E402
from fca_edge.tables.document import markdown_table  # noqa: E402
from fca_edge.tables.sheet import choose_filled  # noqa: E402

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


def latency(path: Path) -> Table:
    """Four networks: our files beside the plain torch.onnx export, in one run."""
    records = {record.artefact.file: record for record in read_records(path)}
    first = next(iter(records.values()))
    head = f"fp32, {first.target.cpu_model}, {first.plan.threads} thread"
    table = [[head, "plain ONNX, ms", "our ONNX, ms", "our TFLite, ms", "TFLite over plain ONNX"]]
    for file, plain in records.items():
        stem, mark, _ = file.partition("-plain.onnx")
        if not mark:
            continue
        ours = [records[f"{stem}.onnx"], records[f"{stem}.tflite"]]
        times = [METRICS["latency_ns"].value(record) or 0.0 for record in (plain, *ours)]
        ratio = peers_tables.over(compute_row_ratio(METRICS["latency_ns"], ours[1], plain))
        name = plain.artefact.variant.upper() if stem.startswith("fca") else plain.artefact.variant
        table.append([name, *(f"{time / 1e6:.1f}" for time in times), ratio])
    return table


def bounds(path: Path) -> str:
    """What was promised, held against all committed records."""
    files = sorted(path.parent.glob("*.json"))
    records = [record for file in files for record in read_records(file)]
    return judge_bounds(read_bounds(HERE / "bounds.toml"), records).to_markdown()


def whole(path: Path) -> str:
    """Everything about a comparison with peers."""
    return peers_tables.markdown(read_json(path))


def memory_rows(path: Path) -> str:
    """Every file of the memory suite: its peak, and what of it the system cannot drop."""
    records = read_records(path)
    head = (
        "file",
        "loaded",
        "peak MiB over the empty runtime",
        "anonymous MiB",
        "arena MiB, planned",
    )
    rows = []
    for record in records:
        used, planned = record.memory, record.artefact.planned
        if used is None or used.after is None or planned is None:
            continue
        settings = record.runtime.settings
        way = "plain" if settings is None else f"lean, {'cold' if settings['cold'] else 'warm'}"
        own = (used.after.anonymous_bytes or 0) - (used.baseline.anonymous_bytes or 0)
        cells = (f"{size / MIB:.1f}" for size in (own, planned.arena_bytes))
        rows.append([record.artefact.file, way, memory_text(record), *cells])
    return "\n".join([describe_conditions(records), "", *peers_tables.table(head, rows)])


def peers_all(pattern: Path) -> str:
    """Our files and the peers' over our plain TFLite file of the precision, of every run."""
    runs = [read_json(path) for path in sorted(pattern.parent.glob(pattern.name))]
    lines = []
    for run in runs:
        conditions = describe_conditions(list(peers_tables.records_of(run).values()))
        lines.append(f"- {name_run(run)}: {conditions}")
    for precision in ("fp32", "int8"):
        head = [precision]
        for run in runs:
            head += [f"{name_run(run)}, CPU time", "MiB"]
        columns = [collect_cells(run, precision) for run in runs]
        titles = dict.fromkeys(title for column in columns for title in column)
        rows = [
            [title, *(c for column in columns for c in column.get(title, ("", "")))]
            for title in titles
        ]
        lines += ["", *peers_tables.table(tuple(head), rows)]
    return "\n".join(lines)


def name_run(run: dict) -> str:
    """Name a run by its network and by what decides about int8."""
    peers_run = run["peers"]
    return f"{peers_run['variant'].upper()}, {'VNNI' if peers_run['vnni'] else 'no VNNI'}"


def collect_cells(run: dict, precision: str) -> dict[str, tuple[str, str]]:
    """Return time and memory of a run's files in a precision by their names, fastest first."""
    records, cells = peers_tables.records_of(run), {}
    best = records[f"fcaformer_{run['peers']['variant']}-{precision}.tflite"]
    rows = [r for r in run["peers"]["rows"] if r["precision"].startswith(precision)]
    timed = [row for row in rows if row["file"] in records]
    for row in sorted(timed, key=lambda row: processor_ratio(records[row["file"]], best)):
        record = records[row["file"]]
        title = peer_title(row, record, best).removeprefix(f"{precision}: ")
        title += f", {row['precision']}" if row["precision"] != precision else ""
        ratio = compute_row_ratio(METRICS["processor_ns"], record, best)
        times = "1" if record is best else peers_tables.over(ratio)
        cells[title] = times, memory_text(record)
    return cells


def int8_times(pattern: Path) -> str:
    """Smaller files over larger ones, of every run of the comparison with peers."""
    pairs = {
        "LiteRT, int8 over fp32": ("int8.tflite", "fp32.tflite"),
        "LiteRT, int8-static over int8": ("int8-static.tflite", "int8.tflite"),
        "LiteRT, fp16 over fp32": ("fp16.tflite", "fp32.tflite"),
        "ONNX Runtime, int8 over fp32": ("int8.onnx", "fp32.onnx"),
        "ONNX Runtime, fp16 over fp32": ("fp16.onnx", "fp32.onnx"),
        "int8, ONNX Runtime over LiteRT": ("int8.onnx", "int8.tflite"),
    }
    head, rows = ["processor time"], [[title] for title in pairs]
    for run in map(read_json, sorted(pattern.parent.glob(pattern.name))):
        name, records = run["peers"]["variant"], peers_tables.records_of(run)
        head.append(name_run(run))
        for row, files in zip(rows, pairs.values()):
            both = [records.get(f"fcaformer_{name}-{file}") for file in files]
            ratio = all(both) and compute_row_ratio(METRICS["processor_ns"], *both)
            row.append(peers_tables.over(ratio) if ratio else "")
    return "\n".join(peers_tables.table(tuple(head), rows))


def l1_counts(path: Path) -> Table:
    """Instructions of L1 on each runtime of a machine, the fewest first."""
    rows = []
    for record in read_records(path):
        if record.artefact.variant != "l1" or record.cost is None or not record.cost.bound:
            continue
        count = METRICS["instructions"].value(record) or 0.0
        runtime = f"{record.runtime.label} {record.runtime.version}"
        cells = [runtime, record.artefact.profile, str(record.artefact.operators)]
        ratio = f"{count / record.cost.bound:.2f}"
        rows.append([*cells, f"{count / 1e6:.1f}", ratio])
    head = ["runtime", "profile", "operators", "M instructions", "over the least possible"]
    return [head, *sorted(rows, key=lambda row: float(row[3]))]


def exports(path: Path) -> str:
    """What an export said of its files: size, error and accuracy."""
    manifests = map(Manifest.from_document, read_json(path))
    sheet = build_sheet([Artefact(Path(manifest.file), manifest) for manifest in manifests])
    return markdown_table(sheet, choose_filled(sheet.columns, [sheet])).replace("\\_", "_")


def describe_conditions(records: list[Record]) -> str:
    """Say on what machine, with which runtimes of ours and when records were taken."""
    target, plan = records[0].target, records[0].plan
    ours = [r for r in records if r.artefact.profile != "peer"]
    runtimes = sorted({f"{r.runtime.name} {r.runtime.version}" for r in ours})
    days = sorted({r.created[:10] for r in records})
    return (
        f"{target.cpu_model}, {target.machine}, {plural(plan.threads, 'thread')};"
        f" {', '.join(runtimes)}; {', '.join(days)}."
    )


VIEWS: dict[str, Callable[[Path], Table | str]] = {
    view.__name__.replace("_", "-"): view
    for view in (
        *(peers, precision_arm, memory, precision, counts, latency, bounds, whole),
        *(memory_rows, peers_all, int8_times, l1_counts, exports),
    )
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
