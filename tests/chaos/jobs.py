"""The jobs of the chaos rounds: what each runs, what it keeps, and whether its answer is right."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from targets.loopback import USER, Loopback
from targets.provision.sources import ANSWER, HELLO, Archive, build_wheel, compute_checksum

ROOT = Path(__file__).resolve().parent.parent.parent
DIGITS = ROOT / "models" / "digits" / "digits.safetensors"
LEAN = ROOT / "fca_edge" / "device" / "lean.py"
SIDE, NEAR = 96, 1e-3


class Template:
    """What all worlds begin with: exported files and their logits, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = ["export", "--checkpoint", DIGITS, "--profile", "modern", "--out", folder]
        command = [sys.executable, "-m", "fca_edge", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        self.files = {path.name: path for path in folder.glob("digits-fp32.*")}

    def digest(self, name: str) -> str:
        """Checksum of an exported file."""
        return hashlib.sha256(self.files[name].read_bytes()).hexdigest()

    @cached_property
    def logits(self) -> np.ndarray:
        """What the ONNX file answers, plainly loaded."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(self.files["digits-fp32.onnx"]))
        shape = session.get_inputs()[0].shape
        return session.run(None, {session.get_inputs()[0].name: make_input(shape)})[0]


def make_input(shape: list[int]) -> np.ndarray:
    """Noise of one image, channels first, turned to the layout of a shape."""
    image = np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    return image if shape[1] == 3 else np.ascontiguousarray(image.transpose(0, 2, 3, 1))


class Job(ABC):
    """One piece of ordinary work.

    Attributes:
        seconds: what it usually takes, to kill it on its way.
        needs_bytes: what it usually writes.
    """

    name: ClassVar[str]
    seconds: ClassVar[float]
    needs_bytes: ClassVar[int]

    def __init__(self, template: Template) -> None:
        self.template = template

    def prepare(self, world: Path) -> None:
        """Bring what the job needs into a world."""
        for path in self.template.folder.iterdir():
            shutil.copy(path, world) if path.is_file() else None

    @abstractmethod
    def command(self, world: Path) -> list[str]:
        """Return the command line."""

    def environment(self, world: Path) -> dict[str, str]:
        """Return variables beside those of this process."""
        return {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    @abstractmethod
    def list_kept(self, world: Path) -> list[Path]:
        """List the files that the job made, and that a later run relies on."""

    @abstractmethod
    def find_wrong(self, world: Path) -> str | None:
        """Say what is wrong with the answer of a run that ended well."""

    def close(self) -> None:  # noqa: B027
        """Let go what the job holds."""


class Export(Job):
    """Export the digits over what is there, and look at what that says of itself."""

    name, seconds, needs_bytes = "export", 5.0, 2 << 20

    def prepare(self, world: Path) -> None:
        (world / "out").mkdir()

    def command(self, world: Path) -> list[str]:
        words = ["export", "--checkpoint", DIGITS, "--format", "tflite", "--profile", "modern"]
        return [
            sys.executable,
            "-m",
            "fca_edge",
            *map(str, [*words, "--out", world / "out", "--force"]),
        ]

    def list_kept(self, world: Path) -> list[Path]:
        return [path for path in (world / "out").iterdir() if path.is_file()]

    def find_wrong(self, world: Path) -> str | None:
        names = {path.name for path in (world / "out").iterdir()}
        file = world / "out" / "digits-fp32.tflite"
        manifest = json.loads(file.with_name(file.name + ".json").read_text())
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != manifest["sha256"] or digest != self.template.digest(file.name):
            return "the file is not what its manifest says"
        left = [name for name in names if name.startswith(".fca-edge-")]
        return f"left behind: {left[0]}" if len(left) > 1 else None


class FirstLoad(Job):
    """Load a file lean, as an application does, and run it once."""

    name, seconds = "first load", 1.5
    file: ClassVar[str]

    def command(self, world: Path) -> list[str]:
        code = (
            "import os, sys, numpy; sys.path.insert(0, sys.argv[1]); from lean import open_model;"
            "from jobs import make_input; model = open_model(sys.argv[2]);"
            "shape = getattr(model, 'input_shape', model.shape);"
            "own = f'{sys.argv[3]}.{os.getpid()}.npy';"
            "numpy.save(own, model(make_input(list(shape)))); os.replace(own, sys.argv[3])"
        )
        out = Path(str(world) + ".npy")
        out.unlink(missing_ok=True)
        return [sys.executable, "-c", code, str(LEAN.parent), str(world / self.file), str(out)]

    def environment(self, world: Path) -> dict[str, str]:
        here = str(Path(__file__).parent)
        return {**super().environment(world), "PYTHONPATH": f"{here}:{here}/..:{ROOT}"}

    def list_kept(self, world: Path) -> list[Path]:
        return [path for path in (world / f"{self.file}.cache").rglob("*") if path.is_file()]

    def find_wrong(self, world: Path) -> str | None:
        out = Path(str(world) + ".npy")
        if not out.is_file():
            return "no logits"
        logits = np.load(out)  # which stays: another run may have written it at the same time
        distance = float(np.abs(logits - self.template.logits).max())
        return None if distance < NEAR else f"logits differ by {distance:.3g}"


class FirstLoadOnnx(FirstLoad):
    """With ONNX Runtime."""

    name, needs_bytes, file = "load ONNX", 3 << 20, "digits-fp32.onnx"


class FirstLoadTflite(FirstLoad):
    """With LiteRT."""

    name, needs_bytes, file = "load TFLite", 3 << 20, "digits-fp32.tflite"


class BenchOverSsh(Job):
    """Measure a file on a board that is this machine, over SSH."""

    name, seconds, needs_bytes = "bench SSH", 8.0, 4 << 20

    def prepare(self, world: Path) -> None:
        super().prepare(world)
        self.board = Loopback(world / "board")
        home = world / "user" / ".ssh"
        home.mkdir(parents=True)
        shutil.copy(self.board.config, home / "config")

    def command(self, world: Path) -> list[str]:
        # What the board would have to install is there: a wheel that adds nothing stands for it.
        code = (
            "import sys, zipfile, pathlib\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "from fca_edge.targets.provision import wheels\n"
            "def download(text, *rest, **more):\n"
            "    name = text.partition('<')[0].partition('=')[0].partition('>')[0]\n"
            "    file = folder / f'{name}-1.0-py3-none-any.whl'\n"
            "    if not file.exists():\n"
            "        with zipfile.ZipFile(file, 'w') as z: z.writestr(f'{name}_of_a_test.py', '')\n"
            "    return file\n"
            "wheels.download = download\n"
            "sys.argv[:2] = ['fca-edge']\n"
            "from fca_edge.cli import run; run()"
        )
        wheels = world.with_name(world.name + "-wheels")
        wheels.mkdir(exist_ok=True)
        words = ["bench", world / "digits-fp32.onnx", "--target", f"ssh://{USER}@loopback"]
        words += ["--processes", "1", "--runs", "2", "--json", str(world) + ".json", "--force"]
        return [sys.executable, "-c", code, str(wheels), *map(str, words)]

    def environment(self, world: Path) -> dict[str, str]:
        home = world / "user"
        more = {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
        return {**super().environment(world), **more}

    def list_kept(self, world: Path) -> list[Path]:
        kept = self.board.home / ".cache" / "fca-edge"
        return [path for path in kept.rglob("*") if path.is_file()]

    def find_wrong(self, world: Path) -> str | None:
        out = Path(str(world) + ".json")
        records = json.loads(out.read_text())["records"]
        out.unlink()
        agreement = records[0]["agreement"]
        if agreement is None:
            return "its logits were not compared"
        ratio = agreement["snr_db"]  # None where both are the same
        return None if ratio is None or ratio > 80 else f"its logits are {ratio:.1f} dB off"

    def close(self) -> None:
        self.board.close()
        shutil.rmtree(self.board.folder.parent.with_name(self.board.folder.parent.name + "-wheels"))


class SetUp(Job):
    """Set up a machine of one Debian package and one wheel, from sources that lie elsewhere."""

    name, seconds, needs_bytes = "set-up", 4.0, 2 << 20

    def prepare(self, world: Path) -> None:
        self.sources = self.template.folder / "sources"
        if not self.sources.exists():
            build_wheel(self.sources / "wheels")
            Archive(self.sources / "archive")

    def command(self, world: Path) -> list[str]:
        (wheel,) = (self.sources / "wheels").iterdir()
        # In place of a machine that takes minutes to fetch.
        code = (
            "import sys, pathlib\n"
            "from targets.provision.sources import TREE, describe_wheels\n"
            "from fca_edge.targets.provision import debian, emulation, wheels\n"
            "debian.KEYRING = pathlib.Path(sys.argv[1])\n"
            "def setup(machine, report):\n"
            "    debian.unpack(TREE, report)\n"
            f"    wheels.unpack(describe_wheels({compute_checksum(wheel)!r}), report)\n"
            "    return ['ready']\n"
            "emulation.setup = setup\n"
            "sys.argv = ['fca-edge', 'targets', 'setup', 'qemu:aarch64']\n"
            "from fca_edge.cli import run; run()"
        )
        return [sys.executable, "-c", code, str(self.sources / "archive" / "keyring.gpg")]

    def environment(self, world: Path) -> dict[str, str]:
        return {
            **super().environment(world),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "XDG_CACHE_HOME": str(world),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.sources / "wheels"),
            "FCA_EDGE_DEBIAN_MIRROR": f"copy:{self.sources / 'archive'}",
        }

    def list_kept(self, world: Path) -> list[Path]:
        return [path for path in (world / "fca-edge").rglob("*") if path.is_file()]

    def find_wrong(self, world: Path) -> str | None:
        program = world / "fca-edge" / "trees" / "small" / "usr" / "bin" / "hello"
        module = world / "fca-edge" / "wheels" / "small" / "hello.py"
        right = program.read_bytes() == HELLO and module.read_text() == ANSWER
        return None if right else "what was unpacked is not what was fetched"


JOBS: dict[str, type[Job]] = {
    job.name: job for job in (Export, FirstLoadOnnx, FirstLoadTflite, BenchOverSsh, SetUp)
}
