"""Rows of the comparison: a file, what it cost to make, and whether its logits are right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from environment import PeerError, Report, clean_variables, ensure, installed
from numpy.typing import NDArray
from registry import BY_NAME, Peer

from fca_edge.device import LEAN
from fca_edge.errors import FcaEdgeError
from fca_edge.measure.jobs import Job, job_for, lean_jobs
from fca_edge.measure.session import TIMEOUT_SECONDS, build_plan
from fca_edge.parity import in_layout
from fca_edge.parsing import read_json
from fca_edge.records import Artefact, Plan
from fca_edge.runtimes import Runtime
from fca_edge.stats import snr_db
from fca_edge.store import compute_sha256, write_json
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError, failure_reason
from fca_edge.targets.outputs import run_artefact

HERE = Path(__file__).parent
CONVERT = "convert.py"
ROOT = HERE.parents[1]
# The same file and input again; threads may add in another order.
SAME_DB = 100.0
# Below it a file is wrong: rounding alone leaves more.
FLOOR_DB = {"fp32": 60.0, "fp16": 40.0, "int8": 20.0}
MOST_REASON = 200

Packages = dict[str, dict[str, Any]]


@dataclass
class Row:
    """One line of the table, as it is kept in JSON; None where a figure could not be had.

    Attributes:
        error: the stage that failed and its reason, in one line.
        export_cpu_seconds: processor time of the whole export, its source included; wall time
            on a shared machine says less.
        export_needs: packages for the export: version and bytes.
        run_needs: packages for an inference, the same way.
        snr_db: worst over the inputs, against float64.
        file: as its record calls it; None where there is none.
        processor: what the timed processes spent besides: all_cpu_ns, wall_ns, threads.
        arm: what an emulated machine counted.
    """

    name: str
    title: str
    ours: bool
    precision: str = "fp32"
    error: str | None = None
    export_cpu_seconds: float | None = None
    export_wall_seconds: float | None = None
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
    peer: Peer | None = None
    job: Job | None = None
    layout: str = "nchw"


@dataclass(frozen=True)
class Reference:
    """Inputs (checks, 3, side, side) and their logits in float64 (checks, classes)."""

    inputs: NDArray[Any]
    logits: NDArray[Any]


def reference(variant: str, folder: Path) -> Reference:
    """Let the unmodified network compute its logits in float64."""
    place = folder / "reference.npz"
    run_script([sys.executable, str(HERE / "reference.py"), variant, str(place)])
    with np.load(place) as content:
        return Reference(content["inputs"], content["logits"])


def run_script(command: list[str]) -> tuple[float, float]:
    """Run a script with our package in reach; returns its seconds of processor and wall time.

    Raises:
        PeerError: it failed; with the last line that it wrote.
    """
    # Threads that wait for each other by spinning would be counted as work of the export.
    variables = {**clean_variables(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as log:
        start = time.monotonic()
        child = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        log.seek(0)
        if child.returncode:
            raise PeerError(failure_reason(child.returncode, log.read()))
    return usage.ru_utime + usage.ru_stime, wall


def peer_entry(peer: Peer, variant: str, folder: Path, reuse: bool, report: Report) -> Entry:
    """Install a peer and let it convert; what fails is in its row."""
    row = Row(peer.name, peer.title, ours=False, precision=peer.precision)
    entry = Entry(row, peer, layout=peer.layout)
    stage = "install"
    try:
        for environment in filter(None, (peer.converter, peer.runner)):
            ensure(environment, report)
        stage = "convert"
        path = convert(peer, variant, folder, reuse, report)
        cost = read_json(cost_file(path))
        entry.row.export_cpu_seconds, entry.row.export_wall_seconds = cost["cpu"], cost["wall"]
        stage = "packages"
        entry.row.export_needs = export_needs(peer)
        python = peer.runner.python if peer.runner else Path(sys.executable)
        entry.row.run_needs = installed(python, peer.needs)
        runtime = Runtime(peer.runtime, peer.suffix, peer.module)
        entry.job = Job(path, artefact_of(path, variant, peer), runtime)
        entry.row.file_bytes = entry.job.artefact.file_bytes
    except PeerError as error:
        entry.row.fail(stage, error)
    return entry


def convert(peer: Peer, variant: str, folder: Path, reuse: bool, report: Report) -> Path:
    """Write a peer's file, and beside it what the export cost, its source's cost included.

    Raises:
        PeerError: the conversion failed.
    """
    path = folder / f"{peer.name}{peer.suffix}"
    if reuse and path.is_file() and cost_file(path).is_file():
        return path
    words, before = [], {"cpu": 0.0, "wall": 0.0}
    if peer.source is not None:
        source = BY_NAME[peer.source]
        ensure(source.converter, report)
        made = folder / f"{source.name}{source.suffix}"
        if not cost_file(made).is_file():
            convert(source, variant, folder, reuse, report)
        words, before = [str(made)], read_json(cost_file(made))
    report(f"{peer.name}: converting")
    path.unlink(missing_ok=True)
    script = [str(peer.converter.python), str(HERE / CONVERT), peer.name, variant, str(path)]
    cpu, wall = run_script([*script, *words])
    if not path.is_file():
        raise PeerError(f"{CONVERT} wrote no file and no error")
    write_json(cost_file(path), {"cpu": cpu + before["cpu"], "wall": wall + before["wall"]})
    return path


def cost_file(path: Path) -> Path:
    """Where the cost of an export is kept."""
    return path.with_name(f"{path.name}.cost.json")


def export_needs(peer: Peer) -> Packages:
    """Measure what an export needs, from the network on."""
    found = installed(peer.converter.python, peer.tools)
    return {**export_needs(BY_NAME[peer.source]), **found} if peer.source else found


def artefact_of(path: Path, variant: str, peer: Peer) -> Artefact:
    """Describe a peer's file; its size is that of all parts."""
    parts = [p for p in path.parent.glob(f"{path.stem}.*") if p.suffix in (path.suffix, ".bin")]
    return Artefact(
        file=path.name,
        sha256=compute_sha256(path),
        file_bytes=sum(part.stat().st_size for part in parts),
        variant=variant,
        precision=peer.precision,
        profile="peer",
        img_size=None,
        num_classes=None,
        input_layout=peer.layout,
        trained=False,
        folded=False,
    )


