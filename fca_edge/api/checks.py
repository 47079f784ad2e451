"""Check files: `verify`, `evaluate`, `sensitivity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fca_edge.api.shared import (
    Files,
    Progress,
    StrPath,
    ignore_progress,
    list_paths,
    optional_path,
    public,
    read_given,
)
from fca_edge.errors import UsageError
from fca_edge.options import check_number, spell_options

if TYPE_CHECKING:
    from fca_edge.accuracy.assess import Evaluation, ImageProgress
    from fca_edge.accuracy.dense_result import DenseEvaluation
    from fca_edge.accuracy.layerwise import Sensitivity
    from fca_edge.parity import Checks


@public
def verify(
    files: Files,
    *,
    checkpoint: StrPath | None = None,
    weights: str | None = None,
    images: StrPath | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Checks:
    """Compare files with the float64 network again, on every runtime that is set up here.

    Needs the export extra (torch).

    Args:
        files: with their manifests, which tell floor, seed and number of inputs.
        checkpoint: that the files were made from; those with random weights need none.
        weights: path of the set of weights to take, if the checkpoint holds several.
        images: folder of pictures to compare on, instead of noise by the manifest's seed.
        threads: of the runtimes.

    Returns:
        One `Check` per file and runtime. `result.equal` says whether all are,
        `result.snr_db[file, runtime]` how far the error is below the logits, in dB; a file that
        is not equal is no error until `result.raise_if_not_equal()`.

    Raises:
        UsageError: trained weights without their checkpoint.
        FcaEdgeError: a file or a checkpoint that is not the manifest's.
        NotEquivalentError: a runtime cannot run the file.
        TargetUnavailableError: the file's own runtime is not installed.

    Example:
        >>> fca_edge.verify("models/out/fcaformer_l1-fp32.onnx").snr_db
        {('fcaformer_l1-fp32.onnx', 'onnxruntime'): 126.4}
    """
    from fca_edge.exporting.request import check_source
    from fca_edge.parity import Check, Checks
    from fca_edge.preprocess import find_images

    check_number("threads", threads, least=1)
    paths, checkpoint_path, folder = (
        list_paths(files),
        optional_path(checkpoint),
        optional_path(images),
    )
    if folder is not None:
        find_images(folder)
    artefacts = [check_source(path, checkpoint_path, weights) for path in paths]
    if checkpoint_path is not None and not any(one.manifest.source.checkpoint for one in artefacts):
        raise UsageError(
            f"--checkpoint is for trained weights; {paths[0]} has random ones, leave it out."
        )
    report = progress or ignore_progress
    report("importing torch")
    from fca_edge.exporting.again import verify_again

    checks, notes = list[Check](), list[str]()
    for number, artefact in enumerate(artefacts, 1):
        report(f"file {number} of {len(artefacts)}: verifying {artefact.path.name}")
        verified = verify_again(artefact, checkpoint_path, weights, folder, threads)
        checks += verified.checks
        notes += map(spell_options, verified.notes)
    return Checks(tuple(checks), tuple(notes))


@public
def evaluate(
    files: Files,
    data: StrPath,
    *,
    annotations: StrPath | None = None,
    sliding: bool = False,
    labels: StrPath | None = None,
    checkpoint: StrPath | None = None,
    weights: str | None = None,
    against: StrPath | None = None,
    limit: int | None = None,
    seed: int = 0,
    runtime: str | None = None,
    threads: int = 1,
    skip_corrupt: bool = False,
    exif: str | None = None,
    background: str | tuple[int, int, int] | None = None,
    progress: ImageProgress | None = None,
) -> Evaluation | DenseEvaluation:
    """Count how often files are right on labelled images: top-1 and top-5, mIoU, or AP.

    Needs torch only with `checkpoint`; for detectors the extra "coco".

    Args:
        data: one folder of images per class, named as the labels or by number; for pixels a data
            set of ADE20K's layout, for objects of COCO's.
        annotations: folder of label maps, or JSON file of objects; None takes the data set's own.
        sliding: cover pictures by windows that overlap, instead of shrinking them to one.
        labels: file of the classes' names, instead of the manifest's.
        checkpoint, weights: compare with these, in torch float32.
        against: compare with another file instead.
        limit, seed: take a sample of this many images, by this seed.
        runtime: for all files, instead of each file's own.
        threads: of the runtime.
        skip_corrupt: leave out images that cannot be read.
        exif: "apply" turns pictures upright, "ignore" does not; None does as the export did.
        background: what lies behind transparent pixels: "white", "black", "none" or (R, G, B).
        progress: called with the number of images that are done, and of all.

    Returns:
        One `Accuracy` per file: `top1.percent` with `top1.low` and `top1.high` (95 %), `top5`,
        and `figures` with agreement and drop beside a reference. For other networks one
        `DenseAccuracy`: `figures.miou`, or `figures.box.ap` and `figures.mask.ap`.

    Raises:
        UsageError: files of other classes, or arguments that do not fit together.
        FcaEdgeError: images or manifests that cannot be used.
        NotEquivalentError: a file that does not run, or whose logits are not finite.

    Example:
        >>> fca_edge.evaluate("models/out/digits-fp32.tflite", "digits/test")[0].top1.percent
        98.3
    """
    from fca_edge.accuracy.assess import evaluate_files
    from fca_edge.accuracy.data import DataRequest

    check_number("threads", threads, least=1)
    check_number("limit", limit, least=1)
    check_number("seed", seed)
    if checkpoint is not None and against is not None:
        raise UsageError("--checkpoint and --against: give one of them.")
    return evaluate_files(
        list_paths(files),
        DataRequest(
            Path(data),
            optional_path(labels),
            limit,
            seed,
            skip_corrupt,
            optional_path(annotations),
            sliding,
        ),
        reading=read_given(exif=exif, background=background),
        checkpoint=optional_path(checkpoint),
        weights=weights,
        against=optional_path(against),
        runtime=runtime,
        threads=threads,
        progress=progress or (lambda done, total: None),
    )


@public
def sensitivity(
    artefact: StrPath,
    data: StrPath,
    *,
    precision: str = "int8",
    max_drop: float = 1.0,
    images: int = 64,
    limit: int | None = None,
    seed: int = 0,
    exif: str | None = None,
    background: str | tuple[int, int, int] | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Quantise one layer at a time, then find the fewest layers to keep in float.

    Needs the export extra.

    Args:
        artefact: an fp32 TFLite file of an export.
        data: folder with one folder of images per class.
        precision: what the layers are quantised to; "int8" alone.
        max_drop: points of top-1 that may be lost against the file.
        images: number of `data` on which each layer is measured.
        limit: images of `data` that the search looks at.
        seed: of both samples.
        exif, background: as in `evaluate`.

    Returns:
        Losses by layer (`mix.layers`), and `keep`: what `export` takes as `keep_float`.

    Raises:
        UsageError: no fp32 TFLite file.
        NotEquivalentError: no choice of layers is accurate enough.

    Example:
        >>> fca_edge.sensitivity("models/out/l1-fp32.tflite", "val/", max_drop=0.2).keep
        ('linear_3', 'linear_7')
    """
    from fca_edge.accuracy.layerwise import measure_layers

    return measure_layers(
        Path(artefact),
        Path(data),
        reading=read_given(exif=exif, background=background),
        precision=precision,
        max_drop=max_drop,
        images=images,
        limit=limit,
        seed=seed,
        report=progress or ignore_progress,
    )
