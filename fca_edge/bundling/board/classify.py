"""Print the five likeliest classes of images: python run.py image.jpg ..."""

import decode
import numpy as np
from pictures import say_marks, to_input

FAILED = "not classified"


def add_options(parser):
    """Add the options of this task, of which there are none."""


def prepare(path, settings, layout):
    """Read an image as the model's input, (1, 3, H, W) or (1, H, W, 3) float32, and its marks."""
    pixels, marks = decode.read(path, settings)
    return to_input(pixels, layout), marks


def load(module, folder, settings):
    """Load the model plainly; returns a function from an input to logits (1, classes)."""
    return module.load(folder, settings)


def answer(path, run_model, setup):
    """Return the likeliest classes of one image, one line each."""
    inputs, marks = prepare(path, setup.pictures, setup.layout)
    say_marks(path, marks, setup.pictures)
    logits = np.asarray(run_model(inputs))[0]
    setup.check_labels(len(logits))
    if not np.isfinite(logits).all():
        raise ValueError("the model's answer is not finite")
    shares = np.exp(logits - logits.max())
    shares *= 100 / shares.sum()
    best = np.argsort(-logits, kind="stable")[:5]
    return ["%s: %5.1f %%  %s" % (path, shares[place], setup.labels[place]) for place in best]