def our_files(variant: str, folder: Path, reuse: bool, report: Report) -> list[Entry]:
    """Export our fp32 files, each by itself, so that its cost is its own."""
    entries = []
    for kind in ("onnx", "tflite"):
        out = folder / "ours" / kind
        found = list(out.glob(f"*-fp32.{kind}"))
        if not (reuse and found and cost_file(found[0]).is_file()):
            report(f"exporting our {kind}")
            words = ["export", "--variant", variant, "--format", kind, "--out", str(out), "--force"]
            cpu, wall = run_script([sys.executable, "-m", "fca_edge", *words])
            found = list(out.glob(f"*-fp32.{kind}"))
            write_json(cost_file(found[0]), {"cpu": cpu, "wall": wall})
        entries.append(our_entry(found[0]))
    return entries


def our_entry(path: Path) -> Entry:
    """Take one of our files, with what its export cost where that is known.

    Raises:
        FcaEdgeError: no such file, or not an artefact.
    """
    job = job_for(path)
    layout, precision = job.artefact.input_layout, job.artefact.precision
    row = Row(path.name, f"ours: {path.name}", ours=True, precision=precision)
    row.file_bytes = job.artefact.file_bytes
    python = Path(sys.executable)
    row.run_needs = installed(python, (job.runtime.package,))
    row.export_needs = installed(python, ("fca-edge[export]",))
    if cost_file(path).is_file():
        cost = read_json(cost_file(path))
        row.export_cpu_seconds, row.export_wall_seconds = cost["cpu"], cost["wall"]
    return Entry(row, job=job, layout=layout)


