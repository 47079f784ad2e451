"""Everything that the project promises, measured one after the other: `make bench`.

python bench/must_show.py [exactness parity latency export_cost digits bad_input memory pictures]

What needs other toolchains or emulated boards runs by itself: bench/peers/run.py, bench/arm.py,
bench/precision_arm.py; bench/precision.py judges their figures.
"""

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out" / "digits"
CHECKPOINT = HERE.parent / "models" / "digits" / "digits.safetensors"
SPLIT = HERE.parent / "models" / "digits" / "split.py"
EXPORT = ["-m", "fca_edge", "export", "--checkpoint", str(CHECKPOINT)]

STEPS: dict[str, list[list[str]]] = {
    "exactness": [[str(HERE / "exactness.py")]],
    "parity": [[str(HERE / "parity.py")]],
    "latency": [[str(HERE / "latency.py")]],
    "export_cost": [[str(HERE / "export_cost.py")]],
    "digits": [
        [str(SPLIT), str(OUT / "images")],
        [
            *(*EXPORT, "--profile", "modern,tflite-2.14", "--precision", "fp32,fp16,int8"),
            *("--out", str(OUT), "--force"),
        ],
        [str(HERE / "digits_accuracy.py"), "--out", str(OUT), "--images", str(OUT / "images/test")],
    ],
    "bad_input": [[str(HERE / "bad_input.py")]],
    "memory": [[str(HERE / "memory.py")]],
    "pictures": [[str(HERE / "bad_pictures.py")], [str(HERE / "eval_memory.py")]],
}


def main() -> None:
    failed = []
    for name in sys.argv[1:] or STEPS:
        print(f"\n{name}\n{'-' * len(name)}", flush=True)
        start = time.monotonic()
        for words in STEPS[name]:
            if subprocess.run([sys.executable, *words]).returncode:
                failed.append(name)
                break
        print(f"({name}: {time.monotonic() - start:.0f} s)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
