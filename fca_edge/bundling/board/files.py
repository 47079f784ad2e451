"""The files of a bundle: read, and checked before a runtime trips over them."""

import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CHUNK = 1 << 20


def read_checked(name, kind):
    """Read a JSON file of the bundle, which must hold a dict or a list."""
    try:
        content = read_json(name)
        if isinstance(content, kind):
            return content
        reason = "it holds no %s" % kind.__name__
    except RecursionError:
        reason = "it is nested too deeply"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
    sys.exit("%s: cannot be used (%s); copy the bundle again" % (name, reason))


def read_json(name):
    """Read JSON, with or without the mark that Windows' editors put before UTF-8."""
    with open(os.path.join(HERE, name), encoding="utf-8-sig") as file:
        return json.load(file)


def check_model(name):
    """Refuse a model that was cut or damaged: a runtime can end the whole process over it."""
    if os.path.basename(name) != name or name.isspace() or not name:
        sys.exit("runtime.json: the model %r is no file of the bundle; copy it again" % name[:60])
    try:
        manifest = read_json(name + ".json")
        size, digest = int(manifest["bytes"]), str(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # whoever removed the manifest has the checksums still
    try:
        size_here = os.path.getsize(os.path.join(HERE, name))
        if size_here != size:
            reason = "it has %d bytes of %d" % (size_here, size)
        elif compute_sha256(name) != digest:
            reason = "its checksum is not the manifest's"
        else:
            return
    except OSError as error:
        reason = error.strerror
    sys.exit("%s: the model cannot be loaded (%s); copy the bundle again" % (name, reason))


def compute_sha256(name):
    """Return the checksum of a file of the bundle, in little memory."""
    digest = hashlib.sha256()
    with open(os.path.join(HERE, name), "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def note(text):
    """Print one line that is no answer."""
    print(plain(text), file=sys.stderr)


def first_line(error):
    """Say in one line what went wrong."""
    return plain("".join(str(error).strip().splitlines()[:1])) or type(error).__name__


def plain(text):
    """Write as escapes what would move the cursor, turn the line or not be seen."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
