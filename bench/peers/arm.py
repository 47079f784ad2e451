"""Instructions of one inference on an emulated machine, and whether its logits are right there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from entries import Entry, Reference, check_floor, worst_db
from environment import PeerError, Report
from places import set_up

from fca_edge.errors import FcaEdgeError
from fca_edge.measure.session import EMULATED_TIMEOUT_SECONDS, build_plan
from fca_edge.parity import in_layout
from fca_edge.records import Plan
from fca_edge.targets.qemu import QemuTarget

PLAN = Plan(threads=1, batch=1, warmups=1, iterations=1, processes=1)


def count_all(
    entries: list[Entry], target: QemuTarget, right: Reference, folder: Path, report: Report
) -> None:
    """Count every row that is right here; what fails there is noted beside its figures."""
    for entry in entries:
        # How a file is loaded is no part of an inference.
        if entry.job is None or entry.row.error is not None or entry.job.settings is not None:
            continue
        report(f"{entry.row.name}: counting on {target.name}")
        try:
            entry.row.arm = counted(entry, target, right, folder, report)
        except FcaEdgeError as error:
            entry.row.arm = {"error": " ".join(str(error).split())}
            report(f"{entry.row.name}: {entry.row.arm['error']}")
    target.close()


def counted(
    entry: Entry, target: QemuTarget, right: Reference, folder: Path, report: Report
) -> dict[str, Any]:
    """Count one row: one warm-up, one inference, both of the first input.

    Raises:
        FcaEdgeError: no such runtime there, or it failed, or its logits are wrong.
    """
    assert entry.job is not None
    if entry.peer is not None:
        set_up(entry.peer, target, report)
    image = folder / f"image-{entry.layout}.npy"
    np.save(image, in_layout(right.inputs[:1], entry.layout))
    job = entry.job
    plan = build_plan("cost", job, {job.path: target.push(job.path)}, PLAN, target.info())
    events = target.run(replace(plan, inputs=str(image.resolve())), EMULATED_TIMEOUT_SECONDS)
    if "logits" not in events:
        raise PeerError("no logits came back")
    logits = np.asarray(events["logits"]["values"]).reshape(1, -1)
    found = worst_db(right.logits[:1], logits)
    check_floor(found, entry.row.precision)
    cost = {key: events["cost"][key] for key in ("instructions", "classes", "hot")}
    return {"target": target.name, "cpu": target.cpu.name, "snr_db": found, **cost}
