"""Writes the measured tables of README.md and docs/ from the JSON that is committed: `make tables`.

    python bench/tables.py [--check]

A table stands between two comments, `<!-- table: FILE.json VIEW -->` and `<!-- end of table -->`,
in any Markdown file of the repository; VIEW is a function of this script.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "peers")]

import tables  # noqa: E402

from fca_edge.comparing.bounds import fits, judge_bounds, read_bounds  # noqa: E402
from fca_edge.comparing.metrics import METRICS  # noqa: E402
from fca_edge.comparing.ratios import place  # noqa: E402
from fca_edge.comparing.read import read_records  # noqa: E402
from fca_edge.errors import plural  # noqa: E402
from fca_edge.manifest import Artefact, Manifest  # noqa: E402
from fca_edge.parsing import read_json  # noqa: E402
from fca_edge.records import Record  # noqa: E402
from fca_edge.reporting.export_table import build_sheet  # noqa: E402
from fca_edge.store import write_text  # noqa: E402
from fca_edge.tables.document import markdown_table  # noqa: E402
from fca_edge.tables.sheet import choose_filled  # noqa: E402
from fca_edge.zoo.published import published  # noqa: E402

MARKED = re.compile(r"(<!-- table: (\S+) (\S+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
# As users of TFLite know its runtime, and by the runtime's own name.
FORMATS = {"litert": "TFLite", "onnxruntime": "ONNX Runtime"}
RUNTIMES = FORMATS | {"litert": "LiteRT"}
MIB = 1 << 20


def peers(path: Path) -> str:
    """Our plain fp32 TFLite file beside the peers' fp32 files, by processor time."""
    run = read_json(path)
    best = tables.choose_best(run["peers"]["rows"], tables.index_records(run))
    assert best is not None
    name = run["peers"]["variant"].upper()
    head = f"FcaFormer-{name}, fp32, {best.target.cpu_model}, 1 thread"
    table = [[head, "× ours, CPU time", "MiB over the empty runtime"]]
    for row, record, title, times in compare_times(run, best.artefact.file):
        if row["precision"] == "fp32" and not row["name"].endswith("-lean.onnx"):
            table.append([title, times, tables.write_memory(record)])
    return tables.render(table)


def compare_times(run: dict, best: str) -> list[tuple[dict, Record, str, str]]:
    """Return each row with its record, name and processor time over a file's, fastest first."""
    records, compared = tables.index_records(run), []
    for row in run["peers"]["rows"]:
        record = records.get(row["file"])
        ratio = record and tables.compute_ratio("processor_ns", record, records[best])
        if ratio:
            title = row["title"]
            if row["ours"]:
                lean = ", lean" if "-lean." in row["name"] else ""
                title = f"ours, {FORMATS[record.runtime.name]}{lean}"
            itself = record is records[best]
            title, times = (f"**{title}**", "1") if itself else (title, tables.write_ratio(ratio))
            compared.append((ratio.value, (row, record, title, times)))
    return [one for _, one in sorted(compared, key=lambda pair: pair[0])]


def precision_arm(path: Path) -> str:
    """int8 over fp32 in instructions, by core and runtime."""
    records = read_records(path)
    columns = {
        "LiteRT int8": ("litert", "modern"),
        "LiteRT int8, `--profile litert-fp16`": ("litert", "litert-fp16"),
        "ONNX Runtime int8": ("onnxruntime", "onnx"),
        "tflite-2.14 int8": ("tflite-2.14", "tflite-2.14"),
    }
    table = [["", *columns]]
    for core in dict.fromkeys(record.target.cpu_model for record in records):
        table.append([core])
        for runtime, profile in columns.values():
            same = {"cpu": core, "runtime": runtime}
            small = find(records, **same, profile=profile, precision="int8")
            full = find(records, **same, precision="fp32")
            ratio = small and tables.compute_ratio("instructions", small, full)
            table[-1].append(f"{ratio.value:.2f}" if ratio else "")
    return tables.render(table)


