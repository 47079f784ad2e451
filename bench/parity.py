"""Artefacts of the real networks with golden hard weights: parity, graphs, partitions.

    python bench/parity.py [VARIANT ...]

Every file of both TFLite profiles is run on LiteRT and on tflite-runtime 2.14.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import golden_data

from fca_edge.commands.shared import table
from fca_edge.export.forms import PROFILES
from fca_edge.export.pipeline import run_export
from fca_edge.export.plan import Request
from fca_edge.export.source import Wanted
from fca_edge.export.tflite.file import OPERATOR_NAMES
from fca_edge.manifest import Artefact
from fca_edge.zoo.specs import ZOO

OUT = Path(__file__).with_name("out") / "parity"
VARIANTS = ("l1", "l2", "l3", "l4", "convnext_tiny", "swin_tiny")
COLUMNS = ("file", "ops", "BN", "const ×", "slices", "runtime", "SNR dB", "part.", "approximations")


def main() -> None:
    made, broken = table(*COLUMNS), []
    for variant in sys.argv[1:] or VARIANTS:
        for item in exported(variant):
            add_rows(made, item)
            broken += broken_promises(item)
            item.path.unlink()
    Console(width=150).print(made)
    print("const ×: products with a constant a channel; those left are the affine of norms that")
    print("feed another norm or a residual (FcaFormer: one a block; ConvNeXt, Swin: the stem's).")
    if broken:
        sys.exit("; ".join(broken))


def exported(variant: str) -> list[Artefact]:
    """Export a network with golden hard weights, as a checkpoint that a user would have."""
    OUT.mkdir(parents=True, exist_ok=True)
    checkpoint = OUT / f"{ZOO[variant].name}.safetensors"
    state = golden_data.state(variant, golden_data.HARD)
    save_file({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, checkpoint)
    wanted = Wanted(variant, checkpoint, None, None, None)
    done = run_export(Request(wanted, OUT, profiles=tuple(PROFILES), force=True), say)
    if variant == "l1":
        profiles = ("tflite-2.14",)
        request = Request(wanted, OUT / "exact", ("tflite",), profiles, exact=True, force=True)
        done += run_export(request, say)
    checkpoint.unlink()
    return done


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def add_rows(made: Table, item: Artefact) -> None:
    """One row a runtime."""
    counts: dict[str, int] = item.manifest.operators
    products = (
        onnx_products(item.path) if item.path.suffix == ".onnx" else tflite_products(item.path)
    )
    head = [
        str(item.path.relative_to(OUT)),
        str(sum(counts.values())),
        str(counts.get("BatchNormalization", 0)),
        str(products),
        str(counts.get("SLICE", 0) + counts.get("Slice", 0)),
    ]
    for found in item.manifest.verification.runtimes:
        partitions = "" if found.partitions is None else str(found.partitions)
        runtime = f"{found.runtime} {found.version}"
        named = "; ".join(item.manifest.approximations)
        made.add_row(*head, runtime, f"{found.snr_db:.1f}", partitions, named)
        head = [""] * len(head)


def broken_promises(item: Artefact) -> list[str]:
    """Say what of the promised graph a file does not keep; parity has stopped the export itself."""
    counts, name = item.manifest.operators, item.path.name
    source, passes = item.manifest.source, item.manifest.passes
    kept = sum(len(one.skipped) for one in passes if one.name == "norm_affine")
    count = onnx_products if item.path.suffix == ".onnx" else tflite_products
    slices = counts.get("SLICE", 0) + counts.get("Slice", 0)
    tflite = item.manifest.profile == "modern"
    checks = {
        "BatchNorm left": "BatchNormalization" in counts,
        "products with a constant a channel": count(item.path) > kept,
        "slices": slices and source.variant.startswith("l"),
        "more than 560 operators": tflite and source.variant == "l1" and sum(counts.values()) > 560,
    }
    return [f"{name}: {text}" for text, wrong in checks.items() if wrong]


def onnx_products(path: Path) -> int:
    """Count Mul nodes with a constant that varies over channels."""
    model = onnx.load(path)
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type == "Mul"]
    return sum(any(shapes.get(name, (1,))[-1:] > (1,) for name in n.input) for n in products)


def tflite_products(path: Path) -> int:
    """Count MUL operators with a constant that is repeated over a larger tensor."""
    model: Any = schema.Model.GetRootAs(np.memmap(path, np.uint8, mode="r"))
    graph = model.Subgraphs(0)
    found = 0
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        if OPERATOR_NAMES[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()] != "MUL":
            continue
        size = np.prod(graph.Tensors(operator.OutputsAsNumpy()[0]).ShapeAsNumpy())
        inputs = [graph.Tensors(t) for t in operator.InputsAsNumpy()]
        constants = [t for t in inputs if model.Buffers(t.Buffer()).DataLength()]
        found += any(1 < np.prod(t.ShapeAsNumpy()) < size for t in constants)
    return found


if __name__ == "__main__":
    main()
