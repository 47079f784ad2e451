"""Fuzz the C runner by coverage with libFuzzer, from tiny files of the operators that we write.

usage: python tests/native/coverage.py MINUTES [FOLDER]

Needs Debian's clang and libclang-rt-dev on x86-64. Fails where a file crashes or hangs the runner
under AddressSanitizer and UndefinedBehaviorSanitizer, and leaves that file in FOLDER.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from native.sanitizers import compile_sanitized
from torch import Tensor, nn

from fca_edge.exporting.forms import PROFILES
from fca_edge.exporting.program import quiet_export
from fca_edge.exporting.tflite.lower import to_tflite
from fca_edge.native import FOLDER, Kit
from fca_edge.targets.provision.xnnpack import LIBRARY, setup_kit

ROOT = Path(__file__).resolve().parents[2]
SANITIZER = "-fsanitize=fuzzer"  # beside those of all programs in C


class Convolutions(nn.Module):
    """Convolutions of both kinds, resizing, a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.each = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.each(nn.functional.gelu(self.first(x))).relu()
        x = nn.functional.interpolate(x, (6, 6), mode="bilinear", align_corners=False)
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class Attention(nn.Module):
    """Products of two operands, a norm, softmax, splits and joins."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.head = nn.LayerNorm(3), nn.Linear(3, 9), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = torch.split(self.qkv(x), 3, 2)
        y = (q @ k.transpose(1, 2)).softmax(-1) @ torch.cat([v[:, :8], v[:, 8:]], 1)
        out: Tensor = self.head(torch.sigmoid(y).mean(1))
        return out


def write_seeds(folder: Path) -> None:
    """Write tiny files, of a few kilobytes."""
    folder.mkdir(parents=True)
    for network in (Convolutions(), Attention()):
        program = quiet_export(network.eval(), (torch.zeros(1, 3, 8, 8),), None)
        to_tflite(program, PROFILES["modern"], "{}", folder / type(network).__name__)


def build(kit: Path, folder: Path) -> list[str]:
    """Compile the runner with coverage and sanitizers; returns the words that start it."""
    program = folder / "fuzzed"
    libraries = [*kit.glob("lib/libXNNPACK.so*"), kit / "lib" / "libpthreadpool.so.0"]
    sources = [ROOT / "tests/native/libfuzzer.c", *(FOLDER / name for name in LIBRARY)]
    words = compile_sanitized(
        "clang", program, kit, SANITIZER, *sources, *libraries, "-lm", "-pthread"
    )
    # The kit's loader takes its own libc, and of this machine what the fuzzer alone needs.
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        if line.strip().startswith(("libstdc++", "libgcc_s")):
            shutil.copy(line.split()[2], folder)
    loader, option, path, start = words
    return [loader, option, f"{path}:{folder}", start]


def fuzz(words: list[str], folder: Path, minutes: float) -> int:
    """Run libFuzzer for a while; returns its exit code, 0 where nothing was at fault."""
    environment = {**os.environ, "ASAN_OPTIONS": "allocator_may_return_null=1"}
    limits = (f"-max_total_time={minutes * 60:.0f}", "-timeout=20", "-rss_limit_mb=4096")
    options = (*limits, "-max_len=65536", "-print_final_stats=1", "-verbosity=1")
    command = [*words, *options, f"-artifact_prefix={folder}/", str(folder / "corpus")]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    lines = done.stderr.splitlines()
    counts = [one for one in lines if one.startswith("stat::number_of_executed_units")]
    covered = [one.split("exec/s")[0] for one in lines if "cov:" in one][-1:]
    print(*(lines[-40:] if done.returncode else [*counts, *covered]), sep="\n")
    return done.returncode


def main() -> None:
    if shutil.which("clang") is None or platform.machine() != "x86_64":
        print("NOT FUZZED BY COVERAGE: needs clang and libclang-rt-dev on x86-64")
        return
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    kit = setup_kit(Kit(platform.machine()), print).parent
    write_seeds(folder / "corpus")
    sys.exit(fuzz(build(kit, folder), folder, float(sys.argv[1])))


if __name__ == "__main__":
    main()
