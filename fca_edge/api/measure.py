"""Measure files and compare records: `bench`, `compare`."""

from __future__ import annotations


def bench() -> None:
    """Stand in until the other helper's lands."""


def compare() -> None:
    """Stand in until the other helper's lands."""
