"""From the word after --target to a target."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Sequence

from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError, nearest, plural
from fca_edge.store import sweep_temporary
from fca_edge.targets import settings
from fca_edge.targets.base import Target
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.qemu import KIND as QEMU
from fca_edge.targets.qemu import qemu_target
from fca_edge.targets.ssh.address import SCHEME as SSH
from fca_edge.targets.ssh.address import parse

Report = Callable[[str], None]

ARM_MACHINES = ("aarch64", "arm64", "armv7l", "armv8l")
# What records call a board: a short text that no shell and no table takes for anything else.
BOARD_NAME = re.compile(r"[^\W_][\w .-]{0,39}")
KNOWN = ("local", "arm", "qemu:aarch64", "qemu:armv7", "ssh://host")


def name_boards(targets: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return what records call each target's board: the user's names, else a neutral word.

    An address tells who logs in where, which is nobody's who reads the records.

    Args:
        targets: names of targets, of which some are boards.
        names: one per board, in their order; or none.

    Raises:
        UsageError: not as many names as boards, one name twice, or no name.
    """
    boards = [target for target in targets if real_name(target).startswith(SSH)]
    for name in names:
        if not BOARD_NAME.fullmatch(name):
            raise UsageError(
                f"--board-name {name!r}: letters, digits, spaces and . _ - alone, 40 at most."
            )
    if names and (len(names) != len(boards) or len(set(names)) < len(names)):
        raise UsageError(
            f"--board-name: give one name of its own for each --target {SSH}…; there are"
            f" {plural(len(boards), 'board')} and {plural(len(set(names)), 'name')}."
        )
    usual = [f"board{number}" for number in range(1, len(boards) + 1)]
    left = list(names or (["board"] if len(boards) == 1 else usual))
    return [left.pop(0) if target in boards else "" for target in targets]


def resolve(name: str, report: Report = lambda text: None, board_name: str = "board") -> Target:
    """Return the target of a name; a board reports what takes long, and lost connections.

    What an earlier run left here that was killed is removed.

    Args:
        board_name: what records call a board.

    Raises:
        UsageError: no such target.
        TargetUnavailableError: there is one, but not from here.
    """
    real = real_name(name)
    sweep_temporary()
    if real.startswith(SSH):
        # asyncssh takes a third of a second to import, which other targets need not wait for.
        try:
            from fca_edge.targets.ssh.target import SshTarget
        except ModuleNotFoundError as error:
            raise TargetUnavailableError(
                f"{real}: needs '{error.name}', which 32-bit ARM lacks; use another machine or"
                " run `pip install asyncssh`."
            ) from None
        return SshTarget(parse(real), settings.ssh_config(), report, board_name)
    return qemu_target(real) if real.startswith(f"{QEMU}:") else LocalTarget()


def real_name(name: str) -> str:
    """Return the name of the target itself: `arm` is the nearest to an ARM machine that there is.

    That is this machine where it is one, else the user's board, else an emulated machine.

    Raises:
        UsageError: no such target.
        FcaEdgeError: the settings name no board.
    """
    if name == "arm":
        if platform.machine() in ARM_MACHINES:
            return "local"
        board = settings.board() or f"{QEMU}:aarch64"
        if board == name:
            raise FcaEdgeError("the configured board is 'arm' itself; name it as ssh://user@host.")
        return real_name(board)
    if name == "local" or name.startswith((SSH, f"{QEMU}:")):
        return name
    board = "" if ":" in name else f"; for a board write ssh://{name}"
    known = ", ".join(KNOWN)
    raise UsageError(f"unknown target '{name}'.{nearest(name, KNOWN)} Known: {known}{board}.")
