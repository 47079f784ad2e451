"""The model on LiteRT or tflite-runtime, as runtime.json says."""

import importlib
import os
import sys

from checks import check_input, quiet


def load(folder, settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    path = os.path.join(folder, settings["model"])
    with quiet():
        interpreter = import_runtime(settings).Interpreter(path, num_threads=settings["threads"])
        interpreter.allocate_tensors()
    input_details = interpreter.get_input_details()[0]
    shape = [int(size) for size in input_details["shape"]]
    output_index = interpreter.get_output_details()[0]["index"]

    def run_model(array):
        interpreter.set_tensor(input_details["index"], check_input(array, shape))
        interpreter.invoke()
        return interpreter.get_tensor(output_index)

    return run_model


def import_runtime(settings):
    """Import the first of the runtimes on which the file was proven."""
    for name in settings["modules"]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    sys.exit("no runtime; pip install " + " or ".join(settings["packages"]))
