"""Debian packages of any architecture, unpacked into a folder: no root, nothing installed.

apt resolves, fetches and verifies against the archive's signature, with a private
state and the sources that this machine is configured with.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Kept, Note, Report, expect_room, keep, remove
from fca_edge.runtimes import cache_folder
from fca_edge.store import compute_sha256
from fca_edge.targets.provision.programs import run_apt, run_program

MIRROR_VARIABLE = "FCA_EDGE_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT = Path("/etc/apt")
STAMP = ".fca-edge-packages.json"
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

    @property
    def kept(self) -> Kept:
        """The folder with what decides whether it has to be made again."""
        wanted = [self.architecture, self.release, *self.packages]
        return Kept(self.folder, {"wanted": wanted}, STAMP)


def host_architecture() -> str:
    """Debian's word for this machine."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def read_version(tree: Tree, package: str) -> str:
    """Return the version of a package that a tree holds, as Debian writes it."""
    for entry in (tree.kept.read_stamp() or {}).get("packages", ()):
        name, version, _ = str(entry["file"]).split("_")
        if name == package:
            return unquote(version)
    return "unknown"


def build_command(root: Path, program: str) -> list[str]:
    """Return the words that start a program of a tree with the tree's own loader and libraries.

    The tree must be of this machine's architecture; what is installed here does not matter.

    Raises:
        TargetUnavailableError: it holds no loader.
    """
    loader = next(root.glob("lib*/ld-linux-*.so.*"), None)
    if loader is None:
        raise TargetUnavailableError(f"{root}: holds no loader of Linux programs.")
    places = (*root.glob("lib/*-linux-gnu"), *root.glob("usr/lib/*-linux-gnu"))
    # PulseAudio's own library lies in a folder of its own.
    libraries = [str(p) for place in places for p in (place, *place.glob("pulseaudio"))]
    path = ":".join(libraries)
    return [str(loader), "--library-path", path, str(root / "usr" / "bin" / program)]


def unpack(tree: Tree, report: Report) -> Path:
    """Make a tree unless it is there; returns its folder.

    Raises:
        TargetUnavailableError: no apt, no Debian sources, or a package cannot be had.
    """
    keep(tree.kept, lambda staged: {"packages": unpack_into(staged, tree, report)}, report)
    return tree.folder


def unpack_into(folder: Path, tree: Tree, report: Report) -> list[dict[str, Any]]:
    """Unpack a tree's packages into a folder; returns what they are.

    Downloads are kept until that is done, so that a broken set-up goes on where it was.

    Raises:
        TargetUnavailableError: no apt, no Debian sources, or a package cannot be had.
    """
    state = cache_folder() / "apt" / f"{tree.release}-{tree.architecture}-{tree.name}"
    try:
        files = fetch(tree, state, report)
    except OSError:
        remove(state)  # something is in the way there; the next set-up begins anew
        raise
    sizes = [run_program(["dpkg-deb", "--field", file, "Installed-Size"]) for file in files]
    expect_room(folder, 1024 * sum(map(int, sizes)))
    for number, file in enumerate(files, 1):
        report(f"{tree.name}: unpacking {number} of {len(files)}, {file.name.split('_')[0]}")
        run_program(["dpkg-deb", "--extract", file, folder])
    relink(folder)
    packages = describe_files(files)
    shutil.rmtree(state, ignore_errors=True)
    return packages


def describe_files(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Say for a stamp which files a folder was made from."""
    return [
        {"file": file.name, "sha256": compute_sha256(file), "bytes": file.stat().st_size}
        for file in files
    ]


def fetch(tree: Tree, state: Path, report: Report) -> list[Path]:
    """Download a tree's packages with their dependencies; returns the files.

    Raises:
        TargetUnavailableError: no apt, no Debian sources, or a package cannot be had.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise TargetUnavailableError(
            f"{tree.name}: needs apt-get and dpkg-deb, which this machine does not have;"
            " use a Debian machine or container, or a board over ssh://."
        )
    archives = archive_folder(state)
    for folder in (archives / "partial", state / "none" / "partial", state / "lists" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources.list").write_text(format_sources(tree.release))
    options = apt_options(state, tree.architecture)
    report(f"{tree.name}: reading the package lists of {tree.release} {tree.architecture}")
    run_apt(["update", *options])
    # What an earlier set-up left may be of versions that are gone.
    run_apt(["autoclean", *options])
    install = ["install", "--yes", "--no-install-recommends", *options, *tree.packages]
    # Of packages that are there apt prints none: it is pointed to a folder without any.
    none = ["-o", f"Dir::Cache::Archives={state / 'none'}", "-o", "Acquire::ForceHash=SHA256"]
    checksums = parse_checksums(run_apt([*install, "--print-uris", *none]))
    for file in find_altered(archives, checksums):
        if file.exists():
            report(Note(f"{file}: its checksum is not the archive's; fetching it again"))
            file.unlink()
    run_apt([*install, "--download-only"], lambda text: report(f"{tree.name}: {text}"))
    for file in find_altered(archives, checksums):
        raise TargetUnavailableError(f"{file}: its checksum is not the archive's; run it again.")
    return [archives / name for name in checksums]


def parse_checksums(printed: Iterable[str]) -> dict[str, str]:
    """Read the sha256 of each package from what `apt-get --print-uris` says.

    They stand in lists whose own checksums stand in a file that the archive has signed.

    Raises:
        TargetUnavailableError: a package has none.
    """
    lines = [line for line in printed if line.startswith("'")]
    pattern = r"'\S+' (\S+\.deb) \d+ SHA256:([0-9a-f]{64})"
    rows = [row for row in (re.fullmatch(pattern, line) for line in lines) if row]
    if not rows or len(rows) != len(lines):
        raise TargetUnavailableError("the package lists have no sha256 of each package.")
    return {row[1]: row[2] for row in rows}


def find_altered(folder: Path, checksums: dict[str, str]) -> list[Path]:
    """List the files that are missing or have another checksum."""
    files = {folder / name: checksum for name, checksum in sorted(checksums.items())}
    return [f for f, checksum in files.items() if not f.is_file() or compute_sha256(f) != checksum]


def apt_options(state: Path, architecture: str) -> list[str]:
    """Point apt at a private state; its network settings stay those of the machine."""
    settings = {
        "Dir::Etc::SourceList": state / "sources.list",
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
