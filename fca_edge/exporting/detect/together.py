"""The files of a detector's parts together: what they find with NumPy between them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from fca_edge import detect
from fca_edge.exporting.detect.matching import Boxes, share
from fca_edge.exporting.detect.parts import FEATURES, MASK, PICTURE_OUTPUTS
from fca_edge.exporting.detect.reference import Objects
from fca_edge.parity import Array
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.outputs import Stream


def find_siblings(path: Path, stages: int) -> dict[str, Path] | None:
    """Return the files of all parts by the place of the mask heads' one; None if one is missing."""
    boxes = ["box"] if stages == 1 else [f"box{stage}" for stage in range(stages)]
    start, _, end = path.name.rpartition(f"-{MASK}-")
    files = {part: path.with_name(f"{start}-{part}-{end}") for part in (FEATURES, *boxes, MASK)}
    return files if all(file.is_file() for file in files.values()) else None


def match_together(
    files: dict[str, Path],
    runtime: str,
    pictures: Array,
    objects: Objects,
    layout: str,
    threads: int,
) -> float:
    """Share of objects that match those of the float64 network, in the worst picture.

    Args:
        pictures: (n, 3, H, W) float32.
        layout: "nchw" or "nhwc", of the files' inputs.

    Raises:
        AgentError: a process failed.
    """
    shares = []
    with ExitStack() as stack:
        runs = {
            part: open_part(stack.enter_context(Stream(file, RUNTIMES[runtime], threads)), layout)
            for part, file in files.items()
        }
        boxes = [run for part, run in runs.items() if part.startswith("box")]
        for picture, extent, found in zip(pictures, objects.extents, objects.found):
            image = picture.transpose(1, 2, 0)[None]
            answer = detect.detect(
                *(image, tuple(extent), runs[FEATURES], boxes, runs[MASK]),
                proposals=objects.proposals,
            )
            expected = Boxes(*(getattr(found, k).numpy() for k in ("boxes", "scores", "labels")))
            shares.append(share(expected, Boxes(*answer[:3])))
    return min(shares)


def open_part(stream: Stream, layout: str) -> Callable[[Array], list[Array]]:
    """Return a part as `detect.detect` wants it: from an array, channels last, to its outputs."""

    def run(array: Array) -> list[Array]:
        given = array if layout == "nhwc" else np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        (answer,) = stream.run_named([{"image": given.astype(np.float32)}])
        return [answer[name] for name in PICTURE_OUTPUTS if name in answer] or [answer["answer"]]

    return run
