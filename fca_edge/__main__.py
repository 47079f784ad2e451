"""`fca-edge` and `python -m fca_edge`: ready for signals before anything takes time."""

from fca_edge.first import leave_to_child


def main() -> None:
    """Run the command line."""
    leave_to_child()
    from fca_edge.stopping import handlers

    with handlers():
        from fca_edge.cli import run

        run()


if __name__ == "__main__":
    main()
