"""A detector's ONNX file against the float64 network.

What is continuous (maps, heads on fixed boxes) is compared by its signal-to-noise ratio. What is
chosen by comparing scores jumps where two of them are close, so each choice is made again in
float64 from the file's own tensors in front of it, and the boxes are matched by overlap. Last,
the objects that the file finds are matched with those that the float64 network finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.detect.matching import Boxes, share
from fca_edge.exporting.detect.reference import Objects
from fca_edge.parity import Array
from fca_edge.runtimes import RUNTIMES
from fca_edge.stats import snr_db
from fca_edge.store import temporary
from fca_edge.targets.call import Event
from fca_edge.targets.outputs import run_named
from fca_edge.zoo.dense.boxes import decode
from fca_edge.zoo.dense.detectors import (
    STAGE_STDS,
    choose_class,
    make_probe_boxes,
    propose,
    select,
)

# A pair of boxes whose overlap is that of the threshold up to rounding may go either way.
LEAST_SHARE = 0.99
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Errors:
    """What continuous tensors are off: the one with the least ratio, and all together.

    Attributes:
        part: name of that tensor.
        span: range of the reference's values.
    """

    part: str
    snr_db: float
    max_abs: float
    span: float


def check_model(
    path: Path, runtime: str, pictures: Array, reference: Array, objects: Objects, threads: int
) -> tuple[Errors, float, dict[str, Event]]:
    """Compare an ONNX file with the float64 network on one runtime.

    Args:
        pictures: (n, 3, H, W) float32.
        reference: (n, values), rows of `Detector.probe`.

    Returns:
        The errors of what is continuous, the share of objects that match those of the float64
        network in the worst picture, and the agent's events.

    Raises:
        NotEquivalentError: the file chooses other boxes than its own tensors give.
    """
    free, fixed, events = run_both(path, runtime, pictures, objects, threads)
    rows = [objects.split(row) for row in reference]
    joined = [{**one, **two} for one, two in zip(free, fixed)]
    stacked = [
        {name: np.stack([row[name] for row in one]) for name in rows[0]} for one in (rows, joined)
    ]
    for number, answer in enumerate(free):
        check_choices(path.name, answer, objects, number)
    shares = [
        share(to_boxes(found), Boxes(one["boxes"], one["scores"], one["labels"]))
        for found, one in zip(objects.found, free)
    ]
    return compare_parts(*stacked), min(shares), events


def to_boxes(found: object) -> Boxes:
    """Return the network's objects as arrays."""
    return Boxes(*(getattr(found, name).numpy() for name in ("boxes", "scores", "labels")))


