"""A whole run of `tune`: files, candidates, limits, race, confirmation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fca_edge.accuracy.assess import evaluate_files
from fca_edge.accuracy.data import DataRequest
from fca_edge.accuracy.figures import ROUNDING, warn_of_few
from fca_edge.artefacts import RefusedError
from fca_edge.errors import FcaEdgeError, TargetUnavailableError, UsageError, plural
from fca_edge.exporting.forms import OPTIMIZE, PROFILES
from fca_edge.exporting.request import NetworkRequest, Request
from fca_edge.manifest import read_artefact
from fca_edge.measure.session import Task
from fca_edge.records import Plan, TargetInfo, to_document
from fca_edge.runtimes import RUNTIMES
from fca_edge.stopping import Stopped
from fca_edge.store import write_json
from fca_edge.suites.jobs import Export, Screen
from fca_edge.suites.run import EMULATED, MEASURED
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError
from fca_edge.targets.resolve import real_name, resolve
from fca_edge.targets.setup import list_states
from fca_edge.targets.ssh.address import SCHEME as SSH
from fca_edge.tuning.answer import Tuned, write_bundle_command
from fca_edge.tuning.candidates import (
    Candidate,
    LeftOut,
    Miss,
    list_candidates,
    list_threads,
)
from fca_edge.tuning.confirm import (
    Finalist,
    check_limits,
    check_peak,
    choose,
    choose_finalists,
    confirm,
    list_finalists,
)
from fca_edge.tuning.race import Clock, Heat, Step, run_race
from fca_edge.tuning.request import DOCUMENTS, TuneRequest, check

if TYPE_CHECKING:
    from fca_edge.targets.ssh.target import SshTarget

# Of the budget, what the race may take; the rest is for the confirmation.
RACE_SHARE = 0.6


def run_tune(request: TuneRequest, export: Export, screen: Screen) -> Tuned:
    """Find the best choice for a target.

    Args:
        export: makes the files of a network.
        screen: shows the progress.

    Raises:
        UsageError: options that do not fit together, or not to the target.
        TargetUnavailableError: the target or all of its runtimes are not there.
        FcaEdgeError: a file, a checkpoint or a folder cannot be used.
    """
    check(request)
    with closing(resolve(request.target, screen.say)) as place:
        return Tuner(request, place, place.info(), screen).run(export)


class Tuner:
    """One run, stage by stage; each leaves fewer candidates."""

    def __init__(
        self, request: TuneRequest, place: Target, info: TargetInfo, screen: Screen
    ) -> None:
        self.request, self.place, self.info, self.screen = request, place, info, screen
        self.left_out, self.notes = list[LeftOut](), list[str]()
        self.late, self.drops = list[LeftOut](), dict[str, float]()
        usual = EMULATED if info.emulated else MEASURED
        plan = Plan(1, 1, usual.warmup, usual.runs, 1)
        self.heat, self.final = Heat(place, info, plan), Heat(place, info, plan)
        self.stopped: Stopped | None = None
        self.lost: FcaEdgeError | None = None

    def run(self, export: Export) -> Tuned:
        """Carry out all stages and write the records."""
        self.refuse_emulated()
        with self.screen.steps() as step:
            step(f"looking at {self.request.target}")
            runtimes = self.list_runtimes()
        paths = list(self.request.files) or self.export(export, runtimes)
        threads = list_threads(self.info, self.request.max_threads)
        with self.screen.steps() as step:
            step("reading manifests")
            candidates, unproven = list_candidates(paths, runtimes, self.info, threads)
        self.left_out += unproven
        if self.request.limits.max_drop is not None:
            candidates = self.drop_inaccurate(candidates)
        elif len({one.job.artefact.precision for one in candidates}) > 1:
            self.notes.append(
                "accuracy was not measured; --max-drop with --data leaves out what loses too much."
            )
        finalists = self.measure(candidates)
        return self.answer(finalists)

    def refuse_emulated(self) -> None:
        """Refuse a limit on time where there is no time.

        Raises:
            UsageError: the target is emulated.
        """
        if not self.info.emulated:
            return
        if self.request.limits.max_ms is not None:
            raise UsageError(
                f"--max-ms: {self.info.name} is emulated, so nothing is timed; leave it out."
            )
        if self.request.max_threads is not None:
            raise UsageError(
                f"--max-threads: {self.info.name} is emulated, and instructions are counted at 1"
                " thread; leave it out."
            )
        if not self.place.counts_instructions:
            raise UsageError(
                f"--target {self.request.target}: it is emulated and counts no instructions; take"
                " qemu:aarch64 or qemu:armv7."
            )
        self.notes.append(
            f"{self.info.name} is emulated: ranked by instructions at 1 thread, which is no time;"
            " another order is possible on a board."
        )

    def list_runtimes(self) -> list[str]:
        """Name the runtimes that are set up on the target, of those that are asked for.

        Raises:
            TargetUnavailableError: there are none.
        """
        real = real_name(self.request.target)
        if real.startswith(SSH):
            versions = cast("SshTarget", self.place).ready()
            missing = {n: "not set up there" for n, version in versions.items() if not version}
            ready = [name for name, version in versions.items() if version]
        else:
            states = list_states(real)
            missing = {s.runtime: s.fault or "not set up" for s in states if not s.ready}
            ready = [state.runtime for state in states if state.ready]
        asked = self.request.runtimes
        self.left_out += [
            LeftOut(name, "runtime", f"{fault.rstrip('.')}; `fca-edge targets setup {real}`")
            for name, fault in missing.items()
            if not asked or name in asked
        ]
        chosen = [name for name in ready if not asked or name in asked]
        if not chosen:
            raise TargetUnavailableError(
                f"{real}: {' and '.join(asked) or 'no runtime'} not ready; run `fca-edge targets"
                f" setup {real}`."
            )
        return chosen

    def export(self, export: Export, runtimes: Sequence[str]) -> list[Path]:
        """Export the network in every way that a runtime of the target takes."""
        network = cast(NetworkRequest, self.request.network)
        own = {RUNTIMES[name].profiles[0] for name in runtimes}
        profiles = [name for name in PROFILES if name in own and name != "onnx"]
        suffixes = {RUNTIMES[name].suffix.lstrip(".") for name in runtimes}
        paths: list[Path] = []
        for optimize in OPTIMIZE:
            request = Request(
                network=network,
                out=self.request.out / optimize,
                formats=tuple(sorted(suffixes)),
                profiles=tuple(profiles) or ("modern",),
                precisions=self.request.precisions,  # type: ignore[arg-type]  # were checked
                optimize=optimize,
                force=self.request.force,
            )
            with self.screen.steps() as step:
                paths += self.export_one(export, request, step)
        return paths

    def export_one(self, export: Export, request: Request, step: Step) -> list[Path]:
        """Export one set of files; what is refused is left out."""
        try:
            artefacts = export(request, lambda text: step(f"{request.optimize}: {text}"))
        except RefusedError as error:
            artefacts = error.artefacts
            self.left_out += [
                LeftOut(f"{request.optimize}/{one.file}", "proof", str(one.error))
                for one in error.refusals
            ]
        return [artefact.path for artefact in artefacts]

    def drop_inaccurate(self, candidates: list[Candidate]) -> list[Candidate]:
        """Evaluate the files on the labelled images; leave out what loses too much."""
        most = cast(float, self.request.limits.max_drop)
        paths = list(dict.fromkeys(one.job.path for one in candidates))
        for _, some in groupby(paths, key=lambda path: path.parent):
            self.drops |= self.evaluate(list(some))
        kept = []
        for one in candidates:
            drop = self.drops[one.job.artefact.sha256]
            if drop <= most + ROUNDING:
                kept.append(one)
                continue
            miss = Miss("--max-drop", "loses", drop, most, "points")
            self.left_out.append(LeftOut.over(one.label, "accuracy", miss))
        return kept

    def evaluate(self, paths: list[Path]) -> dict[str, float]:
        """Return the points that files lose, by their checksums."""
        request = self.request
        checkpoint = request.network.checkpoint if request.network else None
        against = None if checkpoint else find_reference(request.files)
        with self.screen.images() as progress:
            result = evaluate_files(
                paths,
                DataRequest(cast(Path, request.data), limit=request.limit),
                reading={},
                checkpoint=checkpoint,
                weights=request.network.weights if request.network else None,
                against=against,
                runtime=None,
                threads=1,
                progress=progress,
            )
        texts = (*result.notes, *result.warnings)
        texts += tuple(warn_of_few(result.data["images"], cast(float, request.limits.max_drop)))
        self.notes += [text for text in texts if text not in self.notes]
        return {one.sha256: cast(float, one.figures.drop_points) for one in result}

    def measure(self, candidates: list[Candidate]) -> list[Finalist]:
        """Race and confirm; what was measured until a signal came is kept."""
        seconds = 60 * self.request.budget_minutes
        clock = Clock.start(seconds)
        try:
            with self.screen.until(seconds) as step:
                candidates = self.drop_heavy(candidates, step)
                candidates = self.drop_disagreeing(candidates, step)
                race_clock = Clock.start(RACE_SHARE * clock.seconds_left)
                survivors, behind = run_race(self.heat, candidates, race_clock, step)
                self.left_out += behind
                chosen, self.late = choose_finalists(self.heat, survivors, clock)
                self.left_out += self.late
                left, failures = confirm(self.final, chosen, clock, step)
                self.left_out += failures
        except Stopped as stopped:
            self.stopped = stopped
            return []
        except TargetUnavailableError as error:
            self.lost = error
            return []
        return list_finalists(self.final, left)

    def measure_each(
        self, candidates: list[Candidate], task: Task, words: str, step: Step
    ) -> Iterator[Candidate]:
        """Run a task of each; yield those that could be measured, and leave out the others."""
        for number, one in enumerate(candidates, 1):
            step(f"{words}, {number} of {len(candidates)}: {one.label}")
            try:
                self.heat.measure(one, task)
            except AgentError as error:
                self.left_out.append(LeftOut(one.label, "failed", str(error)))
            else:
                yield one

    def drop_heavy(self, candidates: list[Candidate], step: Step) -> list[Candidate]:
        """Leave out what holds more memory than is allowed."""
        if self.request.limits.max_mib is None:
            return candidates
        kept = []
        for one in self.measure_each(candidates, "memory", "memory", step):
            peak = self.heat.peak_bytes(one)
            miss = check_peak(None if peak is None else peak / (1 << 20), self.request.limits)
            if miss is None:
                kept.append(one)
            else:
                self.left_out.append(LeftOut.over(one.label, "memory", miss))
        return kept

    def drop_disagreeing(self, candidates: list[Candidate], step: Step) -> list[Candidate]:
        """Leave out what computes something else on the target than here."""
        if self.info.name == "local":
            return candidates
        kept = []
        for one in self.measure_each(candidates, "agreement", "logits there and here", step):
            agreement = self.heat.events[one].agreement
            floor = read_artefact(one.job.path).manifest.verification.floor_db or 0.0
            ratio = agreement.snr_db if agreement else None
            if ratio is None or ratio >= floor:
                kept.append(one)
            else:
                reason = f"logits there are {ratio:.1f} dB from those here, less than {floor:g} dB"
                self.left_out.append(LeftOut(one.label, "proof", reason))
        return kept

    def answer(self, finalists: list[Finalist]) -> Tuned:
        """Choose, write what supports it, and say it."""
        limits, misses = self.request.limits, list[LeftOut]()
        for one in finalists:
            if (miss := check_limits(one, limits)) is not None:
                misses.append(LeftOut.over(one.candidate.label, "confirmation", miss))
        self.left_out += misses
        over = {miss.what for miss in misses}
        fit = [one for one in finalists if one.candidate.label not in over]
        tuned = Tuned(
            target=self.request.target,
            limits=limits,
            verdict="stopped" if self.stopped or self.lost else "infeasible",
            choice=None,
            reason="",
            finalists=tuple(finalists),
            left_out=tuple(self.left_out),
            drops=self.drops,
            race=tuple(self.heat.records()),
            confirmed=tuple(self.final.records()),
            out=self.request.out,
            emulated=self.info.emulated,
            notes=tuple(self.notes),
            stopped=self.stopped,
            lost=self.lost,
        )
        if fit:
            quality = "fewest instructions" if self.info.emulated else "the quickest"
            fit = list_finalists(self.final, [one.candidate for one in fit])
            verdict, choice, reason = choose(fit, quality)
            if self.late:
                verdict = "undecided"
                reason += (
                    f"; {plural(len(self.late), 'candidate')} more not told apart: --budget ended"
                )
            command = write_bundle_command(choice.candidate, self.request.target, self.request.out)
            tuned = replace(tuned, verdict=verdict, choice=choice, reason=reason, command=command)
        self.write(tuned)
        return tuned

    def write(self, tuned: Tuned) -> None:
        """Write the records of race and confirmation, and the answer."""
        contents: tuple[Any, ...] = (
            to_document(list(tuned.race)) if tuned.race else None,
            to_document(list(tuned.confirmed)) if tuned.confirmed else None,
            tuned.to_dict(),
        )
        for name, content in zip(DOCUMENTS, contents):
            (self.request.out / name).unlink(missing_ok=True)
            if content is not None:
                write_json(self.request.out / name, content)


def find_reference(files: Sequence[Path]) -> Path:
    """Return the file that drops are counted against: the first in fp32.

    Raises:
        UsageError: there is none.
    """
    for path in files:
        if read_artefact(path).manifest.precision == "fp32":
            return path
    raise UsageError(
        "--max-drop: none of the files is fp32, against which the drop is counted; name one, too."
    )
