"""Rounds in which every candidate runs once, in a fresh process; who is surely behind is out."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from fca_edge.comparing.metrics import METRICS
from fca_edge.comparing.noise import Ratio, compare_paired
from fca_edge.device import LEAN
from fca_edge.errors import plural
from fca_edge.measure.jobs import Job
from fca_edge.measure.record import JobEvents, build_record
from fca_edge.measure.session import Task, build_plan, run_task
from fca_edge.records import Plan, Record, TargetInfo
from fca_edge.stats import LEAST_PROCESSES
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError
from fca_edge.tuning.candidates import Candidate, LeftOut

Step = Callable[[str], None]
Standing = Literal["behind", "same", "open"]

# Differences below this do not count: they are ties.
TIE = METRICS["latency_ns"].limit_percent / 100
COUNTED_TIE = METRICS["instructions"].limit_percent / 100
# Before there are processes enough for an interval, only what takes so many times the leader's time
# in every round is surely behind.
FAR, FAR_ROUNDS = 2.0, 2
MOST_ROUNDS = 15


@dataclass(frozen=True)
class Clock:
    """How much time is left."""

    end: float

    @classmethod
    def start(cls, seconds: float) -> Clock:
        """Start one that runs for so long."""
        return cls(time.monotonic() + seconds)

    @property
    def seconds_left(self) -> float:
        """Seconds until its end; negative after it."""
        return self.end - time.monotonic()


@dataclass
class Heat:
    """Candidates that are measured in turns on a target, and what their processes said.

    Attributes:
        plan: warm-ups and inferences of a process.
        events: by candidate, those of its first load apart.
        seconds: that each process took.
    """

    target: Target
    info: TargetInfo
    plan: Plan
    events: dict[Candidate, JobEvents] = field(default_factory=dict)
    first_events: dict[Candidate, JobEvents] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def counts(self) -> bool:
        """Whether instructions are counted and no time is taken."""
        return self.target.counts_instructions

    def measure(self, candidate: Candidate, task: Task) -> None:
        """Run one process of a candidate.

        Raises:
            AgentError: it failed.
            TargetUnavailableError: the target went away.
        """
        events = self.events.setdefault(candidate, JobEvents())
        if candidate.first is not None and candidate not in self.first_events:
            first = JobEvents()
            self.run_job(candidate.first, candidate.threads, "memory", first)
            self.first_events[candidate] = first
        self.run_job(candidate.job, candidate.threads, task, events)

    def run_job(self, job: Job, threads: int, task: Task, events: JobEvents) -> None:
        """Run one process of a job."""
        began = time.monotonic()
        plan = replace(self.plan, threads=threads)
        places = {job.path: self.target.push(job.path)}
        if job.settings is not None:
            places[LEAN] = self.target.push(LEAN)
        process = build_plan(task, job, places, plan, self.info)
        run_task(task, job, process, self.target, self.info, events)
        self.seconds.append(time.monotonic() - began)

    def run_turn(self, candidate: Candidate) -> None:
        """Run the process of one turn."""
        self.measure(candidate, "cost" if self.counts else "latency")

    def series(self, candidate: Candidate) -> list[float]:
        """Return the median of each process: nanoseconds, or instructions."""
        events = self.events.get(candidate, JobEvents())
        if self.counts:
            return [float(np.median(one["cost"]["instructions"])) for one in events.cost]
        return [float(np.median(one["samples"]["latency_ns"])) for one in events.latency]

    def median(self, candidate: Candidate) -> float:
        """Return the median of a candidate's processes."""
        return float(np.median(self.series(candidate)))

    def peak_bytes(self, candidate: Candidate) -> int | None:
        """Return the most that its processes held, first and later ones; None if unknown."""
        runs = [self.events.get(candidate), self.first_events.get(candidate)]
        peaks = [one.memory.get("done", {}).get("peak_rss_bytes") for one in runs if one]
        return max((peak for peak in peaks if peak is not None), default=None)

    def records(self) -> list[Record]:
        """Return a record per candidate of which a process has finished."""
        pairs = [(c.job, c.threads, events) for c, events in self.events.items()]
        pairs += [
            (c.first, c.threads, events) for c, events in self.first_events.items() if c.first
        ]
        return [
            replace(
                build_record(job, self.plan_of(threads, events), self.info, events), run=self.run
            )
            for job, threads, events in pairs
            if events.begun
        ]

    def plan_of(self, threads: int, events: JobEvents) -> Plan:
        """Return the plan of a record: as many processes as there were."""
        done = max(len(events.latency), len(events.cost), 1)
        return replace(self.plan, threads=threads, processes=done)


