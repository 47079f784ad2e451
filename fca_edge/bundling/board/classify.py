"""Print the five likeliest classes of images: python run.py image.jpg ..."""

import decode
import numpy as np
from pictures import read_picture, to_input

FAILED = "not classified"


def add_options(parser):
    """Add the options of this task."""
    text = "decode large JPEGs at a part of their size: quicker, and the pixels differ"
    parser.add_argument("--draft", action="store_true", help=text)


def prepare(image, settings, layout):
    """Turn a picture into the model's input, (1, 3, H, W) or (1, H, W, 3) float32."""
    return to_input(decode.normalise(decode.fit(image, settings), settings), layout)


def load(module, folder, settings):
    """Load the model plainly; returns a function from an input to logits (1, classes)."""
    return module.load(folder, settings)


def answer(path, run_model, setup):
    """Return the likeliest classes of one image, one line each."""
    image = read_picture(path, setup.pictures, setup.options.draft)
    setup.lap("decode")
    inputs = prepare(image, setup.pictures, setup.layout)
    setup.lap("prepare")
    logits = np.asarray(run_model(inputs))[0]
    setup.lap("infer")
    setup.check_labels(len(logits))
    if not np.isfinite(logits).all():
        raise ValueError("the model's answer is not finite")
    shares = np.exp(logits - logits.max())
    shares *= 100 / shares.sum()
    best = np.argsort(-logits, kind="stable")[:5]
    lines = ["%s: %5.1f %%  %s" % (path, shares[place], setup.labels[place]) for place in best]
    setup.lap("postprocess")
    return lines
