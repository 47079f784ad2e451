"""Faults in what a set-up keeps: two at once, wheels and packages that are not what they were."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import fca_edge, refused
from targets.provision.sources import (
    ANSWER,
    HELLO,
    TREE,
    Archive,
    build_wheel,
    compute_checksum,
    describe_wheels,
    needs_tools,
    use_wheels,
)

from fca_edge.errors import TargetUnavailableError
from fca_edge.keeping import Note
from fca_edge.manifest import Artefact
from fca_edge.runtimes import (
    OLD_TFLITE,
    OLD_TFLITE_VARIABLE,
    available,
    cache_folder,
    imports,
)
from fca_edge.store import STAGED
from fca_edge.targets.provision import debian, emulation, old_tflite, plugin, wheels, xnnpack
from fca_edge.targets.provision.machines import CHECKSUMS, HOST, MACHINES
from fca_edge.targets.provision.wheels import Wheels

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fca-edge"


@pytest.fixture(scope="module")
def only_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("index"))


@pytest.fixture
def index(only_wheel: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only wheel that pip finds."""
    use_wheels(tmp_path / "index", monkeypatch)
    (tmp_path / "index").mkdir()
    return Path(shutil.copy(only_wheel, tmp_path / "index"))


@pytest.fixture(scope="module")
def fetched(
    only_wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """Caches with the wheel as it was fetched, by the checksum that was asked for."""
    with pytest.MonkeyPatch.context() as patch:
        use_wheels(only_wheel.parent, patch)
        caches = {}
        for checksum in ("", compute_checksum(only_wheel)):
            caches[checksum] = tmp_path_factory.mktemp("fetched")
            patch.setenv("XDG_CACHE_HOME", str(caches[checksum]))
            wheels.download("hello==1.0", describe_wheels(checksum))
    yield caches


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def archive(
    published: Archive, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Archive:
    """An archive that a test may spoil."""
    own = object.__new__(Archive)
    own.__dict__.update(published.__dict__)
    shutil.copytree(published.folder / "pool", tmp_path / "archive" / "pool")
    shutil.copytree(published.folder / "dists", tmp_path / "archive" / "dists")
    own.folder = tmp_path / "archive"
    own.release = own.folder / "dists" / "bookworm"
    own.lists = own.release / "main" / "binary-arm64"
    own.package = own.folder / "pool" / published.package.name
    own.use(monkeypatch)
    return own


def list_notes(said: list[str]) -> list[str]:
    return [text for text in said if isinstance(text, Note)]


def list_left(cache: Path) -> list[str]:
    """What a set-up that was broken off has left in the cache."""
    return [str(p) for p in cache.rglob("*") if p.name.startswith(STAGED) and p.is_dir()]


# F14: two at once


@needs_tools
def test_f14_two_set_ups_of_one_tree_and_its_wheels(
    archive: Archive, index: Path, cache: Path, tmp_path: Path
) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from targets.provision.sources import TREE, describe_wheels
from pathlib import Path
from fca_edge.keeping import Note
from fca_edge.targets.provision import debian, wheels
debian.KEYRING = Path({str(archive.keyring)!r})
def say(text):
    if isinstance(text, Note):
        print(text)
print(debian.unpack(TREE, say), wheels.unpack(describe_wheels(), say))
"""
    words = [sys.executable, "-c", program]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(words, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    ended = [(*process.communicate(timeout=120), process.returncode) for process in running]
    for out, error, code in ended:
        assert (error, code) == ("", 0)
        *notes, last = out.splitlines()
        assert last == f"{TREE.folder} {describe_wheels().folder}"
        assert all(note.endswith("another process is making it; waiting") for note in notes)
    assert (TREE.folder / "usr" / "bin" / "hello").read_text().startswith("hello\n")
    assert (describe_wheels().folder / "hello.py").is_file()
    assert list_left(cache) == []


# F15: wheels


def get_html() -> bytes:
    return b"<!DOCTYPE html><title>Sign in to the hotel's network</title>" * 100


def flip_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


SPOILED: dict[str, Callable[[Path], object]] = {
    "half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "emptied": lambda file: os.truncate(file, 0),
    "sparse zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "an HTML page": lambda file: file.write_bytes(get_html()),
    "a byte flipped": flip_middle,
    "another wheel": lambda file: shutil.copy(build_wheel(file.parent / "x", "no = 1"), file),
    "gone": Path.unlink,
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a link": lambda file: (file.unlink(), file.symlink_to("/etc/hostname")),
}


@pytest.mark.parametrize(
    ("name", "pinned"),
    [*((name, True) for name in SPOILED), ("another wheel", False), ("a byte flipped", False)],
)
def test_f15_a_kept_wheel_that_is_not_what_it_was(
    name: str, pinned: bool, index: Path, fetched: dict[str, Path], cache: Path
) -> None:
    checksum = compute_checksum(index)
    wanted = describe_wheels(checksum if pinned else "")
    shutil.copytree(fetched[wanted.checksums[0]], cache.parent)
    (file,) = cache.rglob("*.whl")
    assert compute_checksum(file) == checksum
    SPOILED[name](file)
    said: list[str] = []
    wheels.unpack(wanted, said.append)
    (note,) = list_notes(said)
    assert file.name in note and "making it again" in note
    assert compute_checksum(file) == checksum
    assert (wanted.folder / "hello.py").read_text() == ANSWER
    assert list_notes(said) == [note]


def test_f15_another_wheel_beside_it_is_not_taken(index: Path) -> None:
    file = wheels.download("hello==1.0", describe_wheels())
    build_wheel(file.parent, "no = 1").rename(file.with_name("aaa-1.0-py3-none-any.whl"))
    assert wheels.download("hello==1.0", describe_wheels()) == file


def test_f15_what_was_kept_by_an_older_version_is_fetched_again(index: Path, cache: Path) -> None:
    place = wheels.downloads(describe_wheels()) / "hello==1.0"
    build_wheel(place, "no = 1")
    said: list[str] = []
    file = wheels.download("hello==1.0", describe_wheels(), said.append)
    assert compute_checksum(file) == compute_checksum(index)
    assert "has no valid stamp" in said[0]


def test_f15_a_download_that_is_not_what_is_pinned(index: Path, cache: Path) -> None:
    wanted = describe_wheels("0" * 64)
    for _ in range(2):
        with pytest.raises(TargetUnavailableError, match=r"hello-1\.0.*not the one that fca-edge"):
            wheels.unpack(wanted, lambda text: None)
    assert [p for p in cache.rglob("*") if p.is_file()] == []


def test_f15_another_checksum_in_the_table_makes_it_again(index: Path) -> None:
    wheels.unpack(describe_wheels(), lambda text: None)
    said: list[str] = []
    wanted = describe_wheels(compute_checksum(index))
    wheels.unpack(wanted, said.append)
    assert all("is of another version" in note for note in list_notes(said))
    assert wanted.kept.find_fault() is None


def test_f15_who_pins_and_who_does_not_share_a_wheel(index: Path) -> None:
    """A board's wheels are not pinned, those of the emulated machine are."""
    checksum = compute_checksum(index)
    wheels.download("hello==1.0", describe_wheels())
    index.unlink()
    said: list[str] = []
    for pinned in (checksum, "", checksum):
        wheels.download("hello==1.0", describe_wheels(pinned), said.append)
    assert list_notes(said) == []
    with pytest.raises(TargetUnavailableError):  # the index is gone
        wheels.download("hello==1.0", describe_wheels("0" * 64), said.append)
    assert "is of another version" in list_notes(said)[0]


def test_f15_an_index_that_serves_a_page(index: Path, cache: Path) -> None:
    index.write_bytes(get_html())
    with pytest.raises(TargetUnavailableError, match=r"hello==1\.0 for aarch64") as caught:
        wheels.unpack(describe_wheels(), lambda text: None)
    assert "\n" not in str(caught.value)
    assert [p for p in cache.rglob("*") if p.is_file()] == []


def test_f15_every_wheel_of_an_emulated_machine_is_pinned() -> None:
    sets = [e.wheels for m in MACHINES.values() for e in m.environments.values() if e.wheels]
    for wanted in [*sets, wheels_of_second()]:
        assert len(wanted.checksums) == len(wanted.requirements), wanted
        assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in wanted.checksums), wanted
    pinned = {(text, w.machine) for w in [*sets, wheels_of_second()] for text in w.requirements}
    assert pinned | {("numpy==1.26.4", "aarch64")} == set(CHECKSUMS)


def wheels_of_second() -> Wheels:
    return old_tflite.pinned_wheels(OLD_TFLITE, "x86_64")


# F15: Debian packages


@needs_tools
def test_f15_packages_are_what_the_signed_lists_say(archive: Archive, cache: Path) -> None:
    folder = debian.unpack(TREE, lambda text: None)
    assert (folder / "usr" / "bin" / "hello").is_file()
    assert debian.read_version(TREE, "hello") == "1.0"
    assert list((cache / "apt").iterdir()) == []


@needs_tools
@pytest.mark.parametrize(
    "name", [n for n in SPOILED if n not in ("a folder", "a link", "another wheel")]
)
def test_f15_a_kept_package_that_is_not_what_it_was(
    name: str, archive: Archive, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set-up that broke off keeps its downloads. apt itself looks at their size alone."""
    state = cache / "apt" / f"{TREE.release}-{TREE.architecture}-{TREE.name}"
    (file,) = debian.fetch(TREE, state, lambda text: None)
    SPOILED[name](file)
    said: list[str] = []
    debian.unpack(TREE, said.append)
    notes = list_notes(said)
    assert len(notes) == (name != "gone")
    assert all(f"{file}: its checksum is not the archive's" in note for note in notes)
    content = (TREE.folder / "usr" / "bin" / "hello").read_bytes()
    assert content == HELLO


STATES: dict[str, Callable[[Path], object]] = {
    "a file": lambda state: (shutil.rmtree(state), state.touch()),
    "its lists are a file": lambda state: (
        shutil.rmtree(state / "lists"),
        (state / "lists").touch(),
    ),
    "a package is a folder": lambda state: (
        [file.unlink() for file in state.glob("archives/*.deb")],
        (state / "archives" / "hello_1.0_arm64.deb").mkdir(),
    ),
    "its sources are a folder": lambda state: (
        (state / "sources.list").unlink(),
        (state / "sources.list").mkdir(),
    ),
}


@needs_tools
@pytest.mark.parametrize("name", STATES)
def test_f15_what_is_in_the_way_of_apt_is_gone_at_the_next_set_up(
    name: str, archive: Archive, cache: Path
) -> None:
    state = cache / "apt" / f"{TREE.release}-{TREE.architecture}-{TREE.name}"
    debian.fetch(TREE, state, lambda text: None)
    STATES[name](state)
    with pytest.raises(TargetUnavailableError, match="cannot be made"):
        debian.unpack(TREE, lambda text: None)
    debian.unpack(TREE, lambda text: None)
    assert (TREE.folder / "usr" / "bin" / "hello").is_file()


@needs_tools
def test_f15_an_archive_whose_package_was_replaced(archive: Archive, cache: Path) -> None:
    flip_middle(archive.package)
    with pytest.raises(TargetUnavailableError, match=r"apt-get install failed.*Hash Sum mismatch"):
        debian.unpack(TREE, lambda text: None)
    assert not TREE.folder.exists()
    flip_middle(archive.package)
    debian.unpack(TREE, lambda text: None)


@needs_tools
@pytest.mark.parametrize("name", ["lists", "signed text", "signature", "another key"])
def test_f15_an_archive_that_is_not_what_was_signed(
    name: str, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = archive.release / "InRelease"
    if name == "lists":
        packages = archive.lists / "Packages"
        packages.write_text(packages.read_text().replace("Version: 1.0", "Version: 9.9"))
    elif name == "signed text":
        signed.write_text(signed.read_text().replace("Suite: bookworm", "Suite: bookwork"))
    elif name == "signature":
        signed.write_bytes((archive.release / "Release").read_bytes())
    else:
        monkeypatch.setattr(
            debian, "KEYRING", Path("/usr/share/keyrings/debian-archive-keyring.gpg")
        )
    with pytest.raises(TargetUnavailableError, match=r"apt-get .* failed") as caught:
        debian.unpack(TREE, lambda text: None)
    assert "\n" not in str(caught.value)
    assert not TREE.folder.exists()


@needs_tools
@pytest.mark.parametrize("damage", ["emptied", "half", "a byte flipped", "an HTML page"])
def test_f15_kept_lists_that_are_wrong_heal(damage: str, archive: Archive, cache: Path) -> None:
    """apt itself compares them with what was signed."""
    state = cache / "apt" / f"{TREE.release}-{TREE.architecture}-{TREE.name}"
    debian.fetch(TREE, state, lambda text: None)
    lists = [p for p in (state / "lists").iterdir() if p.is_file() and p.name != "lock"]
    assert len(lists) == 2
    for file in lists:
        SPOILED[damage](file)
    debian.unpack(TREE, lambda text: None)
    content = (TREE.folder / "usr" / "bin" / "hello").read_bytes()
    assert content == HELLO


def test_f15_lists_without_checksums_are_refused() -> None:
    line = "'http://x/hello_1.0_arm64.deb' hello_1.0_arm64.deb 7 "
    good = f"{line}SHA256:{'0' * 64}"
    assert debian.parse_checksums(["Reading...", good]) == {"hello_1.0_arm64.deb": "0" * 64}
    for lines in ([], ["Reading..."], [good, f"{line}MD5Sum:{'0' * 32}"], [line]):
        with pytest.raises(TargetUnavailableError, match="no sha256"):
            debian.parse_checksums(lines)


# F16: what check, bench and set-up say


@pytest.fixture
def second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second environment that set-up has made, of a shell script that imports anything."""

    def build(folder: Path, place: Path, report: object) -> None:
        (folder / "bin").mkdir()
        python = folder / "bin" / "python"
        python.write_text("#!/bin/sh\nexit 0\n")
        python.chmod(0o755)
        (folder / "library.so").write_bytes(b"library" * 100)

    monkeypatch.setattr(old_tflite, "list_ways", lambda: [("a script", build)])
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(tmp_path / "old" / "bin" / "python"))
    imports.cache_clear()
    assert fca_edge("targets", "setup", "local").returncode == 0
    yield tmp_path / "old"
    imports.cache_clear()


SECOND: dict[str, tuple[str, Callable[[Path], object]]] = {
    "stamp emptied": ("no valid stamp", lambda f: (f / ".fca-edge-kept.json").write_text("")),
    "interpreter gone": ("bin/python is missing", lambda f: (f / "bin" / "python").unlink()),
    "library flipped": ("library.so was altered", lambda f: flip_middle(f / "library.so")),
    "half of it": ("bytes instead of", lambda f: os.truncate(f / "library.so", 350)),
}


@pytest.mark.parametrize("name", SECOND)
def test_f16_the_second_environment_heals(second: Path, name: str) -> None:
    fault, damage = SECOND[name]
    damage(second)
    refused(fca_edge("targets", "check", "local"), 6, "tflite-2.14 not ready", fault, "setup local")
    done = fca_edge("targets", "list")
    assert re.search(r"local +tflite-2\.14 +no +run `fca-edge targets setup local`", done.stdout)
    done = fca_edge("targets", "setup", "local")
    assert done.returncode == 0
    assert f"{second}: " in done.stderr and fault in done.stderr
    assert fca_edge("targets", "check", "local").returncode == 0
    assert fca_edge("targets", "setup", "local").stderr == ""


def test_f16_an_environment_that_runs_no_more_heals(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are as they were; the interpreter that they lead to is gone."""
    base = second.parent / "base"

    def build(folder: Path, place: Path, report: object) -> None:
        base.write_text("#!/bin/sh\nexit 0\n")
        base.chmod(0o755)
        (folder / "bin").mkdir()
        (folder / "bin" / "python").symlink_to(base)

    monkeypatch.setattr(old_tflite, "list_ways", lambda: [("a link", build)])
    shutil.rmtree(second)
    assert fca_edge("targets", "setup", "local").returncode == 0
    base.unlink()
    imports.cache_clear()
    refused(fca_edge("targets", "check", "local"), 6, "cannot import it", "setup local")
    done = fca_edge("targets", "setup", "local")
    assert done.returncode == 0
    assert "cannot import it; making it again" in done.stderr
    assert fca_edge("targets", "check", "local").returncode == 0


@pytest.fixture
def emulated(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An emulated machine of which everything is there, and nothing is real."""

    def unpack_into(folder: Path, wanted: object, report: object) -> list[dict[str, object]]:
        for name in ("usr/bin/python3.11", "usr/lib/library.so", "lib/ld-linux-x86-64.so.2"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        return [{"file": "some_1.0_all.deb", "sha256": "0", "bytes": 1}]

    def make_kit(folder: Path, machine: str, report: object) -> dict[str, object]:
        return {"packages": unpack_into(folder, machine, report), "version": "1"}

    monkeypatch.setattr(debian, "unpack_into", unpack_into)
    monkeypatch.setattr(wheels, "unpack_into", unpack_into)
    monkeypatch.setattr(xnnpack, "make_kit", make_kit)
    monkeypatch.setattr(emulation, "try_runtime", lambda machine, name: None)
    done = fca_edge("targets", "setup", "qemu:aarch64")
    assert done.returncode == 0, done.stderr
    return "qemu:aarch64"


EMULATED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "stamp emptied": (
        "trees/aarch64: has no valid stamp",
        lambda c: (c / "trees" / "aarch64" / debian.STAMP).write_text(""),
    ),
    "interpreter gone": (
        "usr/bin/python3.11 is missing",
        lambda c: (c / "trees" / "aarch64" / "usr" / "bin" / "python3.11").unlink(),
    ),
    "library flipped": (
        "library.so was altered",
        lambda c: flip_middle(c / "wheels" / "aarch64-litert" / "usr" / "lib" / "library.so"),
    ),
    "wheels emptied": (
        "aarch64-litert: usr is missing",
        lambda c: shutil.rmtree(c / "wheels" / "aarch64-litert" / "usr"),
    ),
    "emulator cut": (
        "library.so has 0 bytes",
        lambda c: os.truncate(HOST.folder / "usr" / "lib" / "library.so", 0),
    ),
    "counter emptied": (
        "tcg_cost.so has 0 bytes",
        lambda c: os.truncate(plugin.plugin_path(), 0),
    ),
}


@pytest.mark.parametrize("name", EMULATED)
def test_f16_an_emulated_machine_heals(
    emulated: str, name: str, cache: Path, exported: list[Artefact]
) -> None:
    fault, damage = EMULATED[name]
    damage(cache)
    refused(fca_edge("targets", "check", emulated), 6, "litert", "not ready", fault)
    assert re.search(r"qemu:aarch64 +litert +no ", fca_edge("targets", "list").stdout)
    bench = fca_edge("bench", exported[1].path, "--target", emulated)
    refused(bench, 6, "is not set up", fault, "run `fca-edge targets setup qemu:aarch64`")
    done = fca_edge("targets", "setup", emulated)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert fault in line and line.endswith("; making it again")
    assert fca_edge("targets", "check", emulated).returncode == 0
    assert list_left(cache) == []


def test_f16_a_runtime_that_does_not_start(
    emulated: str, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Everything is as it was, and yet it does not run, as on another kernel."""
    monkeypatch.setattr(emulation, "try_runtime", lambda machine, name: f"no {name}!")
    refused(fca_edge("targets", "check", emulated), 6, "not ready (no onnxruntime!)")
    shutil.rmtree(cache / "wheels")
    refused(fca_edge("targets", "setup", emulated), 6, "onnxruntime does not run: no onnxruntime!")


# With what is really fetched


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt to fetch an ARM userland")
def test_f16_a_real_emulated_machine_heals(
    exported: list[Artefact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a copy of the cache; what heals it is the wheel that was kept."""
    assert fca_edge("targets", "setup", "qemu:armv7").returncode == 0
    copy = tmp_path / "fca-edge"
    names = [*(f"trees/{name}" for name in (HOST.name, "armv7", "armv7-newer")), "plugins", "kits"]
    for name in (*names, "wheels/armv7l-tflite-2.14", "downloads/armv7l-3.11-glibc2.36"):
        shutil.copytree(cache_folder() / name, copy / name, symlinks=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (library,) = copy.rglob("_pywrap_tensorflow_interpreter_wrapper.so")
    state = library.stat()
    flip_middle(library)
    os.utime(library, ns=(state.st_atime_ns, state.st_mtime_ns))
    bench = ("bench", exported[2].path, "--target", "qemu:armv7", "--processes", 1)
    refused(fca_edge(*bench), 6, "wrapper.so was altered", "targets setup qemu:armv7")
    refused(fca_edge("targets", "check", "qemu:armv7"), 6, "tflite-2.14 not ready", "altered")
    done = fca_edge("targets", "setup", "qemu:armv7")
    assert done.returncode == 0, done.stderr
    assert "wrapper.so was altered; making it again" in done.stderr
    assert fca_edge("targets", "check", "qemu:armv7").returncode == 0
    done = fca_edge(*bench)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.old_tflite
def test_f16_a_real_second_environment_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "old tflite"
    monkeypatch.setenv(OLD_TFLITE_VARIABLE, str(place / "bin" / "python"))
    imports.cache_clear()
    done = fca_edge("targets", "setup", "local")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(tmp_path / STAGED) not in (place / "pyvenv.cfg").read_text()
    assert subprocess.run([place / "bin" / "f2py", "-v"], capture_output=True).returncode == 0
    (library,) = place.rglob("_pywrap_tensorflow_interpreter_wrapper*.so")
    state = library.stat()
    flip_middle(library)
    os.utime(library, ns=(state.st_atime_ns, state.st_mtime_ns))
    refused(fca_edge("targets", "check", "local"), 6, "was altered", "targets setup local")
    done = fca_edge("targets", "setup", "local")
    assert done.returncode == 0
    assert "was altered; making it again" in done.stderr
    assert fca_edge("targets", "check", "local").returncode == 0
    assert available(OLD_TFLITE)
