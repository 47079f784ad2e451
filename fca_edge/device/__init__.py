"""What runs on a board by itself: Python's library, NumPy and one runtime, nothing of ours."""

from pathlib import Path

# Sent to the target, and run there.
AGENT, DIGESTS, FRAMES, GUARD, LEAN, PROBE = (
    Path(__file__).with_name(f"{name}.py")
    for name in ("agent", "digests", "frames", "guard", "lean", "probe")
)
