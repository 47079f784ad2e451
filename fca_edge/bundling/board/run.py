"""Print the five likeliest classes of images: python run.py image.jpg ...

Pictures are turned upright by their EXIF orientation; --exif ignore takes them as they are
stored. --background white, black, R,G,B or none says what lies behind transparent pixels.

Stand-alone: NumPy, Pillow and a runtime, which lean.py loads in little memory (it keeps packed
weights beside the model), or model.py plainly. No torch. Exit code 1 where an image failed.
"""

import argparse
import os
import re
import sys

try:
    import decode
    import fields
    import numpy as np
    from files import HERE, check_model, first_line, plain, read_checked
except ImportError as error:
    sys.exit("%s; pip install pillow numpy" % error)

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
SETTINGS = {"model": str, "modules": list, "packages": list, "providers": list, "threads": int}
SAID = {
    "deep": "it has more than 8 bits per channel; scaled to 8",
    "dim": "no value is above 1/8 of full scale: 10 or 12 bits stored in 16? It is nearly black;"
    " scale its values to 16 bits",
    "transparent": "it is transparent in places; behind them lies %s (--background)",
    "frames": "it has several frames; this is the first",
}


def read_preprocessing(exif=None, background=None):
    """Read how images are prepared; options of the command line go first."""
    settings = read_checked("preprocessing.json", dict)
    layout = settings.pop("input_layout", None)
    options = {"exif": exif, "background": background}
    try:
        if layout not in ("nchw", "nhwc"):
            raise fields.FieldError("input_layout %r is neither nchw nor nhwc" % (layout,))
        settings = fields.check_fields(settings, complete=True)
        settings.update(
            fields.check_fields({name: x for name, x in options.items() if x is not None})
        )
    except fields.FieldError as error:
        sys.exit("preprocessing: %s" % error)
    return settings, layout


def prepare(path, settings, layout):
    """Read an image as the model's input, (1, 3, H, W) or (1, H, W, 3) float32, and its marks."""
    pixels, marks = decode.read(path, settings)
    if layout == "nchw":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None]), marks


def open_model(settings):
    """Load the model; returns a function from an input to logits (1, classes)."""
    path = os.path.join(HERE, settings["model"])
    if os.path.exists(path + ".runtime.json"):
        try:
            import lean

            return lean.open_model(path)
        except ImportError:
            pass  # lean.py does not know the runtime that is here
        except Exception as error:
            note("note: not loaded in little memory: %s" % first_line(error))
    import model

    return model.load(HERE, settings)


def note(text):
    """Print one line that is no answer."""
    print(plain(text), file=sys.stderr)


def classify(path, settings, layout, run_model, labels):
    """Return the likeliest classes of one image, one line each."""
    inputs, marks = prepare(path, settings, layout)
    for mark in sorted(set(marks) & set(SAID)):
        text = SAID[mark] % (settings["background"],) if mark == "transparent" else SAID[mark]
        note("%s: note: %s" % (path, text))
    logits = np.asarray(run_model(inputs))[0]
    if len(labels) != len(logits):
        sys.exit("labels.json has %d labels, the model %d classes" % (len(labels), len(logits)))
    if not np.isfinite(logits).all():
        raise ValueError("the model's answer is not finite")
    shares = np.exp(logits - logits.max())
    shares *= 100 / shares.sum()
    best = np.argsort(-logits, kind="stable")[:5]
    return ["%s: %5.1f %%  %s" % (path, shares[place], labels[place]) for place in best]


def read_colour(text):
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
    parser.add_argument("--background", type=read_colour, help="[as in preprocessing.json]")
    parser.add_argument("image", nargs="*")
    arguments = parser.parse_args(words)
    if not arguments.image:
        sys.exit(__doc__)
    picture_settings, layout = read_preprocessing(arguments.exif, arguments.background)
    labels = read_checked("labels.json", list)
    if not all(isinstance(label, str) and not CONTROL.search(label) for label in labels):
        sys.exit("labels.json: holds something that is no text; copy the bundle again")
    settings = read_checked("runtime.json", dict)
    for name, kind in SETTINGS.items():
        if not isinstance(settings.get(name), kind):
            sys.exit("runtime.json: '%s' is not there or wrong; copy the bundle again" % name)
    check_model(settings["model"])
    try:
        run_model = open_model(settings)
    except Exception as error:
        line = first_line(error)
        sys.exit("the model cannot be loaded: %s; check with sha256sum -c SHA256SUMS" % line)
    failed = 0
    for path in arguments.image:
        try:
            lines = classify(path, picture_settings, layout, run_model, labels)
        except Exception as error:
            failed += 1
            note("%s: not classified: %s" % (path, first_line(error)))
            continue
        print("\n".join(map(plain, lines)), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    if sys.stdout is None:
        sys.exit("the answer cannot be printed: standard output is closed")
    if sys.stderr is None:  # then print would write notes among the answers
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except OSError as error:  # of printing: main catches what pictures and files raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
        if not isinstance(error, BrokenPipeError):  # then whoever reads has seen enough
            print("the answer cannot be printed: %s" % error.strerror, file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
