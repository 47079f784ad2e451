"""The images, built for real by buildah without an engine, and run; the ARM ones under QEMU.

`make test-docker` installs what this needs. The base is made from Debian's packages, since
it stands for any mirror of the pinned one; everything else is as a user builds it.
"""

import ast
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import ROOT

from fca_edge.runtimes import cache_folder
from fca_edge.targets.provision.machines import MACHINES, cpuinfo

ARM64, ARMV7 = "linux/arm64", "linux/arm/v7"
# Platform -> Debian's name, and ours of the machine that runs it here.
PLATFORMS = {"linux/amd64": ("amd64", None), ARM64: ("arm64", "aarch64"), ARMV7: ("armhf", "armv7")}
BASE = "localhost/base"
# One archive alone: a mirror's others can be out of step with it.
MIRROR = "http://deb.debian.org/debian"
# The store grows to half of it.
ENOUGH_MEMORY_BYTES = 12 << 30
# As in the slim images: no documentation, and no waiting for the disk.
DPKG = ("path-exclude=/usr/share/doc/*", "path-exclude=/usr/share/locale/*", "force-unsafe-io")
# An emulator sees this machine's /proc/cpuinfo; runtimes choose their kernels by it.
UNDER_CPUINFO = 'mount --bind "$0" /proc/cpuinfo && exec "$@"'


def missing() -> str:
    """Say why images cannot be built here; nothing where they can."""
    if platform.machine() != "x86_64" or os.getuid() != 0:
        return "images are built as root on x86-64"
    absent = [name for name in ("buildah", "mmdebstrap", "arch-test") if not shutil.which(name)]
    for name in ("qemu-aarch64", "qemu-arm"):
        entry = Path("/proc/sys/fs/binfmt_misc", name)
        # Without F the kernel would look for QEMU inside the image.
        if not entry.is_file() or "F" not in entry.read_text().split("flags:")[1].split()[0]:
            absent.append(f"{name} in binfmt_misc")
    return f"no {', '.join(absent)}: run `make test-docker`" if absent else ""


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


def run(command: list[str], **options: Any) -> str:
    """Run a command; a failure shows the end of what it wrote."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    said = (done.stdout + done.stderr)[-3000:]
    assert done.returncode == 0, f"{' '.join(command[:4])} … ended with {done.returncode}:\n{said}"
    return done.stdout


def base_tar(architecture: str) -> Path:
    """Make Debian's smallest system of an architecture once; it is kept between runs."""
    tar = cache_folder() / "docker-bases" / f"bookworm-{architecture}.tar"
    if not tar.is_file():
        tar.parent.mkdir(parents=True, exist_ok=True)
        new = tar.with_suffix(f".{os.getpid()}.tar")
        options = [f"--dpkgopt={option}" for option in DPKG]
        wanted = ["--variant=minbase", f"--architectures={architecture}", *options]
        try:
            run(["mmdebstrap", *wanted, "bookworm", str(new), MIRROR])
            new.replace(tar)
        finally:
            new.unlink(missing_ok=True)
    return tar


