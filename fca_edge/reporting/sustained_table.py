"""The table of long runs: how the rate changed, where it settled, and how warm it got."""

from __future__ import annotations

from collections.abc import Sequence

from fca_edge.records import Record, Window
from fca_edge.reporting.bench_table import name_place
from fca_edge.stats import LEAST_WINDOWS, summarise_sustained
from fca_edge.tables.sheet import Column, Sheet, style_text

COLUMNS = (
    Column("file", kind="name", key=True),
    Column("runtime", kind="text", key=True),
    Column("seconds"),
    Column("first /s", legend="inputs per second in the first window"),
    Column(
        "settled /s",
        kind="text",
        legend="their median, with its interval, from where no trend is seen any more;"
        f" 'changing' if there is one to the end, '-' if there are fewer than {LEAST_WINDOWS}"
        " windows, too few to tell",
    ),
    Column("after s", 1, legend="when that began"),
    Column(
        "change per minute",
        1,
        kind="text",
        legend="of the rate, in percent of its median, over the whole run, with its interval;"
        " undecided if that contains 0",
    ),
    Column("°C", 2, kind="text", legend="after the first window, and the most"),
    Column("GHz", 3, kind="text", legend="after the first window, and the least"),
    Column("held back", 1, kind="label", legend="kernel or firmware slowed the cores down"),
)


def sustained_sheets(records: Sequence[Record]) -> list[Sheet]:
    """One sheet per target, a row per record that has a long run."""
    sheets: dict[str, Sheet] = {}
    for record in records:
        if record.sustained is not None:
            place = name_place(record)
            sheet = sheets.setdefault(place, Sheet(COLUMNS, title=f"Sustained on {place}"))
            add_row(sheet, record, record.sustained.windows)
    return list(sheets.values())


def add_row(sheet: Sheet, record: Record, windows: Sequence[Window]) -> None:
    """Write a record's row."""
    assert record.sustained is not None
    rate = summarise_sustained(record.sustained, record.plan.batch)
    settled, change = "-", ""
    if rate.change_percent is not None:
        slope, low, high = rate.change_percent
        undecided = " undecided" if low <= 0 <= high else ""
        change = f"{slope:+.1f} % ({low:+.1f} to {high:+.1f}){undecided}"
        settled = "changing" if rate.settled is None else write_rate(*rate.settled)
    after = rate.settled_after_seconds
    celsius = [window.celsius for window in windows if window.celsius is not None]
    khz = [window.frequency_khz for window in windows if window.frequency_khz is not None]
    sheet.add(
        *(record.artefact.file, f"{record.runtime.label} {record.runtime.version}"),
        *(f"{windows[-1].end_ns / 1e9:.0f}", f"{rate.windows[0]:.1f}", settled),
        *("" if after is None else f"{after:.0f}", change),
        f"{celsius[0]:.1f}, {max(celsius):.1f}" if celsius else "",
        f"{khz[0] / 1e6:.2f}, {min(khz) / 1e6:.2f}" if khz else "",
        style_text("yes", "red") if any(window.held_back for window in windows) else "",
    )


def write_rate(value: float, low: float | None, high: float | None) -> str:
    """Write a rate with its interval, if it has one."""
    return f"{value:.1f}" if low is None or high is None else f"{value:.1f} ({low:.1f}–{high:.1f})"
