"""Find the objects in images: python run.py image.jpg ...

Of image.jpg this writes image-shown.png (boxes and masks over the picture) and image.json (label,
score, box and mask of every object; a mask in run lengths, column by column, as COCO has them).
"""

import decode
import maps
import masks
import numpy as np
import scaling
from files import plain
from pictures import find_window, read_picture
from PIL import Image, ImageDraw
from results import Results, add_output_options

FAILED = "not searched"
ENDINGS = ("-shown.png", ".json")
COVER = 0.5  # share of an object's colour over the picture


def add_options(parser):
    """Add the options of this task."""
    add_output_options(parser)
    text = "least score of an object that is printed and drawn; the JSON has all  [0.5]"
    parser.add_argument("--score", type=float, default=0.5, metavar="S", help=text)


def load(module, folder, settings):
    """Load the model; returns a function from pixels (1, H, W, 3) and size to results by name."""
    return module.load_detector(folder, settings)


def find(image, run_model, setup):
    """Return boxes in the picture's pixels, scores, labels and coarse masks, best first."""
    way, window = setup.pictures, find_window(setup.pictures)
    size = (image.height, image.width)
    scaled = scaling.compute_scaled_size(size, way["resize"], window)
    small = scaling.scale_picture(image, scaled, way.get("interpolation", "linear"))
    pixels = scaling.pad(decode.normalise(small, way), window)
    setup.lap("prepare")
    found = run_model(pixels[None], scaled)
    setup.lap("infer")
    boxes = masks.rescale_boxes(np.reshape(found["boxes"], (-1, 4)), scaled, size)
    if not (np.isfinite(boxes).all() and np.isfinite(found["scores"]).all()):
        raise ValueError("the model's answer is not finite")
    return boxes, found["scores"], found["labels"], found["masks"]


def answer(path, run_model, setup):
    """Search one picture, write what was found, and return it in lines."""
    results = Results(path, setup.options.out, setup.options.force)
    results.check(*ENDINGS)
    image = read_picture(path, setup.pictures)
    setup.lap("decode")
    size = (image.height, image.width)
    objects, drawn, lines = [], [], []
    for box, score, number, mask in zip(*find(image, run_model, setup)):
        if not 0 <= int(number) < len(setup.labels):
            setup.check_labels(int(number) + 1)
        part, label = masks.paste_mask(mask, box, size), setup.labels[int(number)]
        corners = [round(float(side), 2) for side in box]
        runs = {"size": list(size), "counts": masks.count_runs(part, size)}
        objects.append({"label": label, "score": float(score), "box": corners, "mask": runs})
        if score >= setup.options.score:
            drawn.append((box, "%s %.2f" % (label, score), int(number), part))
            text = "%s: %5.1f %%  %s  (%.0f, %.0f) to (%.0f, %.0f)"
            lines.append(text % (path, 100 * score, label, *box))
    shown = draw(np.array(image), drawn, maps.choose_colours(len(setup.labels) + 1))
    document = {"picture": path, "width": size[1], "height": size[0], "objects": objects}
    setup.lap("postprocess")
    place = results.write_png(ENDINGS[0], shown)
    results.write_json(ENDINGS[1], document)
    setup.lap("write")
    weak = len(objects) - len(drawn)
    more = "; %d weaker ones are in the JSON alone" % weak if weak else ""
    what = "drawn in %s" % place if drawn else "nothing found"
    return [*lines, "%s: %s%s" % (path, what, more)]


def draw(pixels, drawn, colours):
    """Draw objects over pixels (H, W, 3), the best one last."""
    for _, _, number, (top, left, part) in reversed(drawn):
        region = pixels[top : top + part.shape[0], left : left + part.shape[1]]
        for row, inside in zip(region, part):
            row[inside] = (1 - COVER) * row[inside] + COVER * colours[number + 1]
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    thick = max(1, round(max(pixels.shape[:2]) / 400))
    for box, text, number, _ in reversed(drawn):
        colour = tuple(int(level) for level in colours[number + 1])
        x1, y1, x2, y2 = (float(side) for side in box)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=thick)
        place = (x1 + thick + 1, max(y1 - 12, 0))
        # The built-in font knows Latin letters alone.
        text = plain(text).encode("latin-1", "replace").decode("latin-1")
        pen.text((place[0] + 1, place[1] + 1), text, fill=(0, 0, 0))
        pen.text(place, text, fill=colour)
    return image
