"""Make files and use them: `export`, `bundle`, `load`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fca_edge.api.shared import (
    Progress,
    StrPath,
    Words,
    ignore_progress,
    list_words,
    optional_path,
    public,
    read_preprocessing,
)
from fca_edge.options import check_number
from fca_edge.sizes import Size

if TYPE_CHECKING:
    from fca_edge.artefacts import Artefacts
    from fca_edge.bundling.write import Bundle
    from fca_edge.exporting.request import Request
    from fca_edge.model import Model


@public
def export(
    checkpoint: StrPath | None = None,
    *,
    variant: str | None = None,
    weights: str | None = None,
    img_size: Size | None = None,
    num_classes: int | None = None,
    proposals: int | None = None,
    random_head: bool = False,
    seed: int = 0,
    formats: Words = ("onnx", "tflite"),
    precision: Words = "fp32",
    profile: Words = "modern",
    exact: bool = False,
    fold: bool = True,
    dynamic_batch: bool = False,
    input_layout: str = "nhwc",
    optimize: str = "balanced",
    output: str = "logits",
    weight_cache: bool = False,
    preprocessing: Mapping[str, Any] | StrPath | None = None,
    labels: Sequence[str] | StrPath | None = None,
    calibration: StrPath | None = None,
    calibration_images: int = 128,
    keep_float: Words = (),
    images: StrPath | None = None,
    checks: int = 4,
    drop_tolerance: float = 1e-10,
    data: StrPath | None = None,
    max_drop: float = 1.0,
    mixed: bool = False,
    limit: int | None = None,
    skip_corrupt: bool = False,
    out: StrPath = "models/out",
    force: bool = False,
    all_or_nothing: bool = False,
    progress: Progress | None = None,
) -> Artefacts:
    """Turn a trained network into ONNX and TFLite files that are proven equal to it.

    Every file is run on its runtime and compared with the float64 network before it is moved to
    its place. Needs the export extra (torch).

    Args:
        checkpoint: trained weights: a torch file, safetensors, or a shard of them; None takes
            random weights, which are good for timing alone.
        variant: network of the zoo, such as "l1"; `fca-edge models` lists them.
        weights: path of the set of weights to take, if the checkpoint holds several.
        img_size: of the input in pixels: one number, or (height, width); usually the file says.
        num_classes: usually the file says.
        proposals: boxes that a detector looks at; None takes 1000. Fewer are another result.
        random_head: take a classifier's checkpoint for the trunk of a dense network, whose head
            stays random.
        seed: of random weights, of noise to verify on, and of samples.
        formats: "onnx", "tflite".
        precision: "fp32", "fp16", "int8", "int8-static"; the last needs `calibration`.
        profile: runtimes to write for: "modern", "tflite-2.14", "litert-fp16",
            "onnxruntime-xnnpack".
        exact: take only forms that are exact in real arithmetic.
        fold: False exports the network as it was trained, for comparison.
        dynamic_batch: let the ONNX file take any batch size.
        input_layout: of TFLite files: "nhwc" or "nchw".
        optimize: "latency", "balanced" or "memory": what counts more when one costs the other.
        output: of a network that answers per pixel: "logits" at a quarter of the height and width,
            or "labels", the best class of each pixel of the input.
        weight_cache: keep weights as this machine's runtimes pack them, for lean loading.
        preprocessing: what the checkpoint does not say of its pictures: fields such as
            {"mean": 0.5, "std": 0.5, "resize": 256}, or a JSON file of them.
        labels: names of the classes, or a file of them.
        calibration, calibration_images: folder of pictures for int8-static, and how many of it.
        keep_float: layers that smaller precisions leave alone.
        images: folder of pictures to verify on; None takes noise.
        checks: number of inputs to verify on.
        drop_tolerance: relative error below which a scale factor is dropped altogether.
        data: folder of labelled images; a file that loses more than `max_drop` points of top-1
            on them is refused.
        mixed: keep the fewest layers of 8-bit files in float with which `max_drop` is met.
        limit, skip_corrupt: of `data`: take a sample of this size; leave unreadable ones out.
        out: folder to write to.
        force: overwrite files that are there.
        all_or_nothing: write no file at all if one of them is refused.

    Returns:
        One `Artefact` per file, each with `path` and `manifest`.

    Raises:
        UsageError: arguments that do not exist or do not fit together.
        RefusedError: a file is not good enough; the error's `artefacts` are those that are.
        NotEquivalentError: folding changed the network; nothing is written.
        FcaEdgeError: an unusable checkpoint, files that are there already, or no torch.

    Example:
        >>> files = fca_edge.export("best.pth", variant="l1", precision=("fp32", "int8"))
        >>> files[0].path.name
        'fcaformer_l1-fp32.onnx'
        >>> files[0].manifest["verification"]["runtimes"][0]["snr_db"]
        126.4
    """
    from fca_edge.exporting.request import AccuracyRequest, NetworkRequest, Request

    network = NetworkRequest(
        variant=variant,
        checkpoint=optional_path(checkpoint),
        weights=weights,
        img_size=img_size,
        num_classes=num_classes,
        random_head=random_head,
        seed=seed,
        preprocessing=read_preprocessing(preprocessing),
        labels=Path(labels) if isinstance(labels, (str, os.PathLike)) else labels,
    )
    accuracy = AccuracyRequest(
        data=optional_path(data),
        max_drop=max_drop,
        mixed=mixed,
        limit=limit,
        skip_corrupt=skip_corrupt,
    )
    request = Request(
        network=network,
        out=Path(out),
        formats=list_words(formats),
        precisions=list_words(precision),  # type: ignore[arg-type]  # checked later
        profiles=list_words(profile),
        exact=exact,
        fold=fold,
        dynamic_batch=dynamic_batch,
        input_layout=input_layout,  # type: ignore[arg-type]  # checked later
        optimize=optimize,
        output=output,  # type: ignore[arg-type]  # checked later
        weight_cache=weight_cache,
        keep_float=list_words(keep_float),
        calibration=optional_path(calibration),
        calibration_images=calibration_images,
        images=optional_path(images),
        checks=checks,
        drop_tolerance=drop_tolerance,
        proposals=proposals,
        accuracy=accuracy,
        force=force,
        all_or_nothing=all_or_nothing,
    )
    return carry_out(request, progress or ignore_progress)


def carry_out(request: Request, progress: Progress) -> Artefacts:
    """Check a request without torch, then carry it out."""
    from fca_edge.exporting.outputs import check_early

    check_early(request)
    progress("importing torch")
    from fca_edge.accuracy.checked_export import export_checked

    return export_checked(request, progress)


@public
def bundle(
    artefact: StrPath,
    out: StrPath,
    *,
    threads: int | None = None,
    exif: str = "apply",
    force: bool = False,
    runtime: str | None = None,
    target: str | None = None,
    plain: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Put a file into a folder that classifies images on the board, without torch.

    Args:
        out: folder to make.
        threads: of the runner; its runtime.json keeps the number. None takes 1.
        exif: "apply" lets the runner turn pictures upright, "ignore" does not.
        force: replace an older bundle.
        runtime: "xnnpack" makes a bundle without Python, of programs in C. None takes Python.
        target: machine that those programs are for: "local", "qemu:armv7", "ssh://pi@board".
        plain: let the runner in Python load the model the usual way, not in little memory.
        progress: called with one line for each step of making those programs.

    Returns:
        The folder and its files. On the board: `python run.py image.jpg`, or without Python
        `./classify picture.png`.

    Raises:
        FcaEdgeError: the folder is there already, or a manifest that does not fit the file.
        TargetUnavailableError: a board cannot be reached, or no programs made for its machine.

    Example:
        >>> fca_edge.bundle("models/out/digits-fp32.tflite", "digits-board").folder
        PosixPath('digits-board')
    """
    from fca_edge.bundling.write import bundle_file

    check_number("threads", threads, least=1)
    return bundle_file(
        Path(artefact),
        Path(out),
        threads,
        exif,
        force,
        runtime,
        target,
        plain,
        progress or ignore_progress,
    )


