"""The model on ONNX Runtime, as runtime.json says."""

import os
import sys

from checks import check_input, quiet


def open_session(folder, settings):
    """Open the model with the runtime's settings."""
    try:
        with quiet():
            import onnxruntime
    except ImportError as error:
        sys.exit("%s; pip install %s" % (error, settings["packages"][0]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    path = os.path.join(folder, settings["model"])
    with quiet():
        return onnxruntime.InferenceSession(path, options, providers=settings["providers"])


def load(folder, settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    session = open_session(folder, settings)
    input_details = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else None for size in input_details.shape]
    return lambda array: session.run(None, {input_details.name: check_input(array, shape)})[0]


def load_detector(folder, settings):
    """Load a detector; returns a function from pixels (1, H, W, 3) and size to results by name.

    The size is the height and width without the zeros at the right and the bottom.
    """
    import numpy

    session = open_session(folder, settings)
    image, size = (one.name for one in session.get_inputs())
    names = [one.name for one in session.get_outputs()]

    def run_model(pixels, extent):
        array = numpy.ascontiguousarray(pixels.transpose(0, 3, 1, 2), numpy.float32)
        inputs = {image: array, size: numpy.array(extent, numpy.int64)}
        return dict(zip(names, session.run(None, inputs)))

    return run_model
