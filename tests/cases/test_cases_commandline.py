"""The in-process command line of the suite says what the real one says."""

import subprocess
import sys

import pytest
from commandline import fca_edge


@pytest.mark.parametrize("words", [["--help"], ["exprot"], ["models", "--nope"]])
def test_in_process_calls_say_what_real_ones_say(words: list[str]) -> None:
    command = [sys.executable, "-m", "fca_edge", *words]
    real = subprocess.run(command, capture_output=True, text=True)
    here = fca_edge(*words)
    assert (here.returncode, here.stdout, here.stderr) == (
        real.returncode,
        real.stdout,
        real.stderr,
    )
