"""Debian packages of any architecture, unpacked into a folder: no root, nothing installed.

apt resolves, fetches and verifies against the archive's signature, with a private
state and the sources that this machine is configured with.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from fca_edge import children
from fca_edge.errors import TargetUnavailableError
from fca_edge.runtimes import cache_folder
from fca_edge.targets.provision.folders import Report, Stamp, stage

MIRROR_VARIABLE = "FCA_EDGE_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT = Path("/etc/apt")
STAMP = Stamp(".fca-edge-packages.json", "packages")
# Debian's names of machines.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}


@dataclass(frozen=True)
class Tree:
    """Packages with their dependencies, to be unpacked into one folder.

    Attributes:
        name: of the folder in the cache.
        architecture: Debian's word, such as arm64.
        release: such as bookworm.
        packages: as apt names them.
    """

    name: str
    architecture: str
    release: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is unpacked."""
        return cache_folder() / "trees" / self.name


def host_architecture() -> str:
    """Debian's word for this machine."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def is_ready(tree: Tree) -> bool:
    """Tell whether a tree is there with the packages that are wanted now."""
    return STAMP.matches(tree.folder, describe_content(tree))


def describe_content(tree: Tree) -> list[str]:
    """What decides whether a tree has to be made again."""
    return [tree.architecture, tree.release, *tree.packages]


def ready_bytes(tree: Tree) -> int:
    """Size of the packages that a tree was made from, as they were downloaded."""
    return STAMP.downloaded_bytes(tree.folder)


def read_version(tree: Tree, package: str) -> str:
    """Return the version of a package that a tree holds, as Debian writes it."""
    for entry in STAMP.entries(tree.folder):
        name, version, _ = str(entry["file"]).split("_")
        if name == package:
            return unquote(version)
    return "unknown"


def build_command(tree: Tree, program: str) -> list[str]:
    """Return the words that start a program of a tree with the tree's own loader and libraries.

    The tree must be of this machine's architecture; what is installed here does not matter.
    """
    root = tree.folder
    loader = next(root.glob("lib*/ld-linux-*.so.*"))
    places = (*root.glob("lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu"))
    # PulseAudio's own library lies in a folder of its own.
    libraries = [str(p) for place in places for p in (place, *place.glob("pulseaudio"))]
    path = ":".join(libraries)
    return [str(loader), "--library-path", path, str(root / "usr" / "bin" / program)]


def unpack(tree: Tree, report: Report) -> Path:
    """Make a tree unless it is there; returns its folder.

    Downloads are kept until the tree is whole, so that a broken set-up goes on where it was.

    Raises:
        TargetUnavailableError: no apt, no Debian sources, or a package cannot be had.
    """
    if is_ready(tree):
        return tree.folder
    state = cache_folder() / "apt" / f"{tree.release}-{tree.architecture}-{tree.name}"
    files = fetch(tree, state, report)
    with stage(tree.folder) as staged:
        for number, file in enumerate(files, 1):
            report(f"{tree.name}: unpacking {number} of {len(files)}, {file.name.split('_')[0]}")
            run(["dpkg-deb", "--extract", str(file), str(staged)])
        relink(staged)
        STAMP.finish(staged, tree.folder, describe_content(tree), files)
    shutil.rmtree(state, ignore_errors=True)
    return tree.folder


def fetch(tree: Tree, state: Path, report: Report) -> list[Path]:
    """Download a tree's packages with their dependencies; returns the files."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise TargetUnavailableError(
            f"{tree.name}: needs apt-get and dpkg-deb, which this machine does not have;"
            " use a Debian machine or container, or a board over ssh://."
        )
    archives = archive_folder(state)
    for folder in (archives / "partial", state / "lists" / "partial", state / "etc"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "etc" / "sources.list").write_text(format_sources(tree.release))
    options = apt_options(state, tree.architecture)
    report(f"{tree.name}: reading the package lists of {tree.release} {tree.architecture}")
    run_apt(["update", *options], lambda text: None)
    # What an earlier set-up left may be of versions that are gone.
    run_apt(["autoclean", *options], lambda text: None)
    install = ["install", "--download-only", "--yes", "--no-install-recommends"]
    run_apt([*install, *options, *tree.packages], lambda text: report(f"{tree.name}: {text}"))
    return sorted(archives.glob("*.deb"))


