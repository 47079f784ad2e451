"""The model on ONNX Runtime, as runtime.json says."""

import os
import sys

from checks import check_input, quiet


def load(folder, settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    try:
        with quiet():
            import onnxruntime
    except ImportError as error:
        sys.exit("%s; pip install %s" % (error, settings["packages"][0]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    path = os.path.join(folder, settings["model"])
    with quiet():
        session = onnxruntime.InferenceSession(path, options, providers=settings["providers"])
    input_details = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else None for size in input_details.shape]
    return lambda array: session.run(None, {input_details.name: check_input(array, shape)})[0]
