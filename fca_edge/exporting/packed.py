"""What stands beside an artefact for loading it in little memory: settings, packed weights."""

from __future__ import annotations

from pathlib import Path

from fca_edge.errors import NotEquivalentError
from fca_edge.exporting.outputs import Output
from fca_edge.exporting.prepare import Prepared
from fca_edge.lean_settings import read_settings, settings_for, settings_path, to_document
from fca_edge.parity import in_layout, measure, shortfall
from fca_edge.runtimes import RUNTIMES
from fca_edge.store import write_json
from fca_edge.targets.call import AgentError


def write_settings(path: Path, output: Output, arena_bytes: int) -> None:
    """Write the settings of a file whose own runtime `lean.py` can load with."""
    runtime = output.profile.runtimes[0]
    if RUNTIMES[runtime].lean:
        write_json(settings_path(path), to_document(settings_for(arena_bytes), runtime))


def keep_packed(path: Path, output: Output, prepared: Prepared) -> None:
    """Let `lean.py` make what it keeps, and prove the logits that come of it afterwards.

    Raises:
        AgentError: they could not be packed, or not be loaded again.
        NotEquivalentError: below the profile's floor, packed or when loaded again.
    """
    runtime = output.profile.runtimes[0]
    if not RUNTIMES[runtime].lean:
        return
    inputs, settings = in_layout(prepared.images, output.layout), read_settings(path)
    for cold in (True, False):
        run_settings = {**settings, "cold": cold}
        parity, events = measure(path, runtime, inputs, prepared.reference, settings=run_settings)
        if "plain" in events["loaded"]:
            raise AgentError(f"{output.file}: no packed weights: {events['loaded']['plain']}.")
        short = shortfall(parity, output.profile.snr_floor_db)
        if short:
            raise NotEquivalentError(f"{output.file} is refused with packed weights: {short}.")
