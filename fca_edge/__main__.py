"""`python -m fca_edge` is `fca-edge`."""

from fca_edge.cli import run

if __name__ == "__main__":
    run()