def find(records: Iterable[Record], **selectors: str) -> Record | None:
    """Find the first record that fits selectors, as those of bounds."""
    return next((record for record in records if fits(record, selectors)), None)


def memory(path: Path) -> str:
    """Peak memory over the empty runtime: plain, and lean and warm."""
    records = read_records(path)
    ways = {
        "fp32, plain, `--optimize latency`": ("latency/*fp32", "no"),
        "fp32, lean, warm, `--optimize memory`": ("memory/*fp32", "warm"),
        "int8, lean, warm, `--optimize memory`": ("*int8", "warm"),
    }
    table = [["peak MiB over the empty runtime, x86-64", *ways]]
    for variant, runtime in sorted({(r.artefact.variant, r.runtime.name) for r in records}):
        same = {"variant": variant, "runtime": runtime}
        rows = [find(records, **same, file=f"{file}.*", lean=lean) for file, lean in ways.values()]
        cells = [tables.write_memory(row) if row else "" for row in rows]
        table.append([f"{variant.upper()} on {RUNTIMES[runtime]}", *cells])
    return tables.render(table)


def precision(path: Path) -> str:
    """Every file of ours beside the fp32 file of its format, and litert-torch's."""
    records = tables.index_records(read_json(path))
    litert_torch = records.get("litert-torch.tflite")
    columns = ["CPU time over fp32", "over litert-torch", "size over fp32"]
    table = [["file", *columns, "peak MiB over the empty runtime"]]
    for name, record in records.items():
        if record.artefact.profile != "peer":
            full = records[f"{name.split('-')[0]}-fp32{Path(name).suffix}"]
            others = (full, litert_torch)
            ratios = (tables.compute_ratio("processor_ns", record, one) for one in others)
            cells = [tables.write_ratio(ratio) if ratio else "" for ratio in ratios]
            size = record.artefact.file_bytes / full.artefact.file_bytes
            table.append([name, *cells, f"{size:.3f}", tables.write_memory(record)])
    return tables.render(table)


def counts(path: Path) -> str:
    """Instructions of each file, and over those of fp32 on the same core and runtime."""
    records = read_records(path)
    table = [["core", "file", "runtime", "M instructions", "of fp32", "dB against this machine"]]
    for record in records:
        artefact, runtime, core = record.artefact, record.runtime, record.target.cpu_model
        near = [r for r in records if place(r) == place(record)]
        full = find(near, runtime=runtime.name, precision="fp32")
        ratio = tables.compute_ratio("instructions", record, full)
        count = METRICS["instructions"].value(record) or 0.0
        cells = [core, artefact.file, f"{runtime.label} {runtime.version}", f"{count / 1e6:.1f}"]
        cells += [f"{ratio.value:.3f}" if ratio else "", write_agreement(record)]
        table.append(cells)
    return tables.render(table)


def write_agreement(record: Record) -> str:
    """Write how far a target's logits are from this machine's; empty where nobody compared."""
    db = record.agreement.snr_db if record.agreement else None
    return "" if db is None else f"{db:.1f}"


def latency(path: Path) -> str:
    """Four networks: our files beside the plain torch.onnx export, in one run."""
    records = {record.artefact.file: record for record in read_records(path)}
    first = next(iter(records.values()))
    head = f"fp32, {first.target.cpu_model}, {first.plan.threads} thread"
    table = [[head, "plain ONNX, ms", "our ONNX, ms", "our TFLite, ms", "TFLite over plain ONNX"]]
    for file, plain in records.items():
        stem, mark, _ = file.partition("-plain.onnx")
        if mark:
            ours = [records[f"{stem}.onnx"], records[f"{stem}.tflite"]]
            times = [METRICS["latency_ns"].value(record) or 0.0 for record in (plain, *ours)]
            ratio = tables.write_ratio(tables.compute_ratio("latency_ns", ours[1], plain))
            name = plain.artefact.variant
            name = name.upper() if stem.startswith("fca") else name
            table.append([name, *(f"{time / 1e6:.1f}" for time in times), ratio])
    return tables.render(table)


