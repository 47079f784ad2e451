"""Rows of the comparison: a file, what it cost to make, and whether its logits are right."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from environment import Packages, PeerError, ensure, measure_packages, say
from numpy.typing import NDArray
from registry import BY_NAME, Peer

from fca_edge.device import LEAN
from fca_edge.errors import FcaEdgeError
from fca_edge.measure.jobs import Job, describe, job_for, lean_jobs
from fca_edge.measure.session import EMULATED_TIMEOUT_SECONDS, TIMEOUT_SECONDS, build_plan
from fca_edge.parity import compare_logits, in_layout
from fca_edge.parsing import read_json
from fca_edge.records import Plan
from fca_edge.store import write_json
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError, Event, agent_environment, failure_reason
from fca_edge.targets.outputs import run_artefact

HERE = Path(__file__).parent
CONVERT = "convert.py"
# The same file and input again; threads may add in another order.
SAME_DB = 100.0
# Below it a file is wrong: rounding alone leaves more.
FLOOR_DB = {"fp32": 60.0, "fp16": 40.0, "int8": 20.0}
MOST_REASON = 200


@dataclass
class Row:
    """One line of the table, as it stands in the JSON; None if there is no such figure.

    Attributes:
        error: the stage that failed and its reason, in one line.
        export_cpu_seconds: of the whole export, its source included.
        export_needs, run_needs: packages for the export and for an inference: version and bytes.
        snr_db: worst over the inputs, against float64.
        file: as its record calls it.
        processor: what the timed processes spent besides: all_cpu_ns, wall_ns, threads.
        arm: what an emulated machine counted.
    """

    name: str
    title: str
    ours: bool
    precision: str = "fp32"
    error: str | None = None
    export_cpu_seconds: float | None = None
    export_needs: Packages = field(default_factory=dict)
    run_needs: Packages = field(default_factory=dict)
    file: str | None = None
    file_bytes: int | None = None
    snr_db: float | None = None
    processor: list[dict[str, Any]] = field(default_factory=list)
    arm: dict[str, Any] | None = None

    def fail(self, stage: str, error: Exception) -> None:
        """Note the first thing that went wrong."""
        words = " ".join(str(error).split())
        self.error = self.error or f"{stage}: {words[:MOST_REASON]}"


@dataclass
class Entry:
    """A row at work: its file and where it runs."""

    row: Row
    job: Job | None = None


class Reference(NamedTuple):
    """Inputs (checks, 3, side, side) and their logits in float64 (checks, classes)."""

    inputs: NDArray[Any]
    logits: NDArray[Any]


def compute_reference(variant: str, folder: Path) -> Reference:
    """Let the unmodified network compute its logits in float64."""
    place = folder / "reference.npz"
    run_script([sys.executable, str(HERE / "network.py"), variant, str(place)])
    with np.load(place) as content:
        return Reference(content["inputs"], content["logits"])


def run_script(command: list[str]) -> float:
    """Run a script with our package in reach; returns its seconds of processor time."""
    # Threads that wait for each other by spinning would be counted as work of the export.
    own = {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    # A converter that calls pip must not find that of another environment.
    own["PATH"] = str(Path(command[0]).parent)
    own |= {k: v for k, v in agent_environment().items() if k not in own and k[:4] != "FCA_"}
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(command, env=own, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        if child.returncode:
            raise PeerError(failure_reason(child.returncode, log.read()))
    return usage.ru_utime + usage.ru_stime


def peer_entry(peer: Peer, variant: str, folder: Path, reuse: bool) -> Entry:
    """Install a peer and let it convert; what fails is in its row."""
    row = Row(peer.name, peer.title, ours=False, precision=peer.precision)
    entry = Entry(row)
    stage = "install"
    try:
        for environment in filter(None, (peer.converter, peer.runner)):
            ensure(environment)
        stage = "convert"
        path = convert(peer, variant, folder, reuse)
        row.export_cpu_seconds = read_cost(path)
        stage = "packages"
        row.export_needs = measure_export(peer)
        row.run_needs = measure_packages(peer.needs, peer.runner)
        # A file with its weights beside it is as large as both.
        parts = [path, *path.parent.glob(f"{path.stem}.bin")]
        row.file_bytes = sum(part.stat().st_size for part in parts)
        artefact = replace(
            describe(path, None),
            file_bytes=row.file_bytes,
            variant=variant,
            precision=peer.precision,
            profile="peer",
            input_layout=peer.layout,
            trained=False,
        )
        entry.job = Job(path, artefact, peer.runtime)
    except FcaEdgeError as error:
        row.fail(stage, error)
    return entry


def convert(peer: Peer, variant: str, folder: Path, reuse: bool) -> Path:
    """Write a peer's file, and beside it what the export cost, its source's cost included."""
    path = folder / f"{peer.name}{peer.runtime.suffix}"
    if reuse and path.is_file() and read_cost(path) is not None:
        return path
    words, before = [], 0.0
    if peer.source is not None:
        source = BY_NAME[peer.source]
        ensure(source.converter)
        # Peers come after their sources: this run or an earlier one has converted it already.
        start = convert(source, variant, folder, True)
        words, before = [str(start)], read_cost(start) or 0.0
    say(f"{peer.name}: converting")
    path.unlink(missing_ok=True)
    script = [str(peer.converter.python), str(HERE / CONVERT), peer.name, variant, str(path)]
    seconds = before + run_script([*script, *words])
    if not path.is_file():
        raise PeerError(f"{CONVERT} wrote no file and no error")
    write_json(cost_file(path), seconds)
    return path


def cost_file(path: Path) -> Path:
    """Return the file with the processor time of an export, in seconds."""
    return path.with_name(f"{path.name}.seconds")


def read_cost(path: Path) -> float | None:
    """Return the processor time of an export, None if it is not known."""
    return read_json(cost_file(path)) if cost_file(path).is_file() else None


def measure_export(peer: Peer) -> Packages:
    """Measure what an export needs, from the network on."""
    before = measure_export(BY_NAME[peer.source]) if peer.source else {}
    return before | measure_packages(peer.tools, peer.converter)


def our_files(variant: str, folder: Path, reuse: bool) -> list[Entry]:
    """Export our fp32 files, each by itself, so that its cost is its own."""
    entries = []
    for kind in ("onnx", "tflite"):
        out = folder / "ours" / kind
        paths = list(out.glob(f"*-fp32.{kind}"))
        if not (reuse and paths and read_cost(paths[0])):
            say(f"exporting our {kind}")
            words = ["export", "--variant", variant, "--format", kind, "--out", str(out), "--force"]
            seconds = run_script([sys.executable, "-m", "fca_edge", *words])
            paths = list(out.glob(f"*-fp32.{kind}"))
            write_json(cost_file(paths[0]), seconds)
        entries.append(our_entry(paths[0]))
    return entries


def our_entry(path: Path) -> Entry:
    """Take one of our files, with what its export cost if that is known."""
    job = job_for(path)
    row = Row(path.name, f"ours: {path.name}", ours=True, precision=job.artefact.precision)
    row.file_bytes = job.artefact.file_bytes
    row.run_needs = measure_packages([job.runtime.package])
    row.export_needs = measure_packages(["fca-edge[export]"])
    row.export_cpu_seconds = read_cost(path)
    return Entry(row, job)


def lean_twin(entry: Entry) -> Entry | None:
    """Return one of our rows once more, loaded as `fca-edge lean` does; None if it cannot be."""
    # Halves are expanded, and gain nothing.
    if entry.job is None or not entry.job.runtime.lean or entry.row.precision == "fp16":
        return None
    path, (_, warm) = entry.job.path, lean_jobs(entry.job)
    name = f"{path.stem}-lean{path.suffix}"
    row = replace(entry.row, name=name, title=f"ours: {name}", export_cpu_seconds=None)
    return replace(entry, row=row, job=replace(warm, artefact=replace(warm.artefact, file=name)))


def judge(entry: Entry, target: Target, right: Reference, threads: int, folder: Path) -> None:
    """Compare a file's logits with those of float64; what is wrong is in its row."""
    if entry.job is None:
        return
    job, row = entry.job, entry.row
    try:
        inputs = in_layout(right.inputs, job.artefact.input_layout)
        arrays, _ = run_artefact(
            job.path, job.runtime, inputs, target, threads, settings=job.settings
        )
        row.snr_db = check_logits(right.logits, arrays["logits"], row.precision)
        check_same(arrays["logits"], arrays["again"])
        # A runtime that writes over its input is right once, and then fast at something else.
        run_again("latency", entry, target, right, threads, folder)
    except FcaEdgeError as error:
        row.fail("run" if isinstance(error, AgentError) else "output", error)