def pip_settings(folder: Path) -> list[str]:
    """Mounts that let a build reach packages the way this machine's pip does."""
    listed = run([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    # Variables come first in the list, and outrank the files.
    settings = {}
    for line in reversed(listed):
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = ast.literal_eval(value)
    words = {word for value in settings.values() for word in value.split()}
    # An index's files lie beside its pages.
    indexes = {str(Path(w.removeprefix("file://")).parent) for w in words if w.startswith("file:")}
    places = indexes | {word for word in words if word.startswith("/")}
    found = [f"{place}:{place}:ro" for place in sorted(places) if Path(place).exists()]
    if "cert" in settings:
        # At its own place it would be in the way of the package ca-certificates.
        found = [mount for mount in found if not mount.startswith(settings["cert"])]
        found.append(f"{settings['cert']}:/mnt/ca.crt:ro")
        settings["cert"] = "/mnt/ca.crt"
    file = folder / "pip.conf"
    file.write_text("\n".join(["[global]", *(f"{key} = {settings[key]}" for key in settings)]))
    return [f"--volume={mount}" for mount in [f"{file}:/etc/pip.conf:ro", *found]]


class Buildah:
    """Buildah with a store of its own, empty at first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.driver = "overlay"
        self.clear()
        folder.mkdir(parents=True)
        # Some disks take minutes to remove so many files.
        if psutil.virtual_memory().available > ENOUGH_MEMORY_BYTES:
            run(["mount", "-t", "tmpfs", "fca-edge", str(folder)])
        self.mounts = pip_settings(folder)
        # In a container there may be no overlay upon an overlay; copies take minutes more.
        if subprocess.run([*self.command(), "info"], capture_output=True).returncode:
            self.driver = "vfs"
            shutil.rmtree(folder / "root", ignore_errors=True)

    def command(self) -> list[str]:
        root, run_root = self.folder / "root", self.folder / "run"
        places = ("--root", str(root), "--runroot", str(run_root))
        return ["buildah", *places, "--storage-driver", self.driver]

    def __call__(self, *words: str, before: tuple[str, ...] = ()) -> str:
        return run([*before, *self.command(), *words])

    def clear(self) -> None:
        """Remove the store, also one that a test that was killed left mounted."""
        if self.folder.exists():
            subprocess.run([*self.command(), "umount", "--all"], capture_output=True)
            subprocess.run(["umount", "--recursive", str(self.folder)], capture_output=True)
            shutil.rmtree(self.folder)

    def bud(self, context: Path, image: str, target: str, *options: str) -> None:
        """Build an image for a platform; vfs copies every layer, so there is one a stage."""
        how = ("--isolation", "chroot", "--layers=false", "--pull-never", "--platform", target)
        self("bud", *how, "--tag", image, *options, str(context))

    def add_base(self, target: str) -> None:
        """Add a platform to the base image."""
        name = PLATFORMS[target][0]
        context = self.folder / name
        context.mkdir()
        (context / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
        shutil.copyfile(base_tar(name), context / "base.tar")
        self.bud(context, f"{BASE}-{name}", target)

    def build(self, kind: str, target: str) -> "Image":
        """Build an image of ours as a user does, but for the base and the way to packages."""
        name = f"localhost/{kind}-{PLATFORMS[target][0]}"
        arguments = [f"BASE={BASE}", "BUILDPLATFORM=linux/amd64", "TORCH_INDEX="]
        options = [f"--build-arg={argument}" for argument in arguments]
        file = f"--file={ROOT / 'docker' / f'{kind}.Dockerfile'}"
        self.bud(ROOT, name, target, file, *options, *self.mounts)
        container = self("from", "--pull-never", "--platform", target, name).strip()
        return Image(self, name, target, container)


@dataclass(frozen=True)
class Image:
    """A built image, and a container of it."""

    buildah: Buildah
    name: str
    platform: str
    container: str

    @property
    def config(self) -> dict[str, Any]:
        inspected = json.loads(self.buildah("inspect", "--type", "image", self.name))
        found: dict[str, Any] = inspected["OCIv1"]
        return found

    @property
    def bytes(self) -> int:
        number, unit = json.loads(self.buildah("images", "--json", self.name))[0]["size"].split()
        return int(float(number) * {"MB": 1e6, "GB": 1e9}[unit])

    def run(self, *words: str, volumes: tuple[str, ...] = ()) -> str:
        """Run its entry point with some words."""
        return self.run_command(*self.config["config"]["Entrypoint"], *words, volumes=volumes)

    def run_command(self, *words: str, volumes: tuple[str, ...] = ()) -> str:
        """Run a command in it."""
        options = ["--isolation", "chroot", *(f"--volume={volume}" for volume in volumes)]
        before: tuple[str, ...] = ()
        machine = MACHINES.get(PLATFORMS[self.platform][1] or "")
        if machine:
            cpu = machine.cpus[0]
            file = self.buildah.folder / f"cpuinfo-{machine.name}"
            file.write_text(cpuinfo(machine, cpu))
            options.append(f"--env=QEMU_CPU={cpu.name}")
            before = ("unshare", "--mount", "sh", "-c", UNDER_CPUINFO, str(file))
        return self.buildah("run", *options, self.container, "--", *words, before=before)


@pytest.fixture(scope="module")
def images() -> Iterator[dict[tuple[str, str], Image]]:
    """(Dockerfile, platform) -> image. Two builds at a time: a build uses one core."""
    buildah = Buildah(cache_folder() / "docker-test")
    # The slow ones first.
    wanted = [("exporter", "linux/amd64"), ("runner", ARMV7), ("runner", ARM64)]
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(buildah.add_base, reversed(PLATFORMS)))
            buildah("manifest", "create", BASE)
            for name, _ in PLATFORMS.values():
                buildah("manifest", "add", BASE, f"{BASE}-{name}")
            built = list(pool.map(lambda want: buildah.build(*want), wanted))
        yield dict(zip(wanted, built))
    finally:
        buildah.clear()


@pytest.fixture(scope="module")
def artefacts(
    images: dict[tuple[str, str], Image], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """L1 for both TFLite runtimes, exported in the exporter's image."""
    folder = tmp_path_factory.mktemp("artefacts")
    # The image's user is none of this machine.
    folder.chmod(0o777)
    wanted = ("--variant", "l1", "--format", "tflite", "--profile", "modern,tflite-2.14")
    exporter = images["exporter", "linux/amd64"]
    exporter.run("export", *wanted, "--out", "/work/out", volumes=(f"{folder}:/work/out",))
    return folder


def test_the_exporter_helps_and_is_not_root(images: dict[tuple[str, str], Image]) -> None:
    image = images["exporter", "linux/amd64"]
    assert "Usage: fca-edge" in image.run("--help")
    assert image.run_command("id", "-u").strip() == "1000"
    assert image.bytes < 2.0e9


def test_the_exporter_proves_on_both_runtimes(artefacts: Path) -> None:
    assert sorted(path.name for path in artefacts.glob("*.tflite")) == [
        "fcaformer_l1-fp32-tflite-2.14.tflite",
        "fcaformer_l1-fp32.tflite",
    ]
    manifest = json.loads((artefacts / "fcaformer_l1-fp32.tflite.json").read_text())
    assert [proof["runtime"] for proof in manifest["verification"]["runtimes"]] == [
        "litert",
        "tflite-2.14",
    ]


@pytest.mark.parametrize(
    ("target", "file", "runtime", "partitions", "most_bytes"),
    [
        (ARM64, "fcaformer_l1-fp32.tflite", "litert", 1, 0.8e9),
        (ARMV7, "fcaformer_l1-fp32-tflite-2.14.tflite", "tflite-2.14", 0, 0.5e9),
    ],
)
def test_a_runner_measures(
    images: dict[tuple[str, str], Image],
    artefacts: Path,
    target: str,
    file: str,
    runtime: str,
    partitions: int,
    most_bytes: float,
) -> None:
    image = images["runner", target]
    assert "Usage: fca-edge" in image.run("--help")
    assert image.run_command("id", "-u").strip() == "1000"
    assert image.bytes < most_bytes
    volumes = (f"{artefacts}:/models:ro",)
    text = image.run("bench", f"/models/{file}", "--json", "-", volumes=volumes)
    (record,) = json.loads(text)["records"]
    assert record["runtime"]["name"] == runtime
    assert record["runtime"]["partitions"] == partitions
    # QEMU runs it: right, and no time.
    assert record["target"]["emulated"]
    assert record["latency_ns"] == []
    assert record["memory"]["peak_bytes"] > record["memory"]["baseline_peak_bytes"]
    assert record["target"]["machine"] == {ARM64: "aarch64", ARMV7: "armv7l"}[target]
    assert record["target"]["emulator"].startswith("qemu-")
