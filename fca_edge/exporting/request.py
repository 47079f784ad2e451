"""What an export is asked for: which network, which files, which proof. Checked without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fca_edge.checkpoint.header import states_variant
from fca_edge.checkpoint.shards import compute_digest
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.exporting.forms import EIGHT_BITS, OPTIMIZE, PROFILES, USUAL
from fca_edge.exporting.quantize import STATIC
from fca_edge.labels import read_labels
from fca_edge.manifest import (
    ANSWERS,
    LABELS,
    MOST_CHECKS,
    PRECISIONS,
    Answer,
    Artefact,
    Layout,
    Precision,
    manifest_path,
    read_artefact,
    read_manifest,
)
from fca_edge.options import check_choice, check_choices, check_number
from fca_edge.preprocess import find_images
from fca_edge.sizes import Size, check_size, write_size
from fca_edge.zoo.specs import DenseSpec, find_spec, is_detector, short_name

DEFAULT_OUT = Path("models/out")
FORMATS = ("onnx", "tflite")
LAYOUTS = ("nhwc", "nchw")
# Inputs of a proof where nothing else is asked for; a proof that is repeated has no fewer.
LEAST_CHECKS = 4
MOST_PROPOSALS = 1000


@dataclass(frozen=True, kw_only=True)
class NetworkRequest:
    """Which network with which weights; None means: take it from the file, or the variant's own.

    Attributes:
        variant: network of the zoo, such as "l1".
        checkpoint: file of trained weights; random weights without one.
        weights: place in a checkpoint that holds several sets of weights.
        img_size: of the input in pixels: one number for a square, else height and width.
        seed: of random weights, and of noise to verify on.
        preprocessing: checked fields; the others come from the file, or are assumed.
        labels: names of the classes, or a file of them.
        random_head: the checkpoint is a classifier's, for the trunk of a dense network.
    """

    variant: str | None = None
    checkpoint: Path | None = None
    weights: str | None = None
    img_size: Size | None = None
    num_classes: int | None = None
    seed: int = 0
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    labels: Path | Sequence[str] | None = None
    random_head: bool = False


@dataclass(frozen=True, kw_only=True)
class AccuracyRequest:
    """What files must not lose of a checkpoint's accuracy, if there are labelled images.

    Attributes:
        data: folder with one folder of images per class, or a data set of ADE20K's or COCO's
            layout; None asks for no accuracy.
        max_drop: points of top-1, of mIoU or of average precision that a file may lose.
        mixed: keep the fewest layers of 8-bit files in float with which that is met.
        limit: number of images of a seeded sample; None takes all.
        skip_corrupt: leave images out that cannot be read.
    """

    data: Path | None = None
    max_drop: float = 1.0
    mixed: bool = False
    limit: int | None = None
    skip_corrupt: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    """An export: a network, the files to write, how they are proven.

    Attributes:
        network: whose weights.
        out: folder to write to.
        exact: take only forms that are exact in real arithmetic.
        fold: bring the network into the forms that runtimes are fast at.
        optimize: a row of `forms.OPTIMIZE`.
        weight_cache: make what `lean.py` keeps, for this machine.
        keep_float: layers that no precision quantises.
        calibration: folder of images for static quantisation, of which `calibration_images` are
            drawn by the seed.
        images: folder of real images to verify on; None takes seeded noise.
        checks: number of inputs to verify on.
        drop_tolerance: relative error below which a scale factor is dropped altogether.
        proposals: boxes that a detector looks at; None takes the usual number.
        accuracy: what files must not lose of it.
        output: what a network that answers per pixel gives: "logits" or "labels".
        force: overwrite files that are there.
        all_or_nothing: write no file if one is refused.
    """

    network: NetworkRequest
    out: Path = DEFAULT_OUT
    formats: tuple[str, ...] = FORMATS
    precisions: tuple[Precision, ...] = ("fp32",)
    profiles: tuple[str, ...] = ("modern",)
    exact: bool = False
    fold: bool = True
    dynamic_batch: bool = False
    input_layout: Layout = "nhwc"
    optimize: str = USUAL
    weight_cache: bool = False
    keep_float: tuple[str, ...] = ()
    calibration: Path | None = None
    calibration_images: int = 128
    images: Path | None = None
    checks: int = LEAST_CHECKS
    drop_tolerance: float = 1e-10
    proposals: int | None = None
    accuracy: AccuracyRequest = AccuracyRequest()
    output: Answer = "logits"
    force: bool = False
    all_or_nothing: bool = False

    @property
    def pictures(self) -> Path | None:
        """Folder of real images to verify on: noise is outside of what calibration has seen."""
        return self.images or self.calibration


def check_request(request: Request) -> None:
    """Refuse combinations that make no sense before any work is done.

    Raises:
        UsageError: options that do not fit together, or an unknown profile.
        FcaEdgeError: no images, though some were promised.
    """
    check_values(request)
    if request.dynamic_batch and "tflite" in request.formats:
        raise UsageError("--dynamic-batch is for ONNX only; add --format onnx.")
    formats = {PROFILES[name].format for name in request.profiles}
    if "tflite" in request.formats and "tflite" not in formats:
        raise UsageError(
            f"--profile {','.join(request.profiles)} writes no TFLite; add modern or --format onnx."
        )
    if "onnx" not in request.formats and "onnx" in formats:
        names = ", ".join(name for name in PROFILES if PROFILES[name].format == "onnx")
        raise UsageError(f"--profile {names} is ONNX; add --format onnx,tflite.")
    if request.images is not None:
        find_images(request.images)
    check_calibration(request)
    check_precisions(request)
    check_network(request.network)
    check_accuracy(request)
    if request.network.variant is not None:
        check_output(request, request.network.variant)
        check_detector(request, short_name(request.network.variant))


def check_detector(request: Request, variant: str) -> None:
    """Refuse what only detectors heed of other networks, and what detectors cannot have.

    Raises:
        UsageError: names the option.
    """
    if not is_detector(variant):
        if request.proposals is not None:
            raise UsageError(f"--proposals is for detectors, and {variant} is none; leave it out.")
        return
    if request.dynamic_batch:
        raise UsageError(f"--dynamic-batch: {variant} takes one picture at a time; leave it out.")
    if request.weight_cache:
        raise UsageError(f"--weight-cache: {variant} cannot be loaded lean; leave it out.")


def check_values(request: Request) -> None:
    """Refuse single values that are no values of their option.

    Raises:
        UsageError: names the option.
    """
    network = request.network
    check_choices("format", request.formats, FORMATS)
    check_choices("precision", request.precisions, PRECISIONS)
    check_choices("profile", request.profiles, PROFILES)
    check_choice("input-layout", request.input_layout, LAYOUTS)
    check_choice("output", request.output, ANSWERS)
    check_choice("optimize", request.optimize, OPTIMIZE)
    check_size("img-size", network.img_size)
    check_number("num-classes", network.num_classes, least=1)
    check_number("seed", network.seed)
    check_number("checks", request.checks, least=1, most=MOST_CHECKS)
    check_number("calibration-images", request.calibration_images, least=1)
    check_number("drop-tolerance", request.drop_tolerance, least=0, whole=False)
    check_number("max-drop", request.accuracy.max_drop, least=0, whole=False)
    check_number("limit", request.accuracy.limit, least=1)
    check_number("proposals", request.proposals, least=1, most=MOST_PROPOSALS)


def check_output(request: Request, variant: str) -> None:
    """Refuse labels of a network that has no logits per pixel.

    Raises:
        UsageError: names the network.
    """
    if request.output == LABELS and getattr(find_spec(variant), "head", None) != "upernet":
        raise UsageError(
            f"--output {LABELS} is for networks that answer per pixel, and {variant} is none;"
            " leave it out."
        )


def check_calibration(request: Request) -> None:
    """Refuse static quantisation without images, and images that nothing would look at.

    Raises:
        UsageError: one without the other, or a format that has no such file.
        FcaEdgeError: no images, though some were promised.
    """
    if request.calibration is None:
        if STATIC in request.precisions:
            raise UsageError(f"--precision {STATIC} needs images; add --calibration DIR.")
        return
    if STATIC not in request.precisions:
        raise UsageError(f"--calibration is for --precision {STATIC}; add it, or leave this out.")
    if "tflite" not in request.formats:
        raise UsageError(f"--precision {STATIC} is TFLite only; take int8, or add --format tflite.")
    find_images(request.calibration)


def check_precisions(request: Request) -> None:
    """Refuse what no file of a request would heed.

    Raises:
        UsageError: names the option.
    """
    eight = [name for name in request.precisions if name in EIGHT_BITS]
    if request.keep_float and not eight:
        raise UsageError("--keep-float is for 8-bit files; add --precision int8.")
    if request.keep_float and len(request.formats) > 1:
        raise UsageError("--keep-float names layers of one file; add --format onnx or tflite.")
    if request.optimize == "memory" and not request.fold:
        raise UsageError("--optimize memory changes folded networks; leave out --no-fold.")


def check_accuracy(request: Request) -> None:
    """Refuse options of the accuracy check that do not fit together.

    Raises:
        UsageError: random weights, options without images, or no 8-bit file to mix.
        FcaEdgeError: no images in the folder.
    """
    accuracy = request.accuracy
    if accuracy.data is None:
        idle = [name for name in ("limit", "skip_corrupt", "mixed") if getattr(accuracy, name)]
        if idle:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
            verb = "is" if len(idle) == 1 else "are"
            raise UsageError(f"{options} {verb} for --data; give that too.")
    elif request.network.checkpoint is None:
        raise UsageError("--data needs a --checkpoint: random weights are right by chance only.")
    else:
        find_images(accuracy.data)
    if accuracy.mixed and not any("int8" in name for name in request.precisions):
        raise UsageError("--mixed is for files of --precision int8; add that, or leave this out.")


def check_network(network: NetworkRequest) -> None:
    """Refuse what names no network, no weights or no file, before anything is loaded.

    Raises:
        UsageError: no such variant or checkpoint, neither of them, or a choice of weights
            without a checkpoint.
        FcaEdgeError: a file of labels that cannot be read as such.
    """
    if network.variant is not None:
        short_name(network.variant)
    if network.random_head:
        check_trunk(network)
    if isinstance(network.labels, Path):
        read_labels(network.labels)
    if network.checkpoint is not None:
        if not network.checkpoint.exists():
            raise UsageError(f"{network.checkpoint}: no such checkpoint file.")
        return
    if network.variant is None:
        raise UsageError(
            "neither --variant nor --checkpoint given; `fca-edge models` lists variants."
        )
    if network.labels is not None:
        raise UsageError("--labels needs a --checkpoint: random weights have no classes.")
    if network.weights is not None:
        raise UsageError("--weights needs a --checkpoint.")


def check_trunk(network: NetworkRequest) -> None:
    """Refuse a random head of what has none, or without weights of a trunk.

    Raises:
        UsageError: says what to add.
    """
    if network.variant is None or network.checkpoint is None:
        raise UsageError("--random-head needs a --checkpoint of a classifier and a --variant.")
    if not isinstance(find_spec(network.variant), DenseSpec):
        raise UsageError(
            f"--random-head is for networks with a trunk, and {network.variant} is a classifier;"
            " leave it out."
        )


def predict_name(network: NetworkRequest) -> str | None:
    """Return the prefix of the files' names, None if only the weights will tell their size."""
    if network.checkpoint is None:
        assert network.variant is not None
        return name_network(network.variant, network.img_size)
    if states_variant(network.checkpoint):
        return network.checkpoint.stem
    if network.variant is None or network.img_size is None:
        return None
    return name_network(network.variant, network.img_size)


