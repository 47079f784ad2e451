"""What a whole `fca-edge export` takes, torch's import included."""

import subprocess
import sys
from pathlib import Path

import pytest

from fca_edge.zoo.build import cost

MOST_OF_THE_WEIGHTS, BYTES_PER_WEIGHT, KIB = 6.0, 4, 1 << 10


# A process between: a child's peak starts at that of whoever started it, and this one has torch.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
def test_the_peak_of_the_largest_export(tmp_path: Path) -> None:
    export = [sys.executable, "-m", "fca_edge", "export", "--variant", "l4", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *export], stdout=subprocess.PIPE, text=True, check=True
    )
    peak, weights = int(done.stdout) * KIB, cost("l4").params * BYTES_PER_WEIGHT
    print(f"{peak / weights:.2f} times the weights")
    assert weights < peak <= MOST_OF_THE_WEIGHTS * weights


def test_the_process_between_hides_the_peak_of_this_one() -> None:
    large = bytearray(400 << 20)
    large[:: 1 << 12] = bytes([1]) * len(large[:: 1 << 12])
    words = [sys.executable, "-c", PEAK, sys.executable, "-c", ""]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    assert int(done.stdout) * KIB < 100 << 20
    del large
