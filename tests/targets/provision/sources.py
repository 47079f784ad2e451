"""Where a set-up fetches from, made for a test: a signed Debian archive and a folder of wheels."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from fca_edge.targets.provision import debian
from fca_edge.targets.provision.debian import Tree
from fca_edge.targets.provision.wheels import Wheels

HELLO, ANSWER = b"hello\n" * 100_000, "answer = 42\n"
TOOLS = ("apt-get", "dpkg-deb", "gpg", "gpgconf")
needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}"
)


def compute_checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class Archive:
    """A Debian archive of one small package, signed with a key of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keyring = folder, folder / "keyring.gpg"
        self.home = folder / "gpg"
        self.home.mkdir(parents=True, mode=0o700)
        for words in (
            ("--quick-generate-key", "test@example", "ed25519", "sign", "never"),
            ("--output", self.keyring, "--export", "test@example"),
        ):
            self.gpg(*words)
        self.release = folder / "dists" / "bookworm"
        self.lists = self.release / "main" / "binary-arm64"
        self.lists.mkdir(parents=True)
        self.package = folder / "pool" / "hello_1.0_arm64.deb"
        self.build(HELLO)
        self.publish()

    def gpg(self, *words: object) -> None:
        command = ["gpg", "--homedir", self.home, "--batch", "--passphrase", "", *words]
        subprocess.run([*map(str, command)], check=True, capture_output=True)

    def build(self, content: bytes) -> None:
        """Make the package; it holds one program."""
        root = self.folder / "root"
        (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (root / "usr" / "bin").mkdir(parents=True, exist_ok=True)
        (root / "usr" / "bin" / "hello").write_bytes(content)
        fields = {"Package": "hello", "Version": "1.0", "Architecture": "arm64"}
        fields |= {"Maintainer": "test <test@example>", "Description": "test"}
        fields |= {"Installed-Size": str(len(content) >> 10)}
        text = "".join(f"{key}: {value}\n" for key, value in fields.items())
        (root / "DEBIAN" / "control").write_text(text)
        self.package.parent.mkdir(exist_ok=True)
        # Not compressed: what is altered in it shows in what is unpacked.
        words = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, self.package]
        subprocess.run([*map(str, words)], check=True, capture_output=True)
        self.entry = (
            f"{text}Filename: pool/{self.package.name}\nSize: {self.package.stat().st_size}\n"
            f"SHA256: {compute_checksum(self.package)}\n"
        )

    def publish(self) -> None:
        """Write the lists and sign what holds their checksums."""
        packages = self.lists / "Packages"
        packages.write_text(self.entry)
        line = f" {compute_checksum(packages)} {packages.stat().st_size} main/binary-arm64/Packages"
        (self.release / "Release").write_text(
            "Suite: bookworm\nCodename: bookworm\nArchitectures: arm64\nComponents: main\n"
            f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{line}\n"
        )
        signed = self.release / "InRelease"
        signed.unlink(missing_ok=True)
        self.gpg("--clearsign", "--output", signed, self.release / "Release")
        # It has started an agent, which would live on.
        words = ["gpgconf", "--homedir", str(self.home), "--kill", "all"]
        subprocess.run(words, check=True, capture_output=True)

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let set-ups of this process fetch from here."""
        # apt leaves packages of a "file:" archive where they are.
        monkeypatch.setenv(debian.MIRROR_VARIABLE, f"copy:{self.folder}")
        monkeypatch.setattr(debian, "KEYRING", self.keyring)


TREE = Tree("small", "arm64", "bookworm", ("hello",))


def build_wheel(folder: Path, content: str = ANSWER) -> Path:
    """Make a wheel of one module, with content that does not compress to nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "hello-1.0-py3-none-any.whl"
    entries = {
        "hello.py": content,
        "hello.bin": os.urandom(5000).hex(),
        "hello-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n",
        "hello-1.0.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(f"{name},,\n" for name in entries) + "hello-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**entries, "hello-1.0.dist-info/RECORD": record}.items():
            archive.writestr(name, text)
    return file


def use_wheels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip take wheels from a folder alone."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def describe_wheels(checksum: str = "") -> Wheels:
    return Wheels("small", "aarch64", "3.11", 36, ("hello==1.0",), (checksum,))
