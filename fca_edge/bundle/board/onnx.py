"""The model on ONNX Runtime, as runtime.json says."""

import os
import sys


def load(folder, settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    try:
        import onnxruntime
    except ImportError as error:
        sys.exit("%s; pip install %s" % (error, settings["packages"][0]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    path = os.path.join(folder, settings["model"])
    session = onnxruntime.InferenceSession(path, options, providers=settings["providers"])
    name = session.get_inputs()[0].name
    return lambda array: session.run(None, {name: array})[0]
