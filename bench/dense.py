"""UperNet as this project exports it beside torch.onnx's own file, in one interleaved run.

    PYTHONPATH=. python bench/dense.py [VARIANT ...] [--img-size 512] [--processes 5]

Prints latency, processor time and peak memory over the plain file on ONNX Runtime, loaded plainly
and by `lean.py`; fails where a bound of issue 13 is missed. Files and records lie in --out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import warnings
from itertools import chain
from pathlib import Path

import torch

import fca_edge
from fca_edge.exporting.request import NetworkRequest, name_network
from fca_edge.exporting.source import build_random_source
from fca_edge.records import Record, to_document
from fca_edge.sizes import Size, parse_size, split_size
from fca_edge.store import write_json

VARIANTS = ("upernet_l2", "upernet_swin_tiny", "upernet_convnext_tiny")
LATENCY = {".onnx": 0.70, ".tflite": 0.60}
PEAK = 0.60


def write_plain(variant: str, size: Size, path: Path) -> None:
    """Let torch.onnx write the same random network with its defaults, nothing else."""
    network, _ = build_random_source(NetworkRequest(variant=variant, img_size=size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["image"], "output_names": ["logits"]}
        image = (torch.zeros(1, 3, *split_size(size)),)
        program = torch.onnx.export(network.float(), image, dynamo=True, verbose=False, **names)
    program.save(path, external_data=False)


def prepare(variant: str, size: Size, out: Path) -> tuple[Path, ...]:
    """Return the plain file and ours, made where they are not there."""
    stem = name_network(variant, size)
    plain = out / f"{stem}-torch.onnx"
    ours = tuple(out / f"{stem}-fp32{end}" for end in LATENCY)
    if not plain.exists():
        write_plain(variant, size, plain)
    if not all(path.exists() for path in ours):
        fca_edge.export(variant=variant, img_size=size, out=out, checks=1, force=True)
    return (plain, *ours)


def measure(record: Record) -> tuple[float, float, int]:
    """Median latency and least processor time in seconds, and the peak over the empty runtime."""
    assert record.memory is not None
    latency = statistics.median(chain(*record.latency_ns)) / 1e9
    return latency, min(chain(*record.processor_ns)) / 1e9, record.memory.model_bytes


def report(records: list[Record], base: Record) -> bool:
    """Print a row per record; tells whether the bounds hold, memory on the leanest load."""
    reference, peaks, good = measure(base), dict[str, float](), True
    for record in records:
        latency, processor, peak = (a / b for a, b in zip(measure(record), reference))
        file, label = record.artefact.file, record.runtime.label
        print(f"{file:44} {label:24} {latency:9.3f} {processor:9.3f} {peak:9.3f}")
        if record is not base:
            peaks[file] = min(peak, peaks.get(file, peak))
            plain = record.runtime.settings is None
            good &= not plain or processor <= LATENCY[Path(file).suffix]
    return good and all(peak <= PEAK for peak in peaks.values())


def main() -> None:
    """Measure each network; exits with 4 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", default=VARIANTS)
    parser.add_argument("--img-size", type=parse_size, default=512)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench/out/dense"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    good = True
    print(f"{'over the plain file':69} {'latency':>9} {'processor':>9} {'peak':>9}")
    for variant in arguments.variants:
        files = prepare(variant, arguments.img_size, arguments.out)
        how = {"processes": arguments.processes, "runs": 3, "warmup": 1}
        records = list(fca_edge.bench(files, **how))
        lean = list(fca_edge.bench(files[1:], lean=True, **how))
        good &= report(records + lean, records[0])
        write_json(arguments.out / f"{variant}.json", to_document(records + lean))
    sys.exit(0 if good else 4)


if __name__ == "__main__":
    main()