def bounds(path: Path) -> str:
    """What was promised, held against all committed records."""
    files = sorted(path.parent.glob("*.json"))
    records = [record for file in files for record in read_records(file)]
    return judge_bounds(read_bounds(HERE / "bounds.toml"), records).to_markdown()


def whole(path: Path) -> str:
    """Everything about a comparison with peers."""
    return tables.markdown(read_json(path))


def memory_rows(path: Path) -> str:
    """Every file of the memory suite: its peak, and what of it the system cannot drop."""
    records = read_records(path)
    columns = ["loaded", "peak MiB over the empty runtime", "anonymous MiB", "arena MiB, planned"]
    table = [["file", *columns]]
    for record in records:
        used, planned = record.memory, record.artefact.planned
        if used is None or used.after is None or planned is None:
            continue
        settings = record.runtime.settings
        way = "plain" if settings is None else f"lean, {'cold' if settings['cold'] else 'warm'}"
        own = (used.after.anonymous_bytes or 0) - (used.baseline.anonymous_bytes or 0)
        sizes = (tables.write_number(size, MIB, 1) for size in (own, planned.arena_bytes))
        table.append([record.artefact.file, way, tables.write_memory(record), *sizes])
    return f"{describe_conditions(records)}\n\n{tables.render(table)}"


def peers_all(pattern: Path) -> str:
    """Our files and the peers' over our plain TFLite file of the precision, of every run."""
    runs = read_runs(pattern)
    lines = []
    for run in runs:
        conditions = describe_conditions(list(tables.index_records(run).values()))
        lines.append(f"- {name_run(run)}: {conditions}")
    parts = ["\n".join(lines)]
    for precision in ("fp32", "int8"):
        head = [c for run in runs for c in (f"{name_run(run)}, CPU time", "MiB")]
        columns = [collect_cells(run, precision) for run in runs]
        titles = dict.fromkeys(title for column in columns for title in column)
        rows = [
            [title, *(c for one in columns for c in one.get(title, ("", "")))] for title in titles
        ]
        parts.append(tables.render([[precision, *head], *rows]))
    return "\n\n".join(parts)


def read_runs(pattern: Path) -> list[dict]:
    """Read the documents of several runs of the comparison with peers."""
    return [read_json(path) for path in sorted(pattern.parent.glob(pattern.name))]


def name_run(run: dict) -> str:
    """Name a run by its network and by what decides about int8."""
    return f"{run['peers']['variant'].upper()}, {'VNNI' if run['peers']['vnni'] else 'no VNNI'}"


def collect_cells(run: dict, precision: str) -> dict[str, tuple[str, str]]:
    """Return time and memory of a run's files in a precision by their names, fastest first."""
    best = f"fcaformer_{run['peers']['variant']}-{precision}.tflite"
    cells = {}
    for row, record, title, times in compare_times(run, best):
        if row["precision"].startswith(precision):
            title = title.removeprefix(f"{precision}: ")
            title += f", {row['precision']}" if row["precision"] != precision else ""
            cells[title] = times, tables.write_memory(record)
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
    table = [["processor time"], *([title] for title in pairs)]
    for run in read_runs(pattern):
        stem, records = f"fcaformer_{run['peers']['variant']}-", tables.index_records(run)
        table[0].append(name_run(run))
        for row, files in zip(table[1:], pairs.values()):
            small, large = (records.get(stem + file) for file in files)
            ratio = small and tables.compute_ratio("processor_ns", small, large)
            row.append(tables.write_ratio(ratio) if ratio else "")
    return tables.render(table)


