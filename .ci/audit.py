"""Asks a database of advisories about every pin and every floor of this project.

    python .ci/audit.py [--osv-url URL]    (make audit)

Ends with 1 where one has a known hole. Where no database can be reached it says SKIPPED and why,
and ends with 0: on a machine behind a mirror that is the usual case.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
# A hole that every database has: one that does not tell it would find nothing else either.
CANARY = ("asyncssh", "2.14.0")
# Advisories without a remedy at a floor, and why they do not matter here.
ACCEPTED = {
    "CVE-2026-4538": "torch below 2.11: reading .pt2, which fca_edge refuses",
    "CVE-2025-3000": "torch below 2.13: torch.jit.script, which fca_edge does not call",
}
# What pip-audit writes last where a database cannot be asked; anything else is a fault.
UNREACHABLE = ("Could not connect", "ConnectionError", "Timeout", "HTTPError", "JSONDecodeError")

Pin = tuple[str, str]


class UnreachableError(Exception):
    """A database that cannot be asked, or knows nothing."""


def main() -> None:
    """Run the check."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=False)
    parser.add_argument("--osv-url", help="ask this database alone, which has OSV's protocol")
    url = parser.parse_args().osv_url
    pins = dict(list_pins())
    reasons = []
    for words in [("osv", "--osv-url", url)] if url else [("osv",), ("pypi",)]:
        try:
            holes = ask_all(pins, words)
        except UnreachableError as error:
            reasons.append(f"{words[0]}: {error}")
            continue
        tell(pins, holes, words[0])
        sys.exit(bool(holes))
    print(f"SKIPPED: no database of advisories can be asked ({'; '.join(reasons)})")


def list_pins() -> Iterator[tuple[Pin, str]]:
    """List names with versions, and where each is written."""
    for place in ("constraints.txt", "docker/hashes/tflite.txt"):
        for line in (ROOT / place).read_text().splitlines():
            if line and line[0] not in "# ":
                yield read_pin(line.rstrip(" \\")), place
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    for text in (*project["dependencies"], *extras):
        requirement = Requirement(text)
        # Debian mends its own packages of 32-bit ARM without another version.
        if requirement.marker and not requirement.marker.evaluate({"platform_machine": "x86_64"}):
            continue
        if requirement.name != "fca-edge":
            yield read_pin(text), "a floor of pyproject.toml"


def read_pin(text: str) -> Pin:
    """Read the name and the lowest version of a requirement."""
    requirement = Requirement(text)
    (version,) = (s.version for s in requirement.specifier if s.operator in ("==", ">="))
    return canonicalize_name(requirement.name), version


def ask_all(pins: dict[Pin, str], service: tuple[str, ...]) -> dict[Pin, list[dict[str, Any]]]:
    """Ask a database about all pins; returns those with holes.

    Raises:
        UnreachableError: it does not answer, or does not know the canary's hole.
    """
    if not ask([CANARY], service):
        raise UnreachableError(f"tells no hole of {' '.join(CANARY)}, which has known ones")
    holes: dict[Pin, list[dict[str, Any]]] = {}
    left = sorted(pins)
    while left:
        # pip-audit takes one version of each name at a time.
        once = list({name: (name, version) for name, version in left}.values())
        holes |= ask(once, service)
        left = [pin for pin in left if pin not in once]
    return holes


def ask(pins: list[Pin], service: tuple[str, ...]) -> dict[Pin, list[dict[str, Any]]]:
    """Ask a database about some pins; returns those with holes.

    Raises:
        UnreachableError: it does not answer, or does not have one of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pins.txt")
        file.write_text("".join(f"{name}=={version}\n" for name, version in pins))
        command = [sys.executable, "-m", "pip_audit", "--requirement", file, "--no-deps"]
        command += ["--disable-pip", "--progress-spinner", "off", "--format", "json"]
        command += [word for known in ACCEPTED for word in ("--ignore-vuln", known)]
        command += ["--vulnerability-service", *service]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if not done.stdout.startswith("{"):
        last = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        if any(sign in done.stderr for sign in UNREACHABLE):
            raise UnreachableError(last.partition(" (Caused")[0])
        sys.exit(f"{done.stderr}\npip-audit failed with exit code {done.returncode}")
    answers = json.loads(done.stdout)["dependencies"]
    unknown = [answer["name"] for answer in answers if "skip_reason" in answer]
    if unknown:
        raise UnreachableError(f"does not have {', '.join(unknown[:3])}")
    return {(a["name"], a["version"]): a["vulns"] for a in answers if a["vulns"]}


def tell(pins: dict[Pin, str], holes: dict[Pin, list[dict[str, Any]]], service: str) -> None:
    """Print what a database said."""
    for (name, version), advisories in sorted(holes.items()):
        for advisory in advisories:
            ids = ", ".join([advisory["id"], *advisory["aliases"]])
            remedy = ", ".join(advisory["fix_versions"]) or "no release yet"
            print(f"{name} {version} ({pins[name, version]}): {ids}; mended in {remedy}")
    found = f"{len(holes)} with known holes; raise them" if holes else "no known hole"
    print(f"audit: {len(pins)} pins and floors asked of {service}: {found}")


if __name__ == "__main__":
    main()
