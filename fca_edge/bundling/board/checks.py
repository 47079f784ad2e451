"""What model.py shares with lean.py, word for word: input checks, and quiet while loading."""

import contextlib
import faulthandler
import os
import re
import sys
import tempfile

# Orders of axes that turn channels first into channels last, and back.
ORDERS = ((0, 2, 3, 1), (0, 3, 1, 2))
# Lines of LiteRT and ONNX Runtime that are no errors, and what continues them.
NOISE = re.compile(rb"(INFO|WARNING|VERBOSE)\b|\xe2\x94\x94|.*\[[IWV]:onnxruntime|\s*$")


def check_input(array, shape):
    """Return an array that the runtime may read: float32, of this shape, in one piece.

    None stands for any size. Nothing is converted: LiteRT would take the bytes as they come.
    """
    import numpy

    kind, shape_in = getattr(array, "dtype", type(array).__name__), getattr(array, "shape", ())
    if kind == numpy.float32 and isinstance(array, numpy.ndarray) and fits(shape_in, shape):
        return numpy.ascontiguousarray(array)
    axes = " x ".join("any" if size is None else str(size) for size in shape)
    hint = "Resize, crop and normalise the picture as the file's preprocessing says."
    if fits([1, *shape_in], shape):
        hint = "Add the batch axis: array[None]."
    elif any(fits([shape_in[i] for i in order], shape) for order in ORDERS if len(shape_in) == 4):
        hint = "Its channels are on another axis: transpose it."
    elif fits(shape_in, shape):
        hint = "Normalise the picture, then use array.astype(numpy.float32)."
    received = " x ".join(map(str, shape_in)) or "no shape"
    text = "the model takes float32 {}, got {} {}. {}"
    raise ValueError(text.format(axes, kind, received, hint))


def fits(sizes, shape):
    """Tell whether an array's shape is the model's."""
    return len(sizes) == len(shape) and all(n in (None, m) for n, m in zip(shape, sizes))


def verbose():
    """Tell whether everything that libraries say is to be shown."""
    return os.environ.get("FCA_EDGE_VERBOSE", "0") not in ("", "0")


@contextlib.contextmanager
def quiet():
    """Hold back what libraries write to standard error; show it where something fails."""
    if verbose():
        yield
        return
    try:
        sys.stderr.flush()
        held_output, stderr_copy = tempfile.TemporaryFile(), os.dup(2)  # noqa: SIM115
    except (AttributeError, OSError):
        yield  # no standard error, or nowhere to hold anything
        return
    others, failed = faulthandler.is_enabled(), True
    os.dup2(held_output.fileno(), 2)
    faulthandler.enable(stderr_copy)  # what ends the whole process is said all the same
    try:
        yield
        failed = False
    finally:
        faulthandler.enable() if others else faulthandler.disable()
        os.dup2(stderr_copy, 2)
        held_output.seek(0)
        lines = held_output.read().splitlines(True)
        for line in lines if failed else [line for line in lines if not NOISE.match(line)]:
            os.write(stderr_copy, line)
        os.close(stderr_copy)
        held_output.close()
