"""`make fuzz`: the same tests again and again, with other examples, until the time is over.

`python tests/fuzz/run.py MINUTES`
"""

import os
import sys
import time
from pathlib import Path

import pytest

ROUNDS = 10_000


class Rounds:
    """Repeats the tests that were collected, and ends the session when its time is over."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items *= ROUNDS

    def pytest_runtest_logfinish(self) -> None:
        if time.monotonic() > self.end:
            import mutations

            pytest.exit(f"{mutations.CASES['examples']} cases, all read or refused", 0)


if __name__ == "__main__":
    os.environ["FUZZ_MINUTES"] = minutes = sys.argv[1] if len(sys.argv) > 1 else "10"
    folder = str(Path(__file__).parent)
    sys.exit(pytest.main(["-x", "-p", "no:logging", folder], [Rounds(float(minutes))]))
