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
from fca_edge.records import Record  # noqa: E402
from fca_edge.store import read_json, write_text  # noqa: E402

MARKED = re.compile(r"(<!-- table: (\S+) (\S+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
# As users of TFLite know its runtime, and by the runtime's own name.
FORMATS = {"litert": "TFLite", "onnxruntime": "ONNX Runtime"}
RUNTIMES = FORMATS | {"litert": "LiteRT"}


def peers(path: Path) -> str:
    """Our plain fp32 TFLite file beside the peers' fp32 files, by processor time."""
    document = read_json(path)
    records, rows = tables.index_records(document), document["peers"]["rows"]
    best = tables.choose_best(rows, records)
    assert best is not None
    lines = []
    for row in rows:
        record = records.get(row["file"])
        ratio = record and tables.compute_ratio("processor_ns", record, best)
        if ratio and row["precision"] == "fp32" and not row["name"].endswith("-lean.onnx"):
            times = "1" if record is best else tables.write_ratio(ratio)
            cells = [name_row(row, record, best), times, tables.write_memory(record)]
            lines.append((ratio.value, cells))
    lines.sort(key=lambda line: line[0])
    name = document["peers"]["variant"].upper()
    head = f"FcaFormer-{name}, fp32, {best.target.cpu_model}, 1 thread"
    columns = [head, "× ours, CPU time", "MiB over the empty runtime"]
    return tables.render([columns, *(cells for _, cells in lines)])


def name_row(row: dict, record: Record, best: Record) -> str:
    """Name a row of the comparison with peers."""
    if not row["ours"]:
        return row["title"]
    lean = ", lean" if "-lean." in row["name"] else ""
    text = f"ours, {FORMATS[record.runtime.name]}{lean}"
    return f"**{text}**" if record is best else text


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
        db = record.agreement.snr_db if record.agreement else None
        cells = [core, artefact.file, f"{runtime.label} {runtime.version}", f"{count / 1e6:.1f}"]
        cells += [f"{ratio.value:.3f}" if ratio else "", "" if db is None else f"{db:.1f}"]
        table.append(cells)
    return tables.render(table)


def bounds(path: Path) -> str:
    """What was promised, held against all committed records."""
    files = sorted(path.parent.glob("*.json"))
    records = [record for file in files for record in read_records(file)]
    return judge_bounds(read_bounds(HERE / "bounds.toml"), records).to_markdown()


def whole(path: Path) -> str:
    """Everything about a comparison with peers."""
    return tables.markdown(read_json(path))


VIEWS = (peers, precision_arm, memory, precision, counts, bounds, whole)
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
