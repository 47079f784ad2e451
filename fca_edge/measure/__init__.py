"""Measurements: the plan, the processes that run it, and the statistics."""
