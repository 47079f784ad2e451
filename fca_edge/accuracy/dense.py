"""Evaluate files that answer per pixel or per object: mIoU, or average precision."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fca_edge import decode, masks, scaling
from fca_edge.accuracy.objects import (
    ObjectCounts,
    ObjectData,
    ObjectFigures,
    Objects,
    Photo,
    read_objects,
    require_coco,
)
from fca_edge.accuracy.pixels import Labelled, PixelCounts, PixelFigures, list_labelled, read_labels
from fca_edge.accuracy.runners import ArtefactRunner
from fca_edge.errors import FcaEdgeError, NotEquivalentError, UsageError
from fca_edge.manifest import Artefact
from fca_edge.maps import Window, label_pixels, resize_labels
from fca_edge.pictures import Seen
from fca_edge.preprocess import Listing, Preprocessing
from fca_edge.store import compute_list_sha256
from fca_edge.tables.document import Document, Printable
from fca_edge.zoo.specs import find_task

SCHEMA = "fca_edge.accuracy/1"
ImageProgress = Callable[[int, int], None]
DenseFigures = PixelFigures | ObjectFigures
Item = TypeVar("Item")


class DenseRunner(Protocol):
    """A network that can be run on a picture."""

    @property
    def name(self) -> str:
        """What it is, for messages."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What its input must have gone through."""

    def logits(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Run images (n, 3, H, W); returns (n, classes, h, w), or labels (n, H, W)."""

    def find_objects(
        self, image: NDArray[np.float32], size: tuple[int, int]
    ) -> dict[str, NDArray[Any]]:
        """Run one image (1, 3, H, W) that has a size without its padding.

        Returns:
            boxes, scores, labels and masks, in pixels of the input.
        """


@dataclass(frozen=True)
class DenseRequest:
    """Which pictures are taken, and how.

    Attributes:
        annotations: a folder of label maps, or a JSON file; None takes the data set's own.
        sliding: cover pictures by windows of the file's size instead of shrinking them to it.
        limit: number of pictures of a seeded sample; None takes all.
        skip_corrupt: leave pictures out that cannot be read, and count them.
    """

    data: Path
    annotations: Path | None = None
    sliding: bool = False
    limit: int | None = None
    seed: int = 0
    skip_corrupt: bool = False

    def sample(self, items: Sequence[Item]) -> list[Item]:
        """Take a seeded sample, in the order of all."""
        if self.limit is None or self.limit >= len(items):
            return list(items)
        places = random.Random(self.seed).sample(range(len(items)), self.limit)
        return [items[place] for place in sorted(places)]


@dataclass(frozen=True)
class DenseAccuracy:
    """How right one file is on one runtime.

    Attributes:
        file: its name.
        version: of the runtime.
        preprocessing: what the pictures went through.
    """

    file: str
    sha256: str
    precision: str
    runtime: str
    version: str
    preprocessing: dict[str, Any]
    figures: DenseFigures

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, those of the figures among them."""
        fields = {f.name: getattr(self, f.name) for f in dataclass_fields(self)}
        return {**{k: v for k, v in fields.items() if k != "figures"}, **self.figures.to_dict()}


@dataclass(frozen=True)
class DenseReference:
    """What drops are counted against."""

    name: str
    figures: DenseFigures


@dataclass(frozen=True)
class DenseEvaluation(Printable, Sequence[DenseAccuracy]):
    """Accuracy of one or more files on the same pictures; a sequence of `DenseAccuracy`.

    Attributes:
        task: "segment" or "detect".
        results: one per file.
        data: the folder, and what was read of it.
        reference: the checkpoint or artefact that the files are compared with; None without.
        warnings: what makes the figures mean less than they seem to.
        notes: what was assumed of the pictures.
    """

    task: str
    results: tuple[DenseAccuracy, ...]
    data: dict[str, Any]
    reference: DenseReference | None
    threads: int
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def document(self) -> Document:
        """Return one row per file, the reference first."""
        from fca_edge.report.dense_table import build_document

        return build_document(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report, as `fca-edge eval --json` writes it."""
        return {
            "schema": SCHEMA,
            "task": self.task,
            "data": self.data,
            "reference": None if self.reference is None else asdict(self.reference),
            "threads": self.threads,
            "warnings": list(self.warnings),
            "results": [result.to_dict() for result in self.results],
        }


@dataclass
class Reading:
    """What was seen of the pictures while they were read."""

    seen: Seen = field(default_factory=Seen)
    corrupt: list[Path] = field(default_factory=list)
    skip_corrupt: bool = False

    def decode(self, path: Path, ways: Sequence[Preprocessing]) -> dict[Any, Image.Image] | None:
        """Read a picture in each way; None for one that cannot be read and is left out.

        Raises:
            FcaEdgeError: it cannot be read.
        """
        images = {}
        try:
            for way in ways:
                if key_of(way) not in images:
                    picture = decode.decode(str(path), way.exif, way.background)
                    self.seen.add(path, picture.marks)
                    images[key_of(way)] = picture.image
        except decode.PictureError as error:
            if not self.skip_corrupt:
                raise FcaEdgeError(
                    f"{path}: not a readable image ({error}); remove or replace it. Or leave such"
                    " images out: --skip-corrupt."
                ) from None
            self.corrupt.append(path)
            return None
        return images


def key_of(way: Preprocessing) -> tuple[Any, ...]:
    """Return what decides how a file becomes pixels."""
    return way.exif, way.background


def split_side(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an input."""
    return (size, size) if isinstance(size, int) else size


def label_picture(runner: DenseRunner, image: Image.Image, sliding: bool) -> NDArray[Any]:
    """Return the class (H, W) of each pixel of a picture.

    Raises:
        UsageError: sliding windows of a file that gives labels, which cannot be averaged.
        NotEquivalentError: logits that are not finite.
    """
    way, window = runner.preprocessing, split_side(runner.preprocessing.crop)
    size, small = scale(image, way, None if sliding else window)
    scaled = (small.height, small.width)
    windows = []
    for place, part in scaling.cut_windows(small, window):
        answer = runner.logits(to_input(part, way, window))[0]
        if answer.ndim == 2:
            if sliding:
                raise UsageError(
                    f"{runner.name}: gives labels, and --sliding averages logits; export it with"
                    " --output logits."
                )
            return np.asarray(resize_labels(answer, scaled, size))
        windows.append(Window(answer, place, window))
    try:
        return np.asarray(label_pixels(windows, scaled, size))
    except ValueError:
        raise NotEquivalentError(f"{runner.name}: its logits are not finite.") from None


def find_in_picture(runner: DenseRunner, image: Image.Image) -> Objects:
    """Return the objects of a picture, in its own pixels.

    Raises:
        NotEquivalentError: boxes or scores that are not finite.
    """
    way, window = runner.preprocessing, split_side(runner.preprocessing.crop)
    size, small = scale(image, way, window)
    scaled = (small.height, small.width)
    answer = runner.find_objects(to_input(small, way, window), scaled)
    boxes = masks.rescale_boxes(answer["boxes"].reshape(-1, 4), scaled, size)
    if not (np.isfinite(boxes).all() and np.isfinite(answer["scores"]).all()):
        raise NotEquivalentError(f"{runner.name}: its boxes or scores are not finite.")
    return Objects(boxes, answer["scores"], answer["labels"], answer["masks"])


def scale(
    image: Image.Image, way: Preprocessing, window: tuple[int, int] | None
) -> tuple[tuple[int, int], Image.Image]:
    """Return the size (height, width) of a picture, and the picture scaled as it must be."""
    size = (image.height, image.width)
    assert not isinstance(way.resize, int)
    scaled = scaling.compute_scaled_size(size, way.resize, window)
    return size, scaling.scale_picture(image, scaled, way.interpolation)


def to_input(
    image: Image.Image, way: Preprocessing, window: tuple[int, int]
) -> NDArray[np.float32]:
    """Normalise a scaled picture, then pad it: (1, 3, H, W)."""
    pixels = scaling.pad(decode.normalise(image, vars(way)), window)  # (H, W, 3)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def count_pixels(
    runners: Sequence[DenseRunner],
    names: Sequence[str],
    request: DenseRequest,
    reading: Reading,
    progress: ImageProgress,
) -> tuple[list[PixelCounts], list[Path], Listing, int]:
    """Run all networks on pictures with label maps, the reference first.

    Returns:
        Counts of each, the pictures that were taken, the folder's listing, and how many it has.
    """
    pairs, listing = list_labelled(request.data, request.annotations)
    taken: list[Labelled] = request.sample(pairs)
    counts = [PixelCounts(names) for _ in runners]
    for number, pair in enumerate(taken):
        progress(number, len(taken))
        images = reading.decode(pair.picture, [runner.preprocessing for runner in runners])
        if images is None:
            continue
        first = None
        for runner, count in zip(runners, counts):
            image = images[key_of(runner.preprocessing)]
            truth = read_labels(pair.labels, (image.height, image.width), len(names))
            labels = label_picture(runner, image, request.sliding)
            count.add(truth, labels, first)
            first = labels if first is None else first
    progress(len(taken), len(taken))
    return counts, [pair.picture for pair in taken], listing, len(pairs)


def count_objects(
    runners: Sequence[DenseRunner],
    data: ObjectData,
    request: DenseRequest,
    reading: Reading,
    progress: ImageProgress,
) -> tuple[list[ObjectCounts], list[Path]]:
    """Run all networks on pictures with objects, the reference first."""
    taken: list[Photo] = request.sample(data.photos)
    counts = [ObjectCounts(data) for _ in runners]
    for number, photo in enumerate(taken):
        progress(number, len(taken))
        images = reading.decode(photo.path, [runner.preprocessing for runner in runners])
        if images is None:
            continue
        for runner, count in zip(runners, counts):
            image = images[key_of(runner.preprocessing)]
            if (image.height, image.width) != (photo.height, photo.width):
                raise FcaEdgeError(
                    f"{photo.path}: is {image.width} x {image.height} pixels, {data.file.name}"
                    f" says {photo.width} x {photo.height}; the boxes are another picture's."
                )
            count.add(photo, find_in_picture(runner, image))
    progress(len(taken), len(taken))
    return counts, [photo.path for photo in taken]


def assess_dense(
    artefacts: Sequence[Artefact],
    runtimes: Sequence[str],
    request: DenseRequest,
    labels: Sequence[str] | None,
    progress: ImageProgress,
    threads: int = 1,
    reference: Any = None,
    against: tuple[Artefact, str] | None = None,
) -> DenseEvaluation:
    """Evaluate each artefact of one task on its runtime.

    Args:
        labels: names of the classes; None takes those of the artefacts.
        reference: a network that drops are counted against, or None.
        against: the same, if it is an artefact on a runtime.

    Raises:
        FcaEdgeError: pictures or annotations that cannot be used.
        NotEquivalentError: an artefact that does not run, or without finite answers.
    """
    source = artefacts[0].manifest.source
    task, names = find_task(source.variant), labels or source.labels
    refuse_other_preprocessing(artefacts)
    data = None
    if task == "detect":
        require_coco()
        data = read_objects(request.data, request.annotations, names, source.num_classes)
    reading = Reading(skip_corrupt=request.skip_corrupt)
    listing = Listing()
    with ExitStack() as stack:
        own = [
            stack.enter_context(ArtefactRunner(artefact, runtime, threads))
            for artefact, runtime in zip(artefacts, runtimes)
        ]
        if against is not None:
            reference = stack.enter_context(ArtefactRunner(*against, threads))
        runners: list[Any] = [*([reference] if reference else []), *own]
        counts: Sequence[PixelCounts | ObjectCounts]
        if data is None:
            classes = names or [str(number) for number in range(source.num_classes)]
            counts, paths, listing, total = count_pixels(
                runners, classes, request, reading, progress
            )
        else:
            counts, paths = count_objects(runners, data, request, reading, progress)
            total = len(data.photos)
    if len(reading.corrupt) == len(paths):
        raise FcaEdgeError(f"{request.data}: all {len(paths)} images are corrupt.")
    first: Any = counts[0].compute_figures() if reference else None
    results = [
        DenseAccuracy(
            file=runner.path.name,
            sha256=runner.artefact.manifest.sha256,
            precision=runner.artefact.manifest.precision,
            runtime=runner.runtime,
            version=runner.version,
            preprocessing=runner.preprocessing.to_dict(),
            figures=count.compute_figures(first),
        )
        for runner, count in zip(own, counts[len(runners) - len(own) :])
    ]
    left_out = set(reading.corrupt)
    return DenseEvaluation(
        task=task,
        results=tuple(results),
        data={
            "folder": request.data.resolve().name,
            "sha256": compute_list_sha256([path for path in paths if path not in left_out]),
            "images": len(paths) - len(left_out),
            "found": total,
            "sliding": request.sliding,
            "limit": request.limit,
            "seed": request.seed,
            "corrupt": [path.name for path in reading.corrupt],
            "pictures": reading.seen.describe(artefacts[0].preprocessing, listing),
        },
        reference=None if first is None else DenseReference(reference.name, first),
        threads=threads,
    )


def refuse_other_preprocessing(artefacts: Sequence[Artefact]) -> None:
    """Refuse files of an older export, which cut a square out of a picture.

    Raises:
        FcaEdgeError: names the first.
    """
    for artefact in artefacts:
        if artefact.preprocessing.fit != "pad":
            raise FcaEdgeError(
                f"{artefact.path}: its preprocessing cuts a part out of each picture, and a dense"
                " network sees the whole; export it again."
            )
