"""The lane of deterministic costs: export, count on emulated ARM, compare with the baselines.

    python bench/gate.py [--update]

Exits with the code of `fca-edge compare --gate` (4 where something got worse), or 3 where an
emulated board computes something else than this machine. --update moves the baselines.

Exports, and then the two machines, run side by side: what is counted does not depend on time.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out" / "gate"
BASELINES = HERE / "baselines"
THRESHOLDS = BASELINES / "thresholds.toml"
DIGITS = HERE.parent / "models" / "digits" / "digits.safetensors"
TOOL = (sys.executable, "-m", "fca_edge")
SOURCES = (("--variant", "l1"), ("--variant", "micro"), ("--checkpoint", str(DIGITS)))
OLD, XNNPACK = "-tflite-2.14.tflite", "-onnxruntime-xnnpack.onnx"
# Same file, same input, other kernels in another order of summation: float32 keeps this.
LEAST_DB = 110.0
EMULATED = ("aarch64", "armv7")
SIDE_BY_SIDE = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="move the baselines")
    update = parser.parse_args().update
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(export, SOURCES))
        print(f"exported after {time.monotonic() - started:.0f} s", flush=True)
        records = list(pool.map(count, EMULATED))
    failed = 0
    for machine, file in zip(EMULATED, records, strict=True):
        codes = (disagreement(file), judge(machine, file, update))
        failed = failed or next(filter(None, codes), 0)
    print(f"{time.monotonic() - started:.0f} s in all")
    sys.exit(failed)


def export(source: tuple[str, str]) -> None:
    """Export a network for every profile that an emulated machine has a runtime for."""
    profiles = ("--profile", "modern,tflite-2.14,onnxruntime-xnnpack")
    tool("export", *source, *profiles, "--out", str(OUT / source[1].rpartition("/")[2]))


def count(machine: str) -> Path:
    """Bench what a machine's own runtimes would be given; returns the file of records."""
    tool("targets", "setup", f"qemu:{machine}")
    files = [f for f in sorted(OUT.glob("*/*")) if meant_for(f, machine)]
    records = OUT / f"{machine}.json"
    words = ("--target", f"qemu:{machine}", "--threads", "4", "--processes", "1")
    tool("bench", *map(str, files), *words, "--json", str(records))
    return records


def meant_for(file: Path, machine: str) -> bool:
    """Tell whether a file is of a profile for the machine's own runtimes."""
    if file.suffix == ".onnx":
        return machine == "armv7" or not file.name.endswith(XNNPACK)
    return file.suffix == ".tflite" and file.name.endswith(OLD) == (machine == "armv7")


def disagreement(records: Path) -> int:
    """Return 3 where logits differ from this machine's, and say where."""
    for record in json.loads(records.read_text())["records"]:
        found = (record["agreement"] or {"snr_db": 0.0})["snr_db"]
        if found is not None and found < LEAST_DB:
            name = record["artefact"]["file"]
            print(f"{name}: {found:.1f} dB on {record['target']['name']}, less than {LEAST_DB:g}")
            return 3
    return 0


def judge(machine: str, records: Path, update: bool) -> int:
    """Compare with the baseline, or move it; returns the exit code."""
    baseline = BASELINES / f"{machine}.json"
    words = ("--update-baseline",) if update else ("--gate", str(THRESHOLDS))
    return tool("compare", str(baseline), str(records), *words, fails=True)


def tool(*words: str, fails: bool = False) -> int:
    """Run a subcommand and show what it printed in one piece.

    A failure ends the lane unless the caller wants the code.
    """
    begun = time.monotonic()
    done = subprocess.run([*TOOL, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors="replace")
    print("fca-edge", *words, f"\n{text}({time.monotonic() - begun:.0f} s)", flush=True)
    if done.returncode and not fails:
        sys.exit(done.returncode)
    return done.returncode


if __name__ == "__main__":
    main()