def run_again(
    task: Literal["latency", "cost"],
    entry: Entry,
    target: Target,
    right: Reference,
    threads: int,
    folder: Path,
) -> tuple[dict[str, Event], float]:
    """Run the first input again, just as it is timed or counted; returns events and SNR."""
    assert entry.job is not None
    job, info = entry.job, target.info()
    layout = job.artefact.input_layout
    image = folder / f"image-{layout}.npy"
    np.save(image, in_layout(right.inputs[:1], layout))
    places = {job.path: target.push(job.path), LEAN: target.push(LEAN)}
    wanted = Plan(threads, batch=1, warmups=1 if info.emulated else 2, iterations=1, processes=1)
    plan = replace(build_plan(task, job, places, wanted, info), inputs=str(image.resolve()))
    events = target.run(plan, EMULATED_TIMEOUT_SECONDS if info.emulated else TIMEOUT_SECONDS)
    if "logits" not in events:
        raise PeerError("no logits came back")
    logits = np.asarray(events["logits"]["values"])
    return events, check_logits(right.logits[:1], logits, entry.row.precision)


def check_logits(right: NDArray[Any], logits: NDArray[Any], precision: str) -> float:
    """Return the least SNR over the inputs; refuse logits that rounding cannot explain."""
    ratio, floor = worst_db(right, logits), FLOOR_DB.get(precision, FLOOR_DB["int8"])
    if ratio < floor:
        raise PeerError(f"wrong: {ratio:.1f} dB against float64, {floor:.0f} are the least")
    return ratio


def check_same(logits: NDArray[Any], again: NDArray[Any]) -> None:
    """Refuse logits that depend on what ran before."""
    ratio = worst_db(logits, again)
    if ratio < SAME_DB:
        raise PeerError(
            f"the same images give other logits after others ({ratio:.1f} dB): memory of one"
            " inference is used in another, by this agent or by the runtime"
        )


def worst_db(right: NDArray[Any], logits: NDArray[Any]) -> float:
    """Return the least SNR over the inputs, of logits of the same shape."""
    if logits.size != right.size:
        raise PeerError(f"logits of shape {logits.shape} instead of {right.shape}")
    if not np.isfinite(logits).all():
        raise PeerError("logits are not finite")
    return compare_logits(right, logits.reshape(right.shape))["worst_snr_db"]
