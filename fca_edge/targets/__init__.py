"""Targets by the names that the command line takes."""
