"""What `tune` answers: the choice, what supports it, and what was left out and why."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fca_edge.errors import FcaEdgeError, InfeasibleError, NotEquivalentError, plural
from fca_edge.lean_settings import settings_path
from fca_edge.options import spell_options
from fca_edge.records import Record
from fca_edge.stopping import Stopped
from fca_edge.tables.document import Document, Printable, Shell
from fca_edge.tables.sheet import Column, Sheet
from fca_edge.tuning.candidates import Candidate, LeftOut, Limits, write_figure
from fca_edge.tuning.confirm import Finalist, Verdict
from fca_edge.zoo.specs import find_task

SCHEMA = "fca_edge.tune/1"


@dataclass(frozen=True)
class Tuned(Printable):
    """The best choice for a target, as text, Markdown, JSON, or HTML in a notebook.

    Attributes:
        verdict: "decided", "tied" (nothing that counts lies between some), "undecided" (the noise
            hides which of some is quicker), "infeasible", or "stopped" by a signal.
        choice: what to take; None if nothing keeps to the limits.
        reason: why that one.
        finalists: what was confirmed in fresh processes, the quickest first.
        left_out: all other candidates, each with its reason.
        drops: points of accuracy that files lose, where that was measured.
        race, confirmed: records of both, with every sample.
        command: makes the bundle of the choice.
        emulated: figures are million instructions, and no time.
    """

    target: str
    limits: Limits
    verdict: Verdict
    choice: Finalist | None
    reason: str
    finalists: tuple[Finalist, ...]
    left_out: tuple[LeftOut, ...]
    drops: Mapping[str, float]
    race: tuple[Record, ...]
    confirmed: tuple[Record, ...]
    out: Path
    command: str = ""
    emulated: bool = False
    notes: tuple[str, ...] = ()
    stopped: Stopped | None = None
    lost: FcaEdgeError | None = None

    def raise_if_infeasible(self) -> Tuned:
        """Turn a run without an answer into an error; else return this.

        Raises:
            InfeasibleError: nothing keeps to the limits; names the nearest miss.
            NotEquivalentError: no file is known to be right.
            FcaEdgeError: none could be measured.
        """
        if self.lost is not None:
            raise self.lost
        if self.verdict != "infeasible":
            return self
        if misses := self.find_nearest():
            reasons = spell_options("; ".join(f"{one.what}: {one.reason}" for one in misses))
            raise InfeasibleError(
                f"nothing keeps to the limits; the nearest miss is {reasons}."
                " Raise that limit, or take a smaller network."
            )
        if not self.left_out:
            raise FcaEdgeError(f"{self.target}: no file is for a runtime that is set up there.")
        kind = FcaEdgeError
        if all(one.stage in ("proof", "runtime") for one in self.left_out):
            kind = NotEquivalentError
        first = next((one for one in self.left_out if one.stage != "runtime"), self.left_out[0])
        raise kind(f"nothing is left to measure: {first.what}: {first.reason.rstrip('.')}.")

    def find_nearest(self) -> list[LeftOut]:
        """Return the nearest miss of each limit, that of the limit judged last first.

        What missed it has kept to the limits before, and may or may not keep to those after.
        """
        nearest: dict[str, LeftOut] = {}
        for one in self.left_out:
            if one.miss is not None:
                best = nearest.get(one.miss.option)
                if best is None or best.miss is None or one.miss.excess < best.miss.excess:
                    nearest[one.miss.option] = one
        return list(nearest.values())[::-1]

    def document(self) -> Document:
        """Return what was left out, the finalists, and last the answer with its command."""
        document = Document()
        if self.left_out:
            sheet = Sheet((Column("left out", kind="name"), Column("why", kind="text")))
            for one in self.left_out:
                sheet.add(one.what, f"{one.stage}: {one.reason}")
            document.add_sheets([sheet])
        if self.finalists:
            document.add_sheets([self.finalists_sheet()])
        document.add_lines(self.answer_lines(), quiet=False)
        if self.command:
            document.blocks.append(Shell(self.command))
        return document

    def finalists_sheet(self) -> Sheet:
        """Return the table of what was confirmed."""
        unit = "million instructions" if self.emulated else "median ms"
        sheet = Sheet(
            (
                Column("confirmed", kind="name"),
                Column(unit),
                Column("90 % interval", 1),
                Column("peak MiB"),
                Column("drop, points", 2, legend="of accuracy, against the reference"),
                Column("beside the first", kind="text"),
            )
        )
        for one in self.finalists:
            interval = ""
            if one.low is not None and one.high is not None:
                interval = f"{write_figure(one.low)}–{write_figure(one.high)}"
            drop = self.drops.get(one.candidate.job.artefact.sha256)
            words = {"same": "as quick", "open": "undecided", "behind": "behind"}
            sheet.add(
                one.candidate.label,
                write_figure(one.figure),
                interval,
                "" if one.peak_mib is None else f"{one.peak_mib:.1f}",
                "" if drop is None else f"{drop:.2f}",
                f"{words[one.standing]}: {one.ratio}" if one.ratio else "",
            )
        return sheet

    def answer_lines(self) -> list[str]:
        """Return the verdict in words, and what to do next."""
        lines = [f"note: {note}" for note in self.notes]
        if self.choice is None:
            return lines
        unit = "million instructions" if self.emulated else "ms"
        figures = f"{write_figure(self.choice.figure)} {unit}"
        if self.choice.peak_mib is not None:
            figures += f", {self.choice.peak_mib:.0f} MiB at its peak"
        lines.append(f"{self.headline}: {figures}.")
        lines.append(f"why: {self.reason}.")
        lines.append(f"records: {self.out}/race.json, {self.out}/confirmed.json. The bundle:")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-ready data; records stand in files of their own."""
        return {
            "schema": SCHEMA,
            "target": self.target,
            "emulated": self.emulated,
            "limits": asdict(self.limits),
            "verdict": self.verdict,
            "choice": None if self.choice is None else describe_finalist(self.choice),
            "reason": self.reason,
            "finalists": [describe_finalist(one) for one in self.finalists],
            "left_out": [asdict(one) for one in self.left_out],
            "drop_points": dict(self.drops),
            "command": self.command,
            "notes": list(self.notes),
            "records": ["race.json", "confirmed.json"],
        }

    @property
    def headline(self) -> str:
        """The verdict in one line, without figures."""
        assert self.choice is not None
        take = f"take {self.choice.candidate.label}, on {self.target}"
        return f"{self.verdict}: {take}"

    @property
    def summary(self) -> str:
        """What a line about a broken run says of what is there."""
        number = len(self.race)
        return f"what was measured of {plural(number, 'candidate')} is in {self.out}"