def name_network(variant: str, img_size: Size | None) -> str:
    """Return a network's name, with its size if that is not the usual one."""
    spec = find_spec(variant)
    if img_size is None or img_size == spec.img_size:
        return spec.name
    return f"{spec.name}-{write_size(img_size)}px"


def check_source(path: Path, checkpoint: Path | None, weights: str | None) -> Artefact:
    """Read an artefact whose network is to be made again; refuse, without torch, what cannot be.

    Raises:
        FcaEdgeError: there is no manifest beside it, or one that cannot be used.
        UsageError: a trained artefact without its checkpoint, or with another one.
    """
    beside = manifest_path(path)
    if path.is_file() and not beside.is_file():
        manifest = read_manifest(path)
        trained = (
            f" (of {manifest.source.variant}, trained)"
            if manifest and manifest.source.trained
            else ""
        )
        raise FcaEdgeError(
            f"{path}: no manifest {beside.name} beside it; copy that along. Verifying needs its"
            f" seed and floor and, for trained weights{trained}, --checkpoint FILE."
        )
    artefact = read_artefact(path)
    build_network_request(artefact, checkpoint, weights)
    return artefact


def build_network_request(
    artefact: Artefact, checkpoint: Path | None, weights: str | None
) -> NetworkRequest:
    """Ask for the weights that an artefact was made from.

    Raises:
        UsageError: a trained artefact without its checkpoint, or with another one.
        FcaEdgeError: random weights of an unknown seed.
    """
    path, source = artefact.path, artefact.manifest.source
    if not source.trained and source.checkpoint is None:
        if source.seed is None:
            raise FcaEdgeError(f"{path}: its manifest lacks the seed; export the artefact again.")
        return NetworkRequest(
            variant=source.variant,
            img_size=source.img_size,
            num_classes=source.num_classes,
            seed=source.seed,
        )
    if checkpoint is None:
        raise UsageError(f"{path}: made from {source.checkpoint}; name it with --checkpoint.")
    if compute_digest(checkpoint) != source.checkpoint_sha256:
        raise UsageError(f"{checkpoint}: not the checkpoint that {path.name} was made from.")
    return NetworkRequest(
        variant=source.variant,
        checkpoint=checkpoint,
        weights=weights or source.weights,
        img_size=source.img_size,
        num_classes=None if source.trained else source.num_classes,
        seed=source.seed or 0,
        random_head=not source.trained,
        # Options of the export may have said what the checkpoint does not.
        preprocessing=source.preprocessing.to_dict(),
        labels=source.labels,
    )
