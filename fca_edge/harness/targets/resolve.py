"""From the word after --target to a target."""

from __future__ import annotations

import platform

from fca_edge.errors import TargetUnavailableError, UsageError, nearest
from fca_edge.harness.targets.base import Target
from fca_edge.harness.targets.local import LocalTarget

ARM_MACHINES = ("aarch64", "arm64", "armv7l", "armv8l")
KNOWN = ("local", "arm")


def resolve(name: str) -> Target:
    """Return the target of a name; `arm` is this machine where it is one.

    Raises:
        UsageError: no such target.
        TargetUnavailableError: there is one, but not from here.
    """
    if name == "local":
        return LocalTarget()
    if name == "arm":
        if platform.machine() in ARM_MACHINES:
            return LocalTarget()
        raise TargetUnavailableError(
            f"--target arm: this machine is {platform.machine()}, and only 'local' can be reached"
            " from it so far; install fca-edge on the board and run the same command there."
        )
    raise UsageError(f"unknown target '{name}'.{nearest(name, KNOWN)} Known: {', '.join(KNOWN)}.")