def l1_counts(path: Path) -> str:
    """Instructions of L1 on each runtime of a machine, the fewest first."""
    rows = []
    for record in read_records(path):
        artefact, runtime, cost = record.artefact, record.runtime, record.cost
        if artefact.variant == "l1" and cost is not None and cost.bound:
            count = METRICS["instructions"].value(record) or 0.0
            name = f"{runtime.label} {runtime.version}"
            figures = [f"{count / 1e6:.1f}", f"{count / cost.bound:.2f}"]
            rows.append([name, artefact.profile, str(artefact.operators), *figures])
    head = ["runtime", "profile", "operators", "M instructions", "over the least possible"]
    return tables.render([head, *sorted(rows, key=lambda row: float(row[3]))])


def exports(path: Path) -> str:
    """What an export said of its files: size, error and accuracy."""
    manifests = map(Manifest.from_document, read_json(path))
    sheet = build_sheet([Artefact(Path(manifest.file), manifest) for manifest in manifests])
    return markdown_table(sheet, choose_filled(sheet.columns, [sheet]))


FIGURES = {
    "mIoU %": ("miou",),
    "pixels %": ("pixel_accuracy",),
    "box AP %": ("box", "ap"),
    "mask AP %": ("mask", "ap"),
}


def accuracy(path: Path) -> str:
    """What `eval` measured of files and of their checkpoint."""
    report = read_json(path)
    reference = report["reference"]
    rows = [{"file": reference["name"]} | reference["figures"], *report["results"]]
    names = [name for name, keys in FIGURES.items() if keys[0] in rows[0]]
    table = [[plural(report["data"]["images"], "picture"), "runtime", *names]]
    for row in rows:
        cells = []
        for name in names:
            value = row
            for key in FIGURES[name]:
                value = value[key]
            cells.append(f"{value:.2f}")
        runtime = f"{row['runtime']} {row['version']}" if "runtime" in row else ""
        table.append([row["file"], runtime, *cells])
    return tables.render(table)


def native(path: Path) -> str:
    """Instructions and memory of the whole process of our files on XNNPACK directly."""
    table = [["file", "core", "M instructions", "whole process, MiB", "dB against this machine"]]
    for record in read_records(path):
        count = METRICS["instructions"].value(record) or 0.0
        assert record.memory is not None
        cells = [record.artefact.file, record.target.cpu_model]
        cells += [f"{count / 1e6:.0f}", f"{record.memory.peak_bytes / MIB:.1f}"]
        table.append([*cells, write_agreement(record)])
    return tables.render(table)


def board(path: Path) -> str:
    """Memory of the whole process on a board, beside what was published of the network."""
    table = [["file", "whole process, MiB", "published, MB", "dB against this machine"]]
    rows = published()
    for record in read_records(path):
        assert record.memory is not None
        cells = [record.artefact.file, f"{record.memory.peak_bytes / MIB:.1f}"]
        figure = rows[record.artefact.file.partition("-")[0]].memory_mb
        table.append([*cells, f"{figure:.0f}", write_agreement(record)])
    return tables.render(table)


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


VIEWS = (
    *(peers, precision_arm, memory, precision, counts, latency, bounds, whole),
    *(memory_rows, peers_all, int8_times, l1_counts, exports, accuracy, native, board),
)
BY_NAME = {view.__name__.replace("_", "-"): view for view in VIEWS}


def renew(text: str) -> str:
    """Return a page with its tables as the JSON has them now."""
    return MARKED.sub(lambda m: f"{m[1]}\n{BY_NAME[m[3]](ROOT / m[2]).rstrip()}\n\n{m[5]}", text)


def pages() -> list[Path]:
    """List the pages that may hold tables."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *HERE.glob("results/*.md")])


def main() -> None:
    """Write the tables, or with --check say which differ."""
    texts = {page: page.read_text() for page in pages()}
    stale = {page: new for page, text in texts.items() if (new := renew(text)) != text}
    for page, new in stale.items():
        print(page.relative_to(ROOT))
        if "--check" not in sys.argv:
            write_text(page, new, force=True)
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
