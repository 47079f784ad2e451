"""The model on LiteRT or tflite-runtime, as runtime.json says."""

import importlib
import os
import sys

from checks import check_input, quiet


def open_file(folder, name, settings):
    """Open a file with the runtime's settings."""
    path = os.path.join(folder, name)
    with quiet():
        interpreter = import_runtime(settings).Interpreter(path, num_threads=settings["threads"])
        interpreter.allocate_tensors()
    return interpreter


def load(folder, settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    interpreter = open_file(folder, settings["model"], settings)
    input_details = interpreter.get_input_details()[0]
    shape = [int(size) for size in input_details["shape"]]
    output_index = interpreter.get_output_details()[0]["index"]

    def run_model(array):
        interpreter.set_tensor(input_details["index"], check_input(array, shape))
        interpreter.invoke()
        return interpreter.get_tensor(output_index)

    return run_model


def load_detector(folder, settings):
    """Load a detector's files; returns a function from pixels (1, H, W, 3) and size to results.

    The size is the height and width without the zeros at the right and the bottom.
    """
    import detect

    runs = [load_part(folder, name, settings) for name in settings["parts"]]
    first, boxes, last = runs[0], runs[1:-1], runs[-1]

    def run_model(pixels, extent):
        most = settings["proposals"]
        results = detect.detect(pixels, extent, first, boxes, last, proposals=most)
        return dict(zip(("boxes", "scores", "labels", "masks"), results))

    return run_model


def load_part(folder, name, settings):
    """Load one file; returns a function from an array, channels last, to its outputs."""
    interpreter = open_file(folder, name, settings)
    index = interpreter.get_input_details()[0]["index"]
    # Maps have a word and a number for a name, finest first; the heads have one output.
    outputs = sorted(interpreter.get_output_details(), key=lambda one: one["name"])

    def run_part(array):
        import numpy

        if settings["layout"] == "nchw":
            array = array.transpose(0, 3, 1, 2)
        interpreter.set_tensor(index, numpy.ascontiguousarray(array, numpy.float32))
        interpreter.invoke()
        return [interpreter.get_tensor(one["index"]) for one in outputs]

    return run_part


def import_runtime(settings):
    """Import the first of the runtimes on which the file was proven."""
    for name in settings["modules"]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    sys.exit("no runtime; pip install " + " or ".join(settings["packages"]))
