"""Peak memory of `fca-edge eval` does not grow with the number of images."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fca_edge.manifest import Artefact

FEW, MANY = 1000, 20_000
# Names and predictions, not pixels, of which an image has 12 kB.
MOST_BYTES_PER_IMAGE = 1024
# ru_maxrss of a small parent's waited-for children is that of the largest: eval, or its agent.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(done.returncode)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(exported: list[Artefact], tmp_path: Path) -> None:
    link_images(tmp_path / "data", MANY)
    command = [sys.executable, "-m", "fca_edge", "eval", str(exported[0].path)]
    command += ["--data", str(tmp_path / "data")]
    few, many = peak([*command, "--limit", str(FEW)]), peak(command)
    assert (many - few) / (MANY - FEW) <= MOST_BYTES_PER_IMAGE


def link_images(folder: Path, number: int) -> None:
    """Make a tree of ten classes in which every image is the same file."""
    folder.mkdir()
    first = folder.parent / "one.png"
    Image.radial_gradient("L").resize((40, 40)).save(first)
    for n in range(number):
        path = folder / str(n % 10) / f"{n:06d}.png"
        path.parent.mkdir(exist_ok=True)
        os.link(first, path)


def peak(command: list[str]) -> int:
    """Return the peak resident memory of a command, in bytes."""
    wrapped = [sys.executable, "-c", MEASURED, *command]
    return int(subprocess.run(wrapped, check=True, capture_output=True, text=True).stdout)
