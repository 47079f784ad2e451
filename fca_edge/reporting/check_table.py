"""The table of a verification: each file on each runtime, beside the float64 network."""

from __future__ import annotations

from collections.abc import Iterable

from fca_edge.parity import Check
from fca_edge.tables.sheet import Column, Sheet

COLUMNS = (
    Column("file", kind="name"),
    Column("runtime", 1, kind="text"),
    Column(
        "SNR dB", legend="how far the error is below the logits; 20 more are a tenth of the error"
    ),
    Column("largest error", 2, legend="of any logit against the float64 network"),
    Column("same class", 3, legend="of the inputs, as the float64 network says"),
    Column("verdict", kind="label"),
)


def build_sheet(checks: Iterable[Check]) -> Sheet:
    """Return one row per file and runtime."""
    sheet = Sheet(COLUMNS)
    for check in checks:
        parity = check.parity.to_dict()
        batch = f", batch of {parity['batch']}" if parity["batch"] > 1 else ""
        sheet.add(
            check.file,
            f"{parity['runtime']} {parity['version']}{batch}",
            number(parity["snr_db"], ".1f"),
            number(parity["max_abs"], ".2g"),
            f"{100 * parity['top1_agreement']:.0f} %",
            "equal" if check.equal else "NOT EQUAL",
        )
    return sheet


def number(value: float | None, format_spec: str) -> str:
    """Write a figure, which logits that are not finite do not have."""
    return "not finite" if value is None else format(value, format_spec)
