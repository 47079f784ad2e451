"""Print the five likeliest classes of images: python run.py image.jpg ...

Pictures are turned upright by their EXIF orientation; --exif ignore takes them as they are
stored. --background white, black, R,G,B or none says what lies behind transparent pixels.

Stand-alone: NumPy, Pillow and a runtime, which lean.py loads in little memory (it keeps packed
weights beside the model), or model.py plainly. No torch. Exit code 1 where an image failed.
"""

import argparse
import json
import os
import sys

try:
    import decode
    import fields
    import numpy as np
except ImportError as error:
    sys.exit("%s; pip install pillow numpy" % error)

HERE = os.path.dirname(os.path.abspath(__file__))
SETTINGS = ("model", "modules", "packages", "providers", "threads")
SAID = {
    "transparent": "it is transparent in places; behind them lies %s (--background)",
    "frames": "it has several frames; this is the first",
}


def told(name, kind):
    """Read a JSON file of the bundle, which must hold a dict or a list."""
    try:
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            content = json.load(file)
        if isinstance(content, kind):
            return content
        reason = "it holds no %s" % kind.__name__
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
    sys.exit("%s: cannot be used (%s); copy the bundle again" % (name, reason))


def preprocessing(exif=None, background=None):
    """Read how images are prepared; options of the command line go first."""
    how = told("preprocessing.json", dict)
    layout = how.pop("input_layout", None)
    given = {"exif": exif, "background": background}
    try:
        if layout not in ("nchw", "nhwc"):
            raise fields.FieldError("input_layout %r is neither nchw nor nhwc" % (layout,))
        how = fields.check_fields(how, complete=True)
        how.update(fields.check_fields({name: x for name, x in given.items() if x is not None}))
    except fields.FieldError as error:
        sys.exit("preprocessing: %s" % error)
    return how, layout


def prepare(path, how, layout):
    """Read an image as the model's input, (1, 3, H, W) or (1, H, W, 3) float32, and its marks."""
    pixels, marks = decode.read(path, how)
    if layout == "nchw":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None]), marks


def opened(settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    path = os.path.join(HERE, settings["model"])
    if os.path.exists(path + ".runtime.json"):
        try:
            import lean

            return lean.open_model(path)
        except (ImportError, OSError):
            pass  # lean.py does not know the runtime that is here, or can keep nothing here
        except Exception as error:
            print("note: not loaded in little memory: %s" % first_line(error), file=sys.stderr)
    import model

    return model.load(HERE, settings)


def first_line(error):
    """Say in one line what went wrong."""
    return "".join(str(error).strip().splitlines()[:1]) or type(error).__name__


def classify(path, how, layout, logits_of, labels):
    """Print the likeliest classes of one image."""
    given, marks = prepare(path, how, layout)
    for mark in sorted(set(marks) & set(SAID)):
        text = SAID[mark] % (how["background"],) if mark == "transparent" else SAID[mark]
        print("%s: note: %s" % (path, text), file=sys.stderr)
    logits = np.asarray(logits_of(given))[0]
    if len(labels) != len(logits):
        sys.exit("labels.json has %d labels, the model %d classes" % (len(labels), len(logits)))
    if not np.isfinite(logits).all():
        raise ValueError("the model's answer is not finite")
    shares = np.exp(logits - logits.max())
    for place in np.argsort(-logits, kind="stable")[:5]:
        percent = 100 * shares[place] / shares.sum()
        print("%s: %5.1f %%  %s" % (path, percent, labels[place]))


def colour(text):
    """Read R,G,B as three levels; a name stays one."""
    try:
        return [int(level) for level in text.split(",")]
    except ValueError:
        return text


def main(words):
    parser = argparse.ArgumentParser(
        "run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exif", choices=fields.EXIF, help="[as in preprocessing.json]")
    parser.add_argument("--background", type=colour, help="[as in preprocessing.json]")
    parser.add_argument("image", nargs="*")
    asked = parser.parse_args(words)
    if not asked.image:
        sys.exit(__doc__)
    how, layout = preprocessing(asked.exif, asked.background)
    labels = told("labels.json", list)
    settings = told("runtime.json", dict)
    for name in SETTINGS:
        if name not in settings:
            sys.exit("runtime.json: lacks '%s'; copy the bundle again" % name)
    try:
        logits_of = opened(settings)
    except Exception as error:
        line = first_line(error)
        sys.exit("the model cannot be loaded: %s; check with sha256sum -c SHA256SUMS" % line)
    failed = 0
    for path in asked.image:
        try:
            classify(path, how, layout, logits_of, labels)
        except BrokenPipeError:
            raise
        except Exception as error:
            failed += 1
            print("%s: not classified: %s" % (path, first_line(error)), file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
