"""Peak memory of `fca-edge eval` must not grow with the number of images.

    python bench/eval_memory.py [--images 50000]

Links one small image many times, and evaluates a random network of micro dimensions on a
few and on all of them, each in a fresh process. Fails where the peak grows by more than
a kilobyte an image: names and predictions, not pixels (12 kB here).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

FEW = 1000
MOST_BYTES_AN_IMAGE = 1024
# ru_maxrss of a small parent's waited-for children is that of the largest: eval, or its agent.
MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(done.returncode)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        words = ["--variant", "micro", "--img-size", "32", "--format", "onnx", "--out", name]
        cli = [sys.executable, "-m", "fca_edge"]
        subprocess.run([*cli, "export", *words], check=True, stdout=subprocess.DEVNULL)
        artefact = next(place.glob("*.onnx"))
        links(place / "data", arguments.images)
        command = [*cli, "eval", str(artefact), "--data", str(place / "data")]
        few = peak([*command, "--limit", str(FEW)])
        many = peak(command)
    grown = (many - few) / (arguments.images - FEW)
    print(json.dumps({"images": arguments.images, "peak_few": few, "peak_all": many}))
    print(f"{few / 2**20:.1f} MiB with {FEW} images, {many / 2**20:.1f} MiB with all;", end=" ")
    print(f"{grown:.0f} bytes an image")
    if grown > MOST_BYTES_AN_IMAGE:
        sys.exit("memory grows with the number of images")


def links(folder: Path, number: int) -> None:
    """Make a tree of seven classes in which every image is the same file."""
    folder.mkdir()
    first = folder.parent / "one.png"
    Image.radial_gradient("L").resize((40, 40)).save(first)
    for n in range(number):
        path = folder / str(n % 7) / f"{n:06d}.png"
        path.parent.mkdir(exist_ok=True)
        os.link(first, path)


def peak(command: list[str]) -> int:
    """Return the peak resident memory of a command, in bytes."""
    wrapped = [sys.executable, "-c", MEASURED, *command]
    return int(subprocess.run(wrapped, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
