"""Becomes a command that ends with the process which asked for it. Stand-alone, Linux alone.

    python -I -S launch.py PARENT COMMAND ...

It stands between the two because no Python may run between fork and exec: another thread could
hold a lock just then. Importing less than this takes no time that could be saved.
"""

import os
import sys

PR_SET_PDEATHSIG, SIGKILL, SIGPIPE, SIGXFSZ = 1, 9, 13, 25
NOT_FOUND = 127


def main() -> None:
    """Have the kernel kill this process when its parent ends, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    try:
        import ctypes

        library = ctypes.CDLL(None)
        library.prctl(PR_SET_PDEATHSIG, SIGKILL)
        # Python ignores these two, and what is ignored stays so through exec.
        for number in (SIGPIPE, SIGXFSZ):
            library.signal(number, None)
    except (ImportError, OSError, AttributeError):
        pass  # a Python without ctypes, a system without prctl
    if os.getppid() != parent:
        sys.exit(1)  # it ended before the kernel knew
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_FOUND)


if __name__ == "__main__":
    main()
