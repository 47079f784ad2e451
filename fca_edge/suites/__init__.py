"""Suites: what `fca-edge bench --suite` measures, as data."""
