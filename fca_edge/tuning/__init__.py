"""The best file, runtime and settings for a target: candidates, a race, its confirmation."""
