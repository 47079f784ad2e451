"""Connecting, and files on a board: what is tried again, what is not, what goes on where it was."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from targets.loopback import Loopback

from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError
from fca_edge.targets.ssh.address import Address, parse
from fca_edge.targets.ssh.connection import Connection
from fca_edge.targets.ssh.files import Files

MIB = 1 << 20


@pytest.fixture
def connection(board: Loopback) -> Iterator[Connection]:
    made = Connection(Address("loopback"), board.config)
    made.first_patience_seconds = made.later_patience_seconds = 3
    yield made
    made.close()


@pytest.fixture
def files(board: Loopback, connection: Connection) -> Files:
    return Files(connection, f"{board.home}/files")


def again(files: Files) -> Files:
    """The same folder over another connection, for all that is known of it."""
    return Files(files.connection, files.folder)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(bytes(range(256)) * (4 * MIB // 256))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh://pi@board:2222", Address("board", "pi", 2222)),
        ("ssh://Board", Address("Board")),
        ("ssh://pi@[fe80::1]:22/", Address("fe80::1", "pi", 22)),
    ],
)
def test_addresses(text: str, expected: Address) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["ssh://", "ssh://a:b", "ssh://a/b", "ssh://a?b", "board"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match=r"write ssh://\[user@\]host\[:port\]"):
        parse(text)


def test_a_password_has_no_place_in_an_address() -> None:
    with pytest.raises(UsageError, match="holds no password") as caught:
        parse("ssh://pi:secret@board")
    assert "secret" not in str(caught.value)


def test_a_shell_command(connection: Connection) -> None:
    done = connection.run("cat; echo 'it''s'; echo no >&2; exit 3", data=b"in ")
    assert (done.code, done.out, done.err) == (3, "in its\n", "no\n")


def test_a_refused_login_is_tried_again(board: Loopback, connection: Connection) -> None:
    board.refuse_logins = 2
    assert connection.run("echo back").out == "back\n"


def test_nothing_listens(board: Loopback, connection: Connection) -> None:
    board.stop_listening()
    connection.first_patience_seconds = 1.6
    with pytest.raises(TargetUnavailableError, match=r"connection refused \([23] tries\)"):
        connection.run("true")


@pytest.mark.parametrize("known", [True, False])
def test_another_host_key_is_refused_at_once(
    board: Loopback, connection: Connection, known: bool
) -> None:
    board.trust()
    if not known:
        (board.folder / "known_hosts").write_text("")
    begin = time.monotonic()
    with pytest.raises(TargetUnavailableError, match="its host key is not the one in known_hosts"):
        connection.run("true")
    assert time.monotonic() - begin < 1
    assert board.commands == []


def test_another_user_is_refused_at_once(board: Loopback) -> None:
    connection = Connection(Address("loopback", "nobody"), board.config)
    with pytest.raises(TargetUnavailableError, match="`ssh-copy-id nobody@loopback`"):
        connection.run("true")
    connection.close()


def test_an_unknown_host(board: Loopback) -> None:
    connection = Connection(Address("no-such-host.invalid"), board.config)
    connection.first_patience_seconds = 0
    with pytest.raises(TargetUnavailableError, match="no host of that name"):
        connection.run("true")
    connection.close()


def test_a_missing_configuration(tmp_path: Path) -> None:
    connection = Connection(Address("loopback"), tmp_path / "none")
    with pytest.raises(TargetUnavailableError, match="no such SSH configuration"):
        connection.run("true")
    connection.close()


def test_a_command_that_hangs_is_given_up(connection: Connection) -> None:
    with pytest.raises(TargetUnavailableError, match="no answer in 1 s to `sleep 30`"):
        connection.once("sleep 30", 1)
    assert connection.run("echo on").out == "on\n"


def test_a_command_is_begun_again_after_a_cut(board: Loopback, connection: Connection) -> None:
    connection.run("true")
    threading.Timer(0.5, board.cut).start()
    assert connection.run("sleep 1; echo done").out == "done\n"
    assert connection.cuts == 1


def test_a_file_is_sent_once(board: Loopback, files: Files, big: Path) -> None:
    place = files.push(big)
    assert Path(place).read_bytes() == big.read_bytes()
    assert place.endswith(".bin")
    board.commands.clear()
    assert files.push(big) == place
    assert not [c for c in board.commands if "copyfileobj" in c]


def test_a_cut_push_goes_on(board: Loopback, files: Files, big: Path) -> None:
    files.connection.run("true")
    board.cut_after = 2 * MIB
    said: list[str] = []
    place = files.push(big, said.append)
    assert Path(place).read_bytes() == big.read_bytes()
    assert said[0] == "pushing big.bin, 4.0 MiB"
    assert said[1].endswith("MiB left")
    assert 0 < float(said[1].split()[2]) < 4
    assert [p.name for p in Path(place).parent.iterdir()] == [Path(place).name]


def test_a_damaged_part_is_sent_again(files: Files, big: Path) -> None:
    part = Path(files.push(big))
    part.rename(f"{part}.part")
    Path(f"{part}.part").write_bytes(b"?" * MIB)
    assert Path(again(files).push(big)).read_bytes() == big.read_bytes()


def test_no_room_is_said_before_anything_is_sent(
    board: Loopback, files: Files, big: Path, tmp_path: Path
) -> None:
    full = tmp_path / "bin" / "df"
    full.parent.mkdir()
    full.write_text("#!/bin/sh\necho /dev/sda 9 8 1024 99% /\n")
    full.chmod(0o755)
    board.environment["PATH"] = f"{full.parent}:{board.environment['PATH']}"
    with pytest.raises(TargetUnavailableError, match=r"4\.0 MiB needed, 1\.0 MiB free"):
        files.push(big)
    assert not list(Path(files.folder).iterdir())


def test_pull(files: Files, big: Path, tmp_path: Path) -> None:
    files.pull(str(big), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    with pytest.raises(FcaEdgeError, match=r"/none: .*No such file"):
        files.pull("/none", tmp_path / "missing")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "big.bin", "board"]


def test_a_file_that_is_not_here(files: Files, tmp_path: Path) -> None:
    with pytest.raises(FcaEdgeError, match="no such file to push"):
        files.push(tmp_path / "none")
