"""The table of whole frames: what each stage takes, and which takes most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fca_edge.errors import plural
from fca_edge.records import Pipeline, Record
from fca_edge.reporting.bench_table import ms, name_place, write_bounds, write_p99
from fca_edge.stats import Latency, summarise_times
from fca_edge.tables.sheet import Column, Sheet

NS_PER_SECOND = 1e9
# Stage -> what it is, for a reader.
MEANINGS = {
    "decode": "from the picture's file to its pixels",
    "prepare": "resized, cut, normalised and in the model's layout",
    "infer": "the model itself",
    "postprocess": "from the model's output to the answer",
    "write": "pictures and JSON of the answer",
}
FIRST = (
    Column("file", kind="name", key=True),
    Column("runtime", kind="text", key=True),
    Column("frames/s", legend="one after the other: 1 / median of a whole frame"),
    Column("frame ms"),
    Column("90 % interval", 1, always=True),
    Column("p90 ms", 4),
    Column("p99 ms", 16),
)
LARGEST = Column("largest part", kind="text", legend="its share of the stages' medians")


@dataclass(frozen=True)
class Summary:
    """A pipeline's statistics.

    Attributes:
        frame: of whole frames.
        stages: of each stage.
    """

    frame: Latency
    stages: dict[str, Latency]

    @property
    def per_second(self) -> float:
        """Frames per second, one after the other."""
        return NS_PER_SECOND / self.frame.median_ns

    @property
    def largest(self) -> tuple[str, float]:
        """The stage that takes most, and its share."""
        medians = {name: times.median_ns for name, times in self.stages.items()}
        name = max(medians, key=lambda one: medians[one])
        return name, medians[name] / sum(medians.values())


def summarise_pipeline(pipeline: Pipeline) -> Summary:
    """Summarise the frames of a record."""
    stages = {name: summarise_times(samples) for name, samples in pipeline.stages.items()}
    return Summary(summarise_times(pipeline.frame_ns), stages)


def pipeline_sheets(records: Sequence[Record]) -> list[Sheet]:
    """One sheet per target and kind of network, a row per record that has whole frames."""
    sheets: dict[tuple[str, ...], Sheet] = {}
    for record in records:
        if record.pipeline is not None:
            stages = tuple(record.pipeline.stages)
            key = (name_place(record), *stages)
            if key not in sheets:
                columns = [Column(f"{name} ms", legend=MEANINGS[name]) for name in stages]
                title = f"Whole frames on {name_place(record)}"
                sheets[key] = Sheet((*FIRST, *columns, LARGEST), title=title)
            add_row(sheets[key], record, summarise_pipeline(record.pipeline))
    return list(sheets.values())


def add_row(sheet: Sheet, record: Record, summary: Summary) -> None:
    """Write a record's row; a stage has its interval behind its median."""
    frame, (name, share) = summary.frame, summary.largest
    sheet.add(
        *(record.artefact.file, f"{record.runtime.label} {record.runtime.version}"),
        *(f"{summary.per_second:.1f}", ms(frame.median_ns), write_bounds(frame)),
        *(ms(frame.p90_ns), write_p99(frame)),
        *(write_stage(times) for times in summary.stages.values()),
        f"{name}, {share:.0%}",
    )


def write_stage(times: Latency) -> str:
    """Write a stage's median with its interval."""
    bounds = write_bounds(times)
    return f"{ms(times.median_ns)} ({bounds})" if bounds else ms(times.median_ns)


def pipeline_lines(records: Sequence[Record]) -> list[str]:
    """Say with how many pictures frames were run, and how these were decoded."""
    lines = []
    for record in records:
        if record.pipeline is not None:
            one = record.pipeline
            frames = len(next(iter(one.stages.values()))[0])
            drafts = (
                "; large JPEGs decoded at a part of their size (--draft): the pixels differ"
                if one.draft
                else ""
            )
            lines.append(
                f"Whole frames are those of the runner that bundles hold:"
                f" {plural(one.pictures, 'picture')}, {plural(frames, 'frame')} per process,"
                f" Pillow {one.pillow}{drafts}. A part's interval follows it in brackets."
            )
    return list(dict.fromkeys(lines))