def apt_options(state: Path, architecture: str) -> list[str]:
    """Point apt at a private state; its network settings stay those of the machine."""
    settings = {
        "Dir::Etc::SourceList": state / "etc" / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": state,
        "Dir::State::Lists": state / "lists",
        "Dir::State::Status": state / "status",
        "Dir::Cache": state,
        "Dir::Cache::Archives": archive_folder(state),
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "APT::Status-Fd": "1",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def archive_folder(state: Path) -> Path:
    """Where apt puts downloaded packages."""
    return state / "archives"


def run_apt(words: list[str], report: Report) -> None:
    """Run apt-get, reporting its progress."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    # Its complaints stand between the lines of its progress.
    process = children.start(
        ["apt-get", "--quiet", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    complaints: list[str] = []
    try:
        for line in process.stdout or ():
            status = re.match(r"dlstatus:\d+:([\d.]+):(.*)", line)
            if status:
                report(f"downloading, {float(status[1]):.0f} %")
            elif line.strip():
                complaints.append(line.strip())
        process.wait()
    finally:
        children.end(process)  # broken off, what it has downloaded is kept
    if process.returncode:
        errors = [line for line in complaints if line.startswith("E:")] or complaints[-1:]
        reason = errors[0].removeprefix("E: ") if errors else f"exit code {process.returncode}"
        raise TargetUnavailableError(
            f"apt-get {words[0]} failed: {reason}; run the set-up again to go on."
        )


def format_sources(release: str) -> str:
    """Write the sources of a release, at the mirrors that this machine is configured with.

    Raises:
        TargetUnavailableError: no Debian mirror is configured.
    """
    mirror_setting = os.environ.get(MIRROR_VARIABLE)
    mirror = mirror_setting or next(iter(find_mirrors(read_source_lists())), None)
    if mirror is None:
        raise TargetUnavailableError(
            f"no Debian mirror is configured in {APT}; name one in {MIRROR_VARIABLE}."
        )
    if not KEYRING.is_file():
        raise TargetUnavailableError(
            f"{KEYRING} is missing, by which packages are verified; install debian-archive-keyring."
        )
    return f"deb [signed-by={KEYRING}] {mirror} {release} main\n"


def read_source_lists() -> Iterable[str]:
    """Return the text of every list of sources on this machine."""
    places = [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))]
    return [p.read_text() for p in places if p.is_file() and p.suffix in (".list", ".sources")]


def find_mirrors(texts: Iterable[str]) -> list[str]:
    """Find the addresses of Debian's main archive in lists of sources, old style and new."""
    addresses = []
    for text in texts:
        for line in text.splitlines():
            if line.lstrip().startswith("#"):
                continue
            addresses += [w for w in line.split() if re.fullmatch(r"[a-z]+://\S+/debian/?", w)]
    return list(dict.fromkeys(addresses))


def relink(folder: Path) -> None:
    """Make what maintainer scripts would: absolute links relative, alternatives' libraries linked.

    Under `qemu -L` a path is looked up in the prefix first, but a link that leads out of
    the prefix is followed on the host.
    """
    for link in folder.rglob("*"):
        if link.is_symlink() and (target := os.readlink(link)).startswith("/"):
            inside = folder / target.lstrip("/")
            link.unlink()
            link.symlink_to(os.path.relpath(inside, link.parent))
    for name in ("bin", "sbin", "lib"):
        # Newer releases ship everything below /usr and leave these links to base-files.
        if not (folder / name).exists() and (folder / "usr" / name).exists():
            (folder / name).symlink_to(f"usr/{name}")
    for library in folder.glob("usr/lib/*/*/lib*.so.*"):
        # libblas and liblapack live in folders of their own, chosen by update-alternatives.
        beside = library.parent.parent / library.name
        if library.parent.name in ("blas", "lapack", "openblas-pthread") and not beside.exists():
            beside.symlink_to(f"{library.parent.name}/{library.name}")


def run(command: list[str]) -> None:
    """Run a command; its last complaint becomes the error."""
    process = children.run(command)
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise TargetUnavailableError(f"{command[0]} failed: {reason}")
