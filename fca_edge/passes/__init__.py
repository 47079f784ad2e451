"""Exact folds of a network: one file each, one ordered tuple, and the runner that proves them."""
