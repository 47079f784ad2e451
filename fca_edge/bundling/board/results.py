"""Files that a task writes of a picture: PNG and JSON, whole or not at all."""

import json
import os

WRITTEN = set()


class Results:
    """The files of one picture, in the folder that --out names.

    Nothing is overwritten without --force, and nothing that this run wrote of another picture.
    """

    def __init__(self, path, folder, force):
        name = os.path.splitext(os.path.basename(path))[0]
        self.start, self.force, self.source = os.path.join(folder, name), force, path
        os.makedirs(folder, exist_ok=True)

    def check(self, *endings):
        """Refuse to go on where a file would be overwritten."""
        for ending in endings:
            place = self.start + ending
            if place in WRITTEN:
                raise ValueError("%s is another picture's; give another --out" % place)
            if os.path.lexists(place) and not self.force:
                raise ValueError("%s exists already; give --force or another --out" % place)

    def write_png(self, ending, image):
        """Write a picture."""
        return self.put(ending, lambda file: image.save(file, "PNG"))

    def write_json(self, ending, document):
        """Write what was found."""
        text = json.dumps(document, indent=1) + "\n"
        return self.put(ending, lambda file: file.write(text.encode("utf-8")))

    def put(self, ending, fill):
        """Write a file beside its place, then move it there; returns its place."""
        place = self.start + ending
        staged = "%s.%d.part" % (place, os.getpid())
        try:
            with open(staged, "wb") as file:
                fill(file)
            os.replace(staged, place)
        finally:
            if os.path.exists(staged):
                os.remove(staged)
        WRITTEN.add(place)
        return place


def add_output_options(parser):
    """Add the options that say where results go."""
    parser.add_argument("--out", default=".", metavar="FOLDER", help="where results go  [here]")
    parser.add_argument("--force", action="store_true", help="overwrite results that are there")
