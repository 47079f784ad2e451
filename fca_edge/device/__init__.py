"""What runs on a board by itself: Python's library, NumPy and one runtime, nothing of ours."""

from pathlib import Path

# Sent to the target, and run there.
AGENT, GUARD, LEAN, PROBE = (
    Path(__file__).with_name(f"{name}.py") for name in ("agent", "guard", "lean", "probe")
)
