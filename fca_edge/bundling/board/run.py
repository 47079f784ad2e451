"""Answer what pictures show, as this bundle's task.py does: python run.py image.jpg ...

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
    import fields
    import task
    from files import HERE, check_model, first_line, note, plain, read_checked
    from pictures import read_colour, read_preprocessing
except ImportError as error:
    sys.exit("%s; pip install pillow numpy" % error)

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
SETTINGS = {"model": str, "modules": list, "packages": list, "providers": list, "threads": int}


class Setup:
    """What all pictures of a run share.

    Attributes: `pictures` (how they are prepared), `layout` of the input, `labels`, and the
    `options` of the command line.
    """

    def __init__(self, options):
        self.options = options
        self.pictures, self.layout = read_preprocessing(options.exif, options.background)
        self.labels = read_checked("labels.json", list)
        if not all(isinstance(label, str) and not CONTROL.search(label) for label in self.labels):
            sys.exit("labels.json: holds something that is no text; copy the bundle again")

    def lap(self, stage):
        """Hear that a stage of a picture is done; whoever times the runner has a clock here."""

    def check_labels(self, classes):
        """End the run where the model has other classes than there are labels."""
        if len(self.labels) != classes:
            text = "labels.json has %d labels, the model %d classes"
            sys.exit(text % (len(self.labels), classes))


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

    return task.load(model, HERE, settings)


def start(words):
    """Read a command line and load the model; returns what all pictures share, and the model."""
    parser = argparse.ArgumentParser(
        "run.py",
        description=task.__doc__ + __doc__.partition("\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--exif", choices=fields.EXIF, help="[as in preprocessing.json]")
    parser.add_argument("--background", type=read_colour, help="[as in preprocessing.json]")
    task.add_options(parser)
    parser.add_argument("image", nargs="*")
    arguments = parser.parse_args(words)
    if not arguments.image:
        sys.exit(task.__doc__ + __doc__.partition("\n")[2])
    setup = Setup(arguments)
    settings = read_checked("runtime.json", dict)
    for name, kind in SETTINGS.items():
        if not isinstance(settings.get(name), kind):
            sys.exit("runtime.json: '%s' is not there or wrong; copy the bundle again" % name)
    for name in {settings["model"], *settings.get("parts", ())}:
        check_model(name)
    try:
        run_model = open_model(settings)
    except Exception as error:
        line = first_line(error)
        sys.exit("the model cannot be loaded: %s; check with sha256sum -c SHA256SUMS" % line)
    return setup, run_model


def main(words):
    setup, run_model = start(words)
    failed = 0
    for path in setup.options.image:
        try:
            lines = task.answer(path, run_model, setup)
        except Exception as error:
            failed += 1
            note("%s: %s: %s" % (path, task.FAILED, first_line(error)))
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
