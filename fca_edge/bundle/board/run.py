"""Print the five likeliest classes of images: python run.py image.jpg ...

Stand-alone: NumPy, Pillow and a runtime, which lean.py loads in little memory (it keeps packed
weights beside the model), or model.py plainly. No torch.
"""

import json
import os
import sys

import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))


def told(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return json.load(file)


def prepare(path, how):
    """Resize the short side, crop the centre, normalise; (1, 3, H, W) or (1, H, W, 3) float32."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    crop, scale = how["crop"], how["resize"] / min(image.size)
    size = tuple(max(crop, round(side * scale)) for side in image.size)
    if size != image.size:
        image = image.resize(size, Image.BICUBIC)
    left, top = (size[0] - crop) // 2, (size[1] - crop) // 2
    image = image.crop((left, top, left + crop, top + crop))
    mean, std = np.array(how["mean"], np.float32), np.array(how["std"], np.float32)
    pixels = (np.asarray(image, np.float32) / 255 - mean) / std
    if how["input_layout"] == "nchw":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None])


def opened(settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    path = os.path.join(HERE, settings["model"])
    if os.path.exists(path + ".runtime.json"):
        try:
            import lean

            return lean.open_model(path)
        except (ImportError, OSError):
            pass  # lean.py does not know the runtime that is here, or can keep nothing here
    import model

    return model.load(HERE, settings)


def main(paths):
    how, labels = told("preprocessing.json"), told("labels.json")
    logits_of = opened(told("runtime.json"))
    for path in paths:
        logits = logits_of(prepare(path, how))[0]
        shares = np.exp(logits - logits.max())
        for place in np.argsort(-logits, kind="stable")[:5]:
            percent = 100 * shares[place] / shares.sum()
            print("%s: %5.1f %%  %s" % (path, percent, labels[place]))


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
