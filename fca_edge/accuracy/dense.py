"""Evaluate files that answer per pixel or per object: mIoU, or average precision."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fca_edge import decode, masks, scaling
from fca_edge.accuracy.data import DataRequest
from fca_edge.accuracy.dense_result import DenseAccuracy, DenseEvaluation, DenseReference
from fca_edge.accuracy.objects import (
    ObjectCounts,
    ObjectData,
    Objects,
    Photo,
    read_objects,
    require_coco,
)
from fca_edge.accuracy.pixels import Labelled, PixelCounts, list_labelled, read_labels
from fca_edge.accuracy.runners import open_runner
from fca_edge.errors import FcaEdgeError, NotEquivalentError, UsageError
from fca_edge.manifest import Artefact, Source
from fca_edge.maps import Window, label_pixels, resize_labels
from fca_edge.pictures import Seen
from fca_edge.preprocess import Listing, Preprocessing, pad, scale
from fca_edge.sizes import split_size
from fca_edge.store import compute_list_sha256
from fca_edge.zoo.specs import find_task

ImageProgress = Callable[[int, int], None]
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


def take_sample(items: Sequence[Item], request: DataRequest) -> list[Item]:
    """Take a seeded sample, in the order of all; all without a limit."""
    if request.limit is None or request.limit >= len(items):
        return list(items)
    places = random.Random(request.seed).sample(range(len(items)), request.limit)
    return [items[place] for place in sorted(places)]


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


def label_picture(runner: DenseRunner, image: Image.Image, sliding: bool) -> NDArray[Any]:
    """Return the class (H, W) of each pixel of a picture.

    Raises:
        UsageError: sliding windows of a file that gives labels, which cannot be averaged.
        NotEquivalentError: logits that are not finite.
    """
    way, window = runner.preprocessing, split_size(runner.preprocessing.crop)
    small, size = scale(image, way, inside=not sliding), (image.height, image.width)
    scaled = (small.height, small.width)
    windows = []
    for place, part in scaling.cut_windows(small, window):
        answer = runner.logits(pad(part, way)[None])[0]
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
    small = scale(image, runner.preprocessing)
    scaled, size = (small.height, small.width), (image.height, image.width)
    answer = runner.find_objects(pad(small, runner.preprocessing)[None], scaled)
    boxes = masks.rescale_boxes(answer["boxes"].reshape(-1, 4), scaled, size)
    if not (np.isfinite(boxes).all() and np.isfinite(answer["scores"]).all()):
        raise NotEquivalentError(f"{runner.name}: its boxes or scores are not finite.")
    return Objects(boxes, answer["scores"], answer["labels"], answer["masks"])


@dataclass
class Measured:
    """What networks made of the same pictures.

    Attributes:
        counts: of each network, in their order.
        paths: pictures that were taken, corrupt ones among them.
        total: how many the data set has.
        listing: of the folder, where it was listed.
    """

    counts: list[Any]
    paths: list[Path]
    total: int
    reading: Reading
    listing: Listing = field(default_factory=Listing)

    def describe(self, request: DataRequest, way: Preprocessing) -> dict[str, Any]:
        """Return what a report says of the pictures."""
        left_out = set(self.reading.corrupt)
        return {
            "folder": request.data.resolve().name,
            "sha256": compute_list_sha256([p for p in self.paths if p not in left_out]),
            "images": len(self.paths) - len(left_out),
            "found": self.total,
            "sliding": request.sliding,
            "limit": request.limit,
            "seed": request.seed,
            "corrupt": [path.name for path in self.reading.corrupt],
            "pictures": self.reading.seen.describe(way, self.listing),
        }


def measure(
    runners: Sequence[DenseRunner],
    source: Source,
    labels: Sequence[str] | None,
    request: DataRequest,
    progress: ImageProgress,
) -> Measured:
    """Run networks of one task on a data set, the reference first.

    Args:
        source: of the first network.
        labels: names of the classes, instead of the source's.

    Raises:
        FcaEdgeError: pictures or annotations that cannot be used.
        NotEquivalentError: answers that are not finite.
    """
    names = labels or source.labels
    if find_task(source.variant) == "segment":
        classes = names or [str(number) for number in range(source.num_classes)]
        measured = count_pixels(runners, classes, request, progress)
    else:
        require_coco()
        data = read_objects(request.data, request.annotations, names, source.num_classes)
        measured = count_objects(runners, data, request, progress)
    if len(measured.reading.corrupt) == len(measured.paths):
        raise FcaEdgeError(f"{request.data}: all {len(measured.paths)} images are corrupt.")
    return measured


def count_pixels(
    runners: Sequence[DenseRunner],
    names: Sequence[str],
    request: DataRequest,
    progress: ImageProgress,
) -> Measured:
    """Run networks on pictures with label maps."""
    pairs, listing = list_labelled(request.data, request.annotations)
    taken: list[Labelled] = take_sample(pairs, request)
    counts = [PixelCounts(names) for _ in runners]
    reading = Reading(skip_corrupt=request.skip_corrupt)
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
    return Measured(counts, [pair.picture for pair in taken], len(pairs), reading, listing)


def count_objects(
    runners: Sequence[DenseRunner], data: ObjectData, request: DataRequest, progress: ImageProgress
) -> Measured:
    """Run networks on pictures with objects."""
    taken: list[Photo] = take_sample(data.photos, request)
    counts = [ObjectCounts(data) for _ in runners]
    reading = Reading(skip_corrupt=request.skip_corrupt)
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
    return Measured(counts, [photo.path for photo in taken], len(data.photos), reading)


def assess_dense(
    artefacts: Sequence[Artefact],
    runtimes: Sequence[str],
    request: DataRequest,
    labels: Sequence[str] | None,
    progress: ImageProgress,
    threads: int = 1,
    reference: DenseRunner | None = None,
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
    refuse_other_preprocessing(artefacts)
    with ExitStack() as stack:
        own: list[Any] = [
            stack.enter_context(open_runner(artefact, runtime, threads))
            for artefact, runtime in zip(artefacts, runtimes)
        ]
        if against is not None:
            other: Any = open_runner(*against, threads)
            reference = stack.enter_context(other)
        runners: list[DenseRunner] = [*([reference] if reference else []), *own]
        measured = measure(runners, source, labels, request, progress)
    compared = None
    if reference is not None:
        compared = DenseReference(reference.name, measured.counts[0].compute_figures())
    first = None if compared is None else compared.figures
    return DenseEvaluation(
        task=find_task(source.variant),
        results=tuple(
            DenseAccuracy(
                file=runner.path.name,
                sha256=runner.artefact.manifest.sha256,
                precision=runner.artefact.manifest.precision,
                runtime=runner.runtime,
                version=runner.version,
                preprocessing=runner.preprocessing.to_dict(),
                figures=count.compute_figures(first),
            )
            for runner, count in zip(own, measured.counts[-len(own) :])
        ),
        data=measured.describe(request, artefacts[0].preprocessing),
        reference=compared,
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
