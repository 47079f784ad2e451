"""The model on LiteRT or tflite-runtime, as runtime.json says."""

import importlib
import os
import sys

from checks import check_input, quiet


def load(folder, settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    path = os.path.join(folder, settings["model"])
    with quiet():
        interpreter = found(settings).Interpreter(path, num_threads=settings["threads"])
        interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    shape = [int(size) for size in given["shape"]]
    got = interpreter.get_output_details()[0]["index"]

    def logits_of(array):
        interpreter.set_tensor(given["index"], check_input(array, shape))
        interpreter.invoke()
        return interpreter.get_tensor(got)

    return logits_of


def found(settings):
    """Import the first of the runtimes on which the file was proven."""
    for name in settings["modules"]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    sys.exit("no runtime; pip install " + " or ".join(settings["packages"]))
