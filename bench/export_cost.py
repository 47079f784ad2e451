"""Wall time and peak memory of whole `fca-edge export` processes, torch's import included.

    python bench/export_cost.py

This script imports nothing large: a child's ru_maxrss starts at its parent's.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

OUT = Path(__file__).with_name("out") / "cost"
# variant, bound on seconds, bound on peak memory over the weights, parameters
CASES = (("l1", 20.0, None, 6_188_000), ("l4", 90.0, 6.0, 65_638_000))
BYTES_PER_WEIGHT, MIB, KIB = 4, 1 << 20, 1 << 10


def main() -> None:
    missed = []
    for variant, seconds_bound, memory_bound, params in CASES:
        command = [sys.executable, "-m", "fca_edge", "export", "--variant", variant]
        command += ["--format", "onnx,tflite", "--out", str(OUT), "--force"]
        start = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
        code = os.waitstatus_to_exitcode(status)
        peak = usage.ru_maxrss * KIB
        weights = params * BYTES_PER_WEIGHT
        limit = f" (bound {memory_bound:g})" if memory_bound else ""
        print(
            f"export {variant} to onnx,tflite: exit {code}, {seconds:.1f} s"
            f" (bound {seconds_bound:g}), peak {peak / MIB:.0f} MiB ="
            f" {peak / weights:.2f} x its weights{limit}",
            flush=True,
        )
        if code or seconds > seconds_bound or (memory_bound and peak > memory_bound * weights):
            missed.append(variant)
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
