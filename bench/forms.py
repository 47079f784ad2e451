"""Which forms are fastest: every split of 7x7 kernels and both operators for Linear, interleaved.

    python bench/forms.py [VARIANT]

One process a run, 1 thread; the models take turns in random order. The winners stand in
fca_edge/export/forms.py, the table in docs/forms.md.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console

from fca_edge.commands.shared import table
from fca_edge.export import onnx as onnx_writer
from fca_edge.export.forms import PROFILES
from fca_edge.export.program import export_program, to_float32
from fca_edge.export.tflite.file import operator_counts
from fca_edge.export.tflite.lower import to_tflite
from fca_edge.passes.base import clone_tree
from fca_edge.passes.run import fold
from fca_edge.passes.split_depthwise import SPLITS, SplitDepthwise
from fca_edge.zoo.build import build, spec_of
from fca_edge.zoo.randomise import randomise

OUT = Path(__file__).with_name("out") / "forms"
ROUNDS = 40
FORMS: list[tuple[str | None, str | None]] = [
    (form, strided) for form in (None, *SPLITS) for strided in (None, "rows", "blocks")
]


def main() -> None:
    variant = sys.argv[1] if len(sys.argv) > 1 else "l1"
    OUT.mkdir(parents=True, exist_ok=True)
    size = spec_of(variant).img_size
    network = randomise(build(variant)).double()
    folded, _ = fold(network, torch.zeros(1, 3, size, size, dtype=torch.float64))
    splits = [SplitDepthwise(*form).call(folded)[0] for form in FORMS]
    networks = [clone_tree(split) for split in splits]
    to_float32(networks)
    runs: dict[tuple[str, ...], tuple[Callable[[], object], int]] = {}
    for form, split in zip(FORMS, networks):
        program = export_program(split, size)
        for linear in ("fully_connected", "conv_2d"):
            if linear == "fully_connected" or form == ("dilated", None):
                runs[("litert", *map(str, form), linear)] = litert(program, linear, size)
        if form[1] is None or form == ("rows", "rows"):
            runs[("onnxruntime", *map(str, form), "Gemm")] = ort(program, size)
    report(variant, runs)


def litert(program, linear: str, size: int) -> tuple[Callable[[], object], int]:
    path = OUT / f"form{random.random()}.tflite"
    to_tflite(program, replace(PROFILES["modern"], linear=linear), "{}", path)
    operators = sum(operator_counts(path).values())
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image((1, size, size, 3)))
    path.unlink()
    return interpreter.invoke, operators


def ort(program, size: int) -> tuple[Callable[[], object], int]:
    path = OUT / "form.onnx"
    counts = onnx_writer.write(onnx_writer.to_onnx(program), {}, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    feed = {"image": image((1, 3, size, size))}
    return lambda: session.run(None, feed), sum(counts.values())


def image(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def report(variant: str, runs: dict[tuple[str, ...], tuple[Callable[[], object], int]]) -> None:
    samples: dict[tuple[str, ...], list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS):
        for name in random.sample(list(runs), len(runs)):
            start = time.perf_counter()
            runs[name][0]()
            if turn >= 3:
                samples[name].append((time.perf_counter() - start) * 1e3)
    made = table(variant, "stride 1", "stride 4", "linear", "operators", "median ms", "least ms")
    for name, (_, operators) in runs.items():
        median, least = statistics.median(samples[name]), min(samples[name])
        made.add_row(*name, str(operators), f"{median:.2f}", f"{least:.2f}")
    Console(width=110).print(made)


if __name__ == "__main__":
    main()