@public
def load(
    artefact: StrPath, runtime: str | None = None, *, lean: bool = False, threads: int = 1
) -> Model:
    """Load an exported file; the result is called with images and gives logits.

    Args:
        artefact: an ONNX or TFLite file with its manifest beside it.
        runtime: "onnxruntime", "litert" or "tflite-2.14"; None takes the file's own.
        lean: load in little memory, as `fca-edge lean` does.
        threads: of the runtime.

    Returns:
        A model. `model(images)` takes (n, 3, H, W) float32 and returns logits (n, classes);
        `model.read(PATH, ...)` makes such images of pictures. It runs in a process of its own,
        so it is no stopwatch: use `bench` for time and memory.

    Raises:
        FcaEdgeError: no such file, no manifest, or a manifest of another file.
        UsageError: a runtime that does not load such files.
        NotEquivalentError: the runtime refuses the file.
        TargetUnavailableError: the runtime is not installed.

    Example:
        >>> with fca_edge.load("models/out/digits-fp32.tflite") as model:
        ...     logits = model(model.read("seven.png"))  # (1, 10)
        >>> model.labels[logits[0].argmax()]
        '7'
    """
    from fca_edge.model import Model

    check_number("threads", threads, least=1)
    return Model(Path(artefact), runtime, lean, threads)
