"""docs/tutorial.md: its commands do what it shows, with the digits model as the reader's own."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from commandline import fca_edge
from conftest import DIGITS, ROOT
from safetensors.torch import load_file

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
# What no test has: a board.
ELSEWHERE = ("ssh", "qemu", "pi.json", "models", "targets")
OPTIONS = "--checkpoint best.pth --weights model_ema --mean 0.5 --std 0.5 --resize 96 --crop 96"
OPTIONS += " --interpolation bicubic --layout rgb --labels names.txt"


def commands() -> list[tuple[list[str], str]]:
    """Every `fca-edge` command of the page that runs here, with what the page shows of it."""
    runs = []
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            if line.startswith("fca-edge") and not any(word in line for word in ELSEWHERE):
                line = line.partition("#")[0].replace("…", OPTIONS)
                runs.append((line.replace("val/", "val").split()[1:], output))
    return runs


@pytest.mark.slow
def test_the_tutorial(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = load_file(DIGITS)
    raw = {name: tensor * 1.001 for name, tensor in weights.items()}
    torch.save({"model": raw, "model_ema": weights, "epoch": 39}, "best.pth")
    Path("names.txt").write_text("\n".join(map(str, range(10))))
    shutil.copytree(digits, "val")
    runs = commands()
    assert len(runs) == 6
    for words, output in runs:
        done = fca_edge(*words)
        assert done.returncode == (2 if "fca-edge: error" in output else 0), done.stderr
        # Figures differ from machine to machine; names and words do not.
        names = re.findall(r"\b[a-z_]+-(?:fp32|int8)\.(?:onnx|tflite)|model_ema|assumed", output)
        assert [name for name in names if name not in done.stdout + done.stderr] == []
