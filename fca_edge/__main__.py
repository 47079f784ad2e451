"""`fca-edge` and `python -m fca_edge`: ready for signals before anything takes time."""

import signal

from fca_edge.first import PASSED_ON, leave_to_child


def main() -> None:
    """Run the command line."""
    # What comes before there is somebody to handle it waits.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    leave_to_child()
    from fca_edge.stopping import handlers

    with handlers():
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        from fca_edge.cli import run

        run()


if __name__ == "__main__":
    main()
