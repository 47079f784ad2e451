"""A bundle for a board without Python: the kit of its machine, and settings that C reads."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path

from fca_edge.decode import COLOURS
from fca_edge.errors import FcaEdgeError, UsageError
from fca_edge.keeping import Report
from fca_edge.manifest import Artefact
from fca_edge.native import CLASSIFIER, FOLDER, PUBLIC_HEADERS, Kit
from fca_edge.preprocess import Preprocessing
from fca_edge.runtimes import RUNTIMES, local_kit
from fca_edge.sizes import split_size, write_size
from fca_edge.targets import settings
from fca_edge.targets.provision.xnnpack import setup_kit
from fca_edge.targets.qemu import KIND as QEMU
from fca_edge.targets.qemu import parse_name
from fca_edge.targets.resolve import real_name
from fca_edge.targets.ssh.address import SCHEME as SSH
from fca_edge.targets.ssh.address import parse
from fca_edge.zoo.specs import find_task

RUNTIME = RUNTIMES["xnnpack"]
# Kernels of 64-bit ARM that run 32-bit programs alone say this.
OTHER_NAMES = {"armv8l": "armv7l", "arm64": "aarch64"}
INTERPOLATIONS = ("box", "bilinear", "hamming", "bicubic", "lanczos")
SOURCES = (f"{CLASSIFIER}.c", "example.c")
HEADER = "# classify and fca_picture.h read this: the model, and how pictures are prepared.\n"
README = """\
{name}: {variant}, {size} px, {classes} classes, {precision}; made by {tool}.
For Linux on {machine}. Nothing has to be installed: `lib/` holds all, the C library as well.

    sha256sum -c SHA256SUMS                check that all was copied
    ./classify picture.png                 the five likeliest classes; --json, --help
    ./fca-run {model} in.npy out.npy
                                           the model alone

Pictures are PNG or PPM (P6); `settings.txt` says how they are prepared, and how many threads run.

In a program of yours, with any C compiler for {machine}, here or on the board:

    cc -Iinclude src/example.c lib/libfca_picture.so lib/libfca_run.so \\
        -Wl,--allow-shlib-undefined -o lib/example
    lib/{loader} --library-path lib lib/example . picture.png

`include/fca_run.h` and `include/fca_picture.h` say what each function does.
"""


def choose_kit(target: str, report: Report) -> Kit:
    """Return the kit of a target's machine, made if it is not there.

    Raises:
        UsageError: no such target.
        TargetUnavailableError: the board cannot be reached, or the kit not made.
        FcaEdgeError: there are no kits for its machine.
    """
    name = real_name(target)
    if name.startswith(f"{QEMU}:"):
        kit = parse_name(name)[0].environments[RUNTIME.name].kit
        assert kit is not None  # it is what that runtime is
    elif name.startswith(SSH):
        kit = Kit(ask_machine(name))
    else:
        kit = local_kit(RUNTIME)
    setup_kit(kit, report)
    return kit


def ask_machine(target: str) -> str:
    """Ask a board for its kind of machine, for which a shell is enough.

    Raises:
        TargetUnavailableError: it cannot be reached.
        FcaEdgeError: there are no kits for it.
    """
    from fca_edge.targets.ssh.connection import Connection

    with closing(Connection(parse(target), settings.ssh_config())) as connection:
        # What a user's shell says before is not the answer.
        answer = connection.run('echo; echo "machine: $(uname -sm)"').out
    match = re.search(r"^machine: (\w+) (\w+)$", answer, re.MULTILINE)
    system, machine = match.groups() if match else ("an unknown system", "an unknown machine")
    machine = OTHER_NAMES.get(machine, machine)
    if system != "Linux" or machine not in RUNTIME.kits:
        raise FcaEdgeError(
            f"{target}: it is {system} on {machine}; {RUNTIME.name} is for Linux on"
            f" {', '.join(RUNTIME.kits)}."
        )
    return machine


def refuse_unfit(artefact: Artefact) -> None:
    """Refuse what the programs in C cannot run, or prepare pictures for.

    Raises:
        UsageError: names it and what to do.
    """
    manifest, name = artefact.manifest, RUNTIME.name
    reason = ""
    if find_task(manifest.source.variant) != "classify":
        reason = "its program classifies pictures alone; leave --runtime out for a bundle in Python"
    elif artefact.path.suffix != RUNTIME.suffix or manifest.profile not in RUNTIME.profiles:
        profiles = " or ".join(RUNTIME.profiles)
        reason = f"{name} loads TFLite files of the profile {profiles}; export one"
    elif manifest.precision in RUNTIME.refuses:
        reason = f"{name} has no kernels for {manifest.precision}; export int8"
    elif manifest.source.preprocessing.interpolation not in INTERPOLATIONS:
        reason = (
            f"{CLASSIFIER} resizes by {', '.join(INTERPOLATIONS)}, not by"
            f" {manifest.source.preprocessing.interpolation}; export with another --interpolation"
        )
    elif not artefact.path.name.isprintable():
        reason = "its name has characters that cannot be printed; rename it and its manifest"
    if reason:
        raise UsageError(f"{artefact.path}: {reason}.")


def fill_native(
    folder: Path, artefact: Artefact, kit: Kit, threads: int, exif: str, labels: list[str]
) -> None:
    """Write all files of a bundle without Python, but for its model and checksums."""
    origin = kit.kept.place
    for name in (kit.program.name, CLASSIFIER):
        shutil.copy(origin / name, folder / name)
    shutil.copytree(origin / "lib", folder / "lib")
    for place, sources, names in (
        (folder / "include", origin / "include", PUBLIC_HEADERS),
        (folder / "src", FOLDER, SOURCES),
    ):
        place.mkdir()
        for name in names:
            shutil.copyfile(sources / name, place / name)
    lines = [" ".join(label.split()) for label in labels]
    (folder / "labels.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_settings(
        folder / "settings.txt",
        artefact.path.name,
        artefact.preprocessing,
        threads,
        exif,
        artefact.manifest.input_layout,
    )
    source, manifest = artefact.manifest.source, artefact.manifest
    readme = README.format(
        name=artefact.path.name,
        model=artefact.path.name,
        variant=source.variant,
        size=write_size(source.img_size),
        classes=source.num_classes,
        precision=manifest.precision,
        tool=manifest.tool,
        machine=kit.machine,
        loader=next((origin / "lib").glob("ld-linux*")).name,
    )
    (folder / "README.md").write_text(readme, "utf-8", "surrogateescape")


def write_settings(
    path: Path, model: str, how: Preprocessing, threads: int, exif: str, layout: str
) -> None:
    """Write what the programs in C read: the model, and how pictures become its input.

    Args:
        layout: order of the input's dimensions.
    """
    resize = (how.resize,) if isinstance(how.resize, int) else how.resize
    if how.background == "none":
        background = "none"
    else:
        background = join(COLOURS.get(str(how.background)) or tuple(how.background))
    values = {
        "model": model,
        "threads": str(threads),
        "exif": exif,
        "background": background,
        "resize": join(resize),  # of the short side; or height and width
        "interpolation": how.interpolation,
        "crop": join(split_size(how.crop)),
        "mean": join(how.mean),
        "std": join(how.std),
        "channels": how.layout,
        "input": layout,
    }
    text = HEADER + "".join(f"{key} {value}\n" for key, value in values.items())
    path.write_text(text, "utf-8", "surrogateescape")


def join(values: tuple[object, ...]) -> str:
    """Write numbers beside each other, each to its last bit."""
    return " ".join(map(repr, values))
