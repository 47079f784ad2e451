"""Manifests of older and newer exports: what they lacked, and which cannot be read.

The number of the schema is for readers that would be wrong; fields that were only added left it
as it is, and what stands for them in older manifests is here.
"""

from __future__ import annotations

import math
import re
from pathlib import PureWindowsPath
from typing import Annotated, Any

from fca_edge.documents import Check, number
from fca_edge.parsing import DocumentError, shorten

SCHEMA_NAME, SCHEMA = "fca_edge.manifest", 1

# Stands for a ratio; a file cannot hold it, as JSON has no such number.
NOT_TOLD = float("nan")
# What the first manifests of this schema lacked, by the mapping that lacks it.
LACKED: dict[str, dict[str, Any]] = {
    "": {
        "quantization": None,
        "optimize": None,
        "macs": None,
        "planned": None,
        "accuracy": None,
        "output": "logits",
    },
    "source": {"weights": None, "seed": None, "assumed": [], "unsaid": [], "notes": []},
    "verification": {"images": None, "images_sha256": None, "pictures": None, "seed": 0},
    "run": {"delegate": "unknown", "partitions": None, "batch": 1, "worst_snr_db": NOT_TOLD},
}


def read_ratio(value: Any) -> float:
    """Read a ratio; None stands for infinity, which JSON lacks."""
    if value is None or value is NOT_TOLD:
        return math.inf if value is None else NOT_TOLD
    return float(number()(value))


Ratio = Annotated[float, Check(read_ratio)]


class NewerSchemaError(DocumentError):
    """A later version of this tool wrote it."""


def check_schema(document: Any) -> None:
    """Refuse what is no manifest, or one that a later version wrote.

    Raises:
        DocumentError: says what it is instead.
    """
    schema = document.get("schema") if isinstance(document, dict) else None
    match = re.fullmatch(rf"{SCHEMA_NAME}/([1-9][0-9]{{0,5}})", str(schema))
    if match is None:
        raise DocumentError(
            f"not a manifest: its schema is {shorten(schema)}, not {SCHEMA_NAME}/{SCHEMA}"
        )
    if int(match[1]) != SCHEMA:
        raise NewerSchemaError(f"schema {schema} is not this tool's {SCHEMA_NAME}/{SCHEMA}")


def fill_in(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the fields that manifests of older exports lacked.

    Those held whole paths of folders, which are nobody's but their owner's; their names remain.
    """
    filled: dict[str, Any] = {**LACKED[""], **document}
    for name in ("source", "verification", "quantization", "accuracy"):
        if isinstance(filled.get(name), dict):
            filled[name] = {**LACKED.get(name, {}), **filled[name]}
    check = filled.get("verification")
    if isinstance(check, dict) and isinstance(check.get("runtimes"), list):
        check["runtimes"] = [
            {**LACKED["run"], **run} if isinstance(run, dict) else run for run in check["runtimes"]
        ]
        if isinstance(text := check.get("inputs"), str):
            fill_inputs(check, text)
    keep_name(check, "images")
    keep_name(filled["accuracy"], "folder")
    keep_name(filled["accuracy"], "corrupt")
    quantization: Any = filled["quantization"] or {}
    if isinstance(quantization, dict) and isinstance(quantization.get("calibration"), dict):
        quantization["calibration"] = {**quantization["calibration"]}
        keep_name(quantization["calibration"], "folder")
    return filled


def keep_name(entries: Any, key: str) -> None:
    """Reduce a path, or each of a list, to its name."""
    value = entries.get(key) if isinstance(entries, dict) else None
    if isinstance(value, str):
        entries[key] = PureWindowsPath(value).name  # which knows both kinds of slashes
    elif isinstance(value, list):
        entries[key] = [PureWindowsPath(str(path)).name for path in value]


def fill_inputs(check: dict[str, Any], text: str) -> None:
    """Take the inputs of a verification from the words that the first manifests had for them."""
    seed = text.removeprefix("seeded noise ")
    if seed != text and seed.lstrip("-").isdigit():
        check["seed"] = int(seed)
    else:
        check["images"] = text
    if check["runtimes"] and isinstance(check["runtimes"][0], dict):
        check.setdefault("checks", check["runtimes"][0].get("inputs"))
