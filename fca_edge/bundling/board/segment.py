"""Say which class each pixel of images has: python run.py image.jpg ...

Of image.jpg this writes image-shown.png (the classes' colours over the picture), image-labels.png
(the number of each pixel's class, in the same colours) and image.json (how much each class covers).
"""

import decode
import maps
import numpy as np
import scaling
from pictures import find_window, read_picture, to_input
from PIL import Image
from results import Results, add_output_options

FAILED = "not labelled"
ENDINGS = ("-shown.png", "-labels.png", ".json")
SHOWN = 5


def add_options(parser):
    """Add the options of this task."""
    add_output_options(parser)
    text = "cover the picture by windows that overlap, instead of shrinking it to the input"
    parser.add_argument("--sliding", action="store_true", help=text)


def load(module, folder, settings):
    """Load the model plainly; returns a function from an input to logits (1, classes, h, w)."""
    return module.load(folder, settings)


def label(image, run_model, setup):
    """Return the class (H, W) of each pixel of a picture, and how many windows covered it."""
    way, window = setup.pictures, find_window(setup.pictures)
    size = (image.height, image.width)
    limit = None if setup.options.sliding else window
    scaled = scaling.compute_scaled_size(size, way["resize"], limit)
    small = scaling.scale_picture(image, scaled, way.get("interpolation", "linear"))
    windows = []
    for place, part in scaling.cut_windows(small, window):
        inputs = to_input(scaling.pad(decode.normalise(part, way), window), setup.layout)
        setup.lap("prepare")
        logits = np.asarray(run_model(inputs))[0]
        setup.lap("infer")
        if logits.ndim == 2:
            if setup.options.sliding:
                raise ValueError("the model gives labels, which --sliding cannot average")
            return maps.resize_labels(logits, scaled, size), 1
        setup.check_labels(len(logits))
        windows.append(maps.Window(logits, place, window))
    return maps.label_pixels(windows, scaled, size), len(windows)


def answer(path, run_model, setup):
    """Label one picture, write what was found, and return it in lines."""
    results = Results(path, setup.options.out, setup.options.force)
    results.check(*ENDINGS)
    image = read_picture(path, setup.pictures)
    setup.lap("decode")
    labels, windows = label(image, run_model, setup)
    colours = maps.choose_colours(len(setup.labels))
    shown = maps.colour_rows(np.asarray(image), labels, colours)
    numbered = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        numbered.putpalette(colours.ravel().tolist())
    counts = np.bincount(labels.ravel(), minlength=len(setup.labels))
    order = [int(place) for place in np.argsort(-counts, kind="stable") if counts[place]]
    document = {
        "picture": path,
        "width": image.width,
        "height": image.height,
        "windows": windows,
        "classes": [
            {
                "class": place,
                "label": setup.labels[place],
                "pixels": int(counts[place]),
                "colour": colours[place].tolist(),
            }
            for place in order
        ],
    }
    setup.lap("postprocess")
    place = results.write_png(ENDINGS[0], Image.fromarray(shown))
    results.write_png(ENDINGS[1], numbered)
    results.write_json(ENDINGS[2], document)
    setup.lap("write")
    shares = [100.0 * counts[number] / labels.size for number in order[:SHOWN]]
    lines = [
        "%s: %5.1f %%  %s" % (path, share, setup.labels[number])
        for share, number in zip(shares, order)
    ]
    return [*lines, "%s: drawn in %s" % (path, place)]
