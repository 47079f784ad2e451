"""Every bad input with its line and exit code.

python bench/bad_input.py
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
OUT = HERE / "out" / "bad"
DIGITS = HERE.parent / "models" / "digits" / "digits.safetensors"
# Exit codes other than 1, failed.
EXPECTED = {
    "a good export first": 0,
    "wrong image size": 2,
    "wrong number of classes": 2,
    "unknown variant": 2,
    "calibration without a folder": 2,
    "greyscale among RGB": 0,
    "one class": 0,
}
WRONG: list[str] = []


class Attack:
    """Unpickling this would run a command."""

    def __reduce__(self):
        return os.system, ("echo pwned > /tmp/fca-edge-pwned",)


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    (OUT / "cut.safetensors").write_bytes(DIGITS.read_bytes()[:400_000])
    torch.save({"model": load_file(DIGITS), "args": Attack()}, OUT / "attack.pth")
    state = load_file(DIGITS)
    torch.save(state, OUT / "whole.pth")
    (OUT / "cut.pth").write_bytes((OUT / "whole.pth").read_bytes()[:400_000])
    state["layer_2.blocks.1.qkv.weight"][0, 0] = torch.nan
    torch.save(state, OUT / "nan.pth")
    (OUT / "in-the-way").write_text("a file")
    export = ["export", "--out", str(OUT / "made")]
    good = [*export, "--checkpoint", str(DIGITS), "--format", "onnx"]
    run("a good export first", *good)
    run("truncated safetensors", *export, "--checkpoint", f"{OUT}/cut.safetensors")
    run("truncated torch file", *export, "--variant", "micro", "--checkpoint", f"{OUT}/cut.pth")
    run(
        "pickle that would run code",
        *export,
        "--variant",
        "l1",
        "--checkpoint",
        f"{OUT}/attack.pth",
    )
    run("wrong variant", *export, "--variant", "l2", "--checkpoint", str(DIGITS))
    run("wrong image size", *export, "--checkpoint", str(DIGITS), "--img-size", "64")
    run("wrong number of classes", *export, "--checkpoint", str(DIGITS), "--num-classes", "7")
    run("unwritable output", "export", "--checkpoint", str(DIGITS), "--out", f"{OUT}/in-the-way/x")
    run("existing file without --force", *good)
    run("unknown variant", *export, "--variant", "swim_tiny")
    run("NaN weights", *export, "--variant", "micro", "--checkpoint", f"{OUT}/nan.pth")
    if WRONG:
        sys.exit(f"another exit code than expected: {', '.join(WRONG)}")
    assert not Path("/tmp/fca-edge-pwned").exists()
    print("files left in the output folder:", sorted(p.name for p in (OUT / "made").iterdir()))


def run(what: str, *words: str) -> None:
    command = [sys.executable, "-m", "fca_edge", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    line = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    line = line.replace(f"{HERE.parent}/", "")
    print(f"{what}: exit {done.returncode}\n    {line}", flush=True)
    if done.returncode != EXPECTED.get(what, 1) or "Traceback" in done.stderr:
        WRONG.append(what)


if __name__ == "__main__":
    main()
