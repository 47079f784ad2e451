"""Sizes of installed packages and of all that they need; runs under a peer's interpreter.

    python closure.py NAME[EXTRA] ...

Writes {name: {version, bytes}} as JSON. Bytes are those of the files in a package's own list.
"""

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

REQUIREMENT = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;(.*))?")


def applies(marker, extras):
    """Tell whether a requirement counts here; without `packaging` only extras are judged."""
    if not marker:
        return True
    try:
        from packaging.markers import Marker
    except ImportError:
        return "extra" not in marker or any(repr(e) in marker.replace('"', "'") for e in extras)
    return any(Marker(marker).evaluate({"extra": extra}) for extra in (*extras, ""))


def walk(requirement, found, missing):
    """Add a package and what it needs to `found`, each once."""
    name, extras, _ = REQUIREMENT.match(requirement).groups()
    key = re.sub(r"[-_.]+", "-", name).lower()
    wanted = tuple(word.strip() for word in (extras or "").split(",") if word.strip())
    if (key, wanted) in found:
        return
    try:
        package = distribution(name)
    except PackageNotFoundError:
        missing.append(name)
        return
    found[key, wanted] = package
    for needed in package.requires or ():
        if applies(REQUIREMENT.match(needed).group(3), wanted):
            walk(needed, found, missing)


def size(package):
    """Bytes of a package's files that are there, without what Python compiles by itself."""
    files = (file for file in package.files or () if file.suffix != ".pyc")
    places = (package.locate_file(file) for file in files)
    return sum(place.stat().st_size for place in places if place.is_file())


def main():
    found, missing = {}, []
    for name in sys.argv[1:]:
        walk(name, found, missing)
        if name.split("[")[0] in missing:
            sys.exit(name + " is not installed")
    print(
        json.dumps({key: {"version": p.version, "bytes": size(p)} for (key, _), p in found.items()})
    )


if __name__ == "__main__":
    main()