def compute_ratio(heat: Heat, leader: Candidate, other: Candidate) -> Ratio:
    """Return a candidate's figure over the leader's, turn by turn, as far as both have run."""
    both = list(zip(heat.series(leader), heat.series(other)))
    return compare_paired([a for a, _ in both], [b for _, b in both])


def find_leader(heat: Heat, candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the least median; of equals the one with fewer threads."""
    return min(candidates, key=lambda one: (heat.median(one), one.threads))


def find_standing(heat: Heat, leader: Candidate, other: Candidate) -> Standing:
    """Tell whether a candidate is surely behind the leader, the same for every purpose, or open."""
    ratio = compute_ratio(heat, leader, other)
    if heat.counts:
        return "behind" if ratio.value > 1 + COUNTED_TIE else "same"
    if ratio.low is None or ratio.high is None:
        pairs = list(zip(heat.series(leader), heat.series(other)))
        far = len(pairs) >= FAR_ROUNDS and all(b >= FAR * a for a, b in pairs)
        return "behind" if far else "open"
    if ratio.low > 1:
        return "behind"
    return "same" if ratio.low >= 1 - TIE and ratio.high <= 1 + TIE else "open"


def describe_ratio(heat: Heat, leader: Candidate, other: Candidate) -> str:
    """Write a candidate's figure over the leader's with its interval."""
    ratio = compute_ratio(heat, leader, other)
    what = "instructions" if heat.counts else "time"
    rounds = min(len(heat.series(leader)), len(heat.series(other)))
    interval = ""
    if not heat.counts and ratio.low is not None and ratio.high is not None:
        interval = f" ({ratio.low:.3f}–{ratio.high:.3f})"
    within = "" if heat.counts else f" in {plural(rounds, 'round')}"
    return f"{ratio.value:.3f}{interval} times the {what} of {leader.label}{within}"


def run_race(
    heat: Heat, candidates: Sequence[Candidate], clock: Clock, step: Step, seed: int = 0
) -> tuple[list[Candidate], list[LeftOut]]:
    """Race until the rest is the same for every purpose, or time or rounds are used up.

    The first round is run to its end whatever the clock says. Returns those that are not surely
    behind, with the next best where that is one alone, and the others.
    """
    order, racing, left_out = random.Random(seed), list(candidates), list[LeftOut]()
    for number in range(1, (1 if heat.counts else MOST_ROUNDS) + 1):
        for candidate in order.sample(racing, len(racing)):
            if number > 1 and clock.seconds_left < 0:
                break
            step(f"round {number}, {plural(len(racing), 'candidate')}: {candidate.label}")
            if (failure := try_turn(heat, candidate)) is not None:
                racing.remove(candidate)
                left_out.append(failure)
        behind = list_behind(heat, racing)
        alone = len(racing) - len(behind) == 1
        if alone and behind:
            del behind[find_leader(heat, list(behind))]  # what the winner is confirmed against
        left_out += behind.values()
        racing = [one for one in racing if one not in behind]
        if alone or not racing or clock.seconds_left < 0 or is_settled(heat, racing):
            break
    return racing, left_out


def try_turn(heat: Heat, candidate: Candidate) -> LeftOut | None:
    """Run a turn; returns why the candidate is out if its process failed."""
    try:
        heat.run_turn(candidate)
    except AgentError as error:
        return LeftOut(candidate.label, "failed", str(error))
    return None


def list_behind(heat: Heat, racing: Sequence[Candidate]) -> dict[Candidate, LeftOut]:
    """List the candidates that are surely behind the leader, each with its ratio."""
    if not racing:
        return {}
    leader = find_leader(heat, racing)
    return {
        one: LeftOut(one.label, "race", describe_ratio(heat, leader, one))
        for one in racing
        if one is not leader and find_standing(heat, leader, one) == "behind"
    }


def is_settled(heat: Heat, racing: Sequence[Candidate]) -> bool:
    """Tell whether more rounds would only tell the same from the same."""
    leader = find_leader(heat, racing)
    if len(heat.series(leader)) < LEAST_PROCESSES:
        return False
    others = [one for one in racing if one is not leader]
    return all(find_standing(heat, leader, one) == "same" for one in others)