def describe_finalist(one: Finalist) -> dict[str, Any]:
    """Return a finalist as JSON-ready data."""
    candidate = one.candidate
    return {
        "label": candidate.label,
        "path": str(candidate.job.path),
        "sha256": candidate.job.artefact.sha256,
        "runtime": candidate.job.runtime.name,
        "threads": candidate.threads,
        "lean": candidate.first is not None,
        **{key: value for key, value in asdict(one).items() if key != "candidate"},
    }


def write_bundle_command(candidate: Candidate, target: str, out: Path) -> str:
    """Write the command that makes a board's folder of a candidate as it was measured."""
    words = ["fca-edge", "bundle", str(candidate.job.path), "--out", str(out / "bundle")]
    words += ["--threads", str(candidate.threads)]
    if candidate.job.runtime.kits:
        words += ["--runtime", candidate.job.runtime.name, "--target", target]
    elif candidate.first is None and is_lean_in_bundle(candidate):
        words.append("--plain")
    return shlex.join(words)


def is_lean_in_bundle(candidate: Candidate) -> bool:
    """Tell whether the bundle's runner would load in little memory unless it is told not to."""
    job = candidate.job
    single = find_task(job.artefact.variant) != "detect"
    return job.runtime.lean and single and settings_path(job.path).is_file()