def lean_twin(entry: Entry, folder: Path) -> Entry | None:
    """Return one of our rows once more, loaded as `fca-edge lean` does; None where it cannot be.

    It is a copy with a name of its own: rows and samples are known by their files' names. Halves
    are expanded, and gain nothing.
    """
    if entry.job is None or not entry.job.runtime.lean:
        return None
    if entry.row.precision == "fp16":
        return None
    path, place = entry.job.path, folder / "lean"
    place.mkdir(parents=True, exist_ok=True)
    copy = place / f"{path.stem}-lean{path.suffix}"
    for suffix in ("", ".json", ".runtime.json"):
        if Path(f"{path}{suffix}").is_file():
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    twin = our_entry(copy)
    assert twin.job is not None
    return replace(twin, job=lean_jobs(twin.job)[1])


def judge(entry: Entry, target: Target, right: Reference, threads: int, folder: Path) -> None:
    """Compare a file's logits with those of float64; what is wrong is in its row."""
    if entry.job is None:
        return
    job, inputs = entry.job, in_layout(right.inputs, entry.layout)
    try:
        arrays, _ = run_artefact(
            job.path, job.runtime, inputs, target, threads, settings=job.settings
        )
        entry.row.snr_db = worst_db(right.logits, arrays["logits"])
        check_floor(entry.row.snr_db, entry.row.precision)
        check_same(arrays["logits"], arrays["again"])
        check_floor(
            repeated(job, target, right, entry.layout, threads, folder), entry.row.precision
        )
    except FcaEdgeError as error:
        entry.row.fail("run" if isinstance(error, AgentError) else "output", error)


def repeated(
    job: Job, target: Target, right: Reference, layout: str, threads: int, folder: Path
) -> float:
    """Return the SNR of an inference after others, run just as they are timed.

    A runtime that writes over its input is right once, and then fast at something else.

    Raises:
        FcaEdgeError: the process failed, or its logits are of another shape or not finite.
    """
    image = folder / f"image-{layout}.npy"
    np.save(image, in_layout(right.inputs[:1], layout))
    places = {job.path: target.push(job.path), LEAN: target.push(LEAN)}
    wanted = Plan(threads=threads, batch=1, warmups=2, iterations=1, processes=1)
    plan = build_plan("latency", job, places, wanted, target.info())
    events = target.run(replace(plan, inputs=str(image.resolve())), TIMEOUT_SECONDS)
    if "logits" not in events:
        raise PeerError("no logits came back")
    return worst_db(right.logits[:1], np.asarray(events["logits"]["values"]).reshape(1, -1))


def worst_db(right: NDArray[Any], got: NDArray[Any]) -> float:
    """Return the least SNR over the inputs.

    Raises:
        PeerError: logits of another shape, or not finite.
    """
    if got.size != right.size:
        raise PeerError(f"logits of shape {got.shape} instead of {right.shape}")
    if not np.isfinite(got).all():
        raise PeerError("logits are not finite")
    return min(snr_db(r, g) for r, g in zip(right, got.reshape(right.shape)))


def check_same(logits: NDArray[Any], again: NDArray[Any]) -> None:
    """Refuse logits that depend on what ran before.

    Raises:
        PeerError: the second time they were others.
    """
    ratio = worst_db(logits, again)
    if ratio < SAME_DB:
        raise PeerError(
            f"the same images give other logits after others ({ratio:.1f} dB): memory of one"
            " inference is used in another, by this agent or by the runtime"
        )


def check_floor(found: float, precision: str) -> None:
    """Refuse logits that rounding cannot explain.

    Raises:
        PeerError: they are wrong.
    """
    floor = FLOOR_DB.get(precision, FLOOR_DB["int8"])
    if found < floor:
        raise PeerError(f"wrong: {found:.1f} dB against float64, {floor:.0f} are the least")