def run_both(
    path: Path, runtime: str, pictures: Array, objects: Objects, threads: int
) -> tuple[list[Arrays], list[Arrays], dict[str, Event]]:
    """Run a file as it is with its inner tensors, and on fixed boxes."""
    maps = [name for name in objects.shapes if name.startswith(("fpn", "rpn"))]
    heads = [name for name in objects.shapes if name.startswith(("cls", "reg"))]
    rois = [f"rois{stage}" for stage in range(len(heads) // 2)]
    boxes = make_probe_boxes((pictures.shape[2], pictures.shape[3])).numpy().astype(np.float32)
    classes = objects.shapes["reg0"][1] // 4
    given: Arrays = {
        **dict.fromkeys([*rois, "boxes"], boxes),
        "labels": np.arange(len(boxes)) % classes,
    }
    with temporary() as folder:
        open_file, fixed_file = folder / "open.onnx", folder / "fixed.onnx"
        names = ["boxes", "scores", "labels", "masks", *maps, *rois, *heads]
        cut_model(path, open_file, {}, names)
        cut_model(path, fixed_file, given, [*heads, "masks"])
        sets = [
            {"image": picture[None], "size": extent}
            for picture, extent in zip(pictures, objects.extents)
        ]
        free, events = run_named(open_file, RUNTIMES[runtime], sets, threads)
        sets = [{"image": picture[None], **given} for picture in pictures]
        fixed, _ = run_named(fixed_file, RUNTIMES[runtime], sets, threads)
    return free, fixed, events


def cut_model(path: Path, out: Path, given: Arrays, outputs: list[str]) -> None:
    """Copy an ONNX file with inner values as inputs, others as outputs, and only what they need."""
    model = onnx.load(str(path))
    graph, wanted, nodes = model.graph, set(outputs), []
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name in given and name not in outputs:
                node.output[place] = f"{name}/left"
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(list_reads(node))
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    kept = [value for value in graph.input if value.name in wanted]
    del graph.input[:]
    graph.input.extend(kept)
    for name, array in given.items():
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.input.append(onnx.helper.make_tensor_value_info(name, kind, array.shape))
    old = {value.name: value for value in graph.output}
    for value in [v for v in graph.initializer if v.name not in wanted]:
        graph.initializer.remove(value)
    del graph.output[:], graph.value_info[:]
    for name in outputs:
        floats = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        graph.output.append(old.get(name, floats))
    onnx.save(model, str(out))


def list_reads(node: onnx.NodeProto) -> list[str]:
    """List what a node reads, and what the bodies in it read from outside."""
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    inner = [name for body in bodies for one in body.node for name in list_reads(one)]
    return [*node.input, *inner]


def compare_parts(expected: Arrays, actual: Arrays) -> Errors:
    """Find the tensor with the least signal-to-noise ratio."""
    worst, max_abs, span = ("", np.inf), 0.0, 0.0
    for name, one in expected.items():
        two = actual[name].astype(np.float64)
        ratio = snr_db(one, two)
        if not ratio >= worst[1]:
            worst = (name, ratio)
        max_abs = max(max_abs, float(np.abs(one - two).max()))
        span = max(span, float(one.max() - one.min()))
    return Errors(worst[0], worst[1], max_abs, span)


def check_choices(file: str, answer: Arrays, objects: Objects, number: int) -> None:
    """Make each choice of a picture again in float64, from the file's own tensors.

    Raises:
        NotEquivalentError: the file chooses others.
    """
    own = {k: torch.from_numpy(v) for k, v in answer.items()}
    own = {k: v.double() if v.is_floating_point() else v for k, v in own.items()}
    extent = torch.from_numpy(objects.extents[number])
    scores, deltas = (
        tuple(own[k] for k in objects.shapes if k.startswith(kind))
        for kind in ("rpn_cls", "rpn_reg")
    )
    chosen, _ = propose(scores, deltas, extent, objects.proposals)
    refuse_others(file, "proposals", of_place(chosen.numpy()), of_place(answer["rois0"]))
    stages = sum(name.startswith("cls") for name in objects.shapes)
    for stage in range(stages):
        rois = own[f"rois{stage}"]
        moved = decode(rois, own[f"reg{stage}"], STAGE_STDS[stage], extent)
        if stage < stages - 1:
            refined = choose_class(moved, own[f"cls{stage}"]).numpy()
            next_rois = of_place(answer[f"rois{stage + 1}"])
            refuse_others(file, f"boxes of stage {stage + 1}", of_place(refined), next_rois)
    mean = torch.stack([own[f"cls{stage}"] for stage in range(stages)]).mean(0)
    expected = Boxes(*(one.numpy() for one in select(moved, mean.softmax(-1))))
    actual = Boxes(answer["boxes"], answer["scores"], answer["labels"])
    refuse_others(file, "objects", expected, actual)


def of_place(boxes: Array) -> Boxes:
    """Return boxes without scores and labels."""
    return Boxes(boxes, np.zeros(len(boxes)), np.zeros(len(boxes)))


def refuse_others(file: str, what: str, expected: Boxes, actual: Boxes) -> None:
    """Refuse a choice of other boxes.

    Raises:
        NotEquivalentError: fewer than `LEAST_SHARE` of them have a partner.
    """
    matched = share(expected, actual)
    if not matched >= LEAST_SHARE:
        raise NotEquivalentError(
            f"{file} is refused: only {matched:.1%} of its {what} are those that float64 chooses"
            f" from the same scores."
        )
