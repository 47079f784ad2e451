"""From the word after --target to a target."""

from __future__ import annotations

import platform
from collections.abc import Callable

from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError, nearest
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
KNOWN = ("local", "arm", "qemu:aarch64", "qemu:armv7", "ssh://host")


def resolve(name: str, report: Report = lambda text: None) -> Target:
    """Return the target of a name; a board reports what takes long, and lost connections.

    What an earlier run left here that was killed is removed.

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
        return SshTarget(parse(real), settings.ssh_config(), report)
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
