"""What one process of the agent does: the line of JSON that `device/agent.py` reads."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from typing import Any, Literal

from fca_edge.runtimes import Runtime

Mode = Literal["latency", "memory", "cost", "profile", "outputs", "stream", "frames", "sustain"]


@dataclass(frozen=True)
class AgentPlan:
    """One artefact, one runtime, one mode; paths are those of the machine that runs it.

    In the modes `latency`, `memory`, `cost` and `profile` one input is run again and again:
    `warmups` times, then `iterations` times. Each of the latter is timed, or run untimed while
    memory is watched, or stands between two marks that a counting emulator sees, or is timed
    operator by operator, by the runtime's own profiler and between such marks. In the mode
    `outputs` each of several inputs is run once, in their order, and what comes out is stored; in
    the mode `stream` so again and again, for each further line of JSON with `inputs` and `outputs`.
    In the mode `frames` a bundle's runner answers pictures, one after the other and again, and each
    of its stages is timed. In the mode `sustain` one input is run for so many `seconds`, in windows
    that are told, and written to `outputs` as they end.

    Attributes:
        runtime: which loads the artefact; the agent receives its name.
        threads: of the runtime.
        batch: how many inputs are run together, where the artefact takes any number.
        seconds: how long the mode `sustain` goes on.
        seed: of the normally distributed input of the first three modes, where `inputs` is None.
        inputs: .npy file, (n, ...) in the artefact's layout; of it the first three modes run the
            first input alone.
        outputs: .npz file to write: `logits` (n, classes) of all inputs.
        all_tensors: write every tensor that can be seen instead, by its name, of the last
            inference: that of the last input, or of all of them with `together`.
        together: feed the inputs as one batch.
        named: `inputs` is an .npz file of sets of inputs, "number|name", as is then `outputs`.
        guest: measure the guest's memory alone, where a user-mode emulator runs the process.
        cpus: cores to stay on: "big", "little" or a list such as "0-3,5"; None leaves it be.
        governor: of the cores, which the target sets for the run and puts back.
        cool_down_seconds: pause before anything is loaded.
        start_below_celsius: then wait until the hottest sensor is below it.
        sysfs: where the machine's /sys is.
        lean: place of `lean.py`, by which the artefact is then loaded.
        settings: of `lean.py`.
        native: place of the program that the runtime is, where it is one.
        frames: .zip file of the runner and the pictures of the mode `frames`.
        name: what the runner calls the artefact.
        words: options of the runner.
    """

    runtime: Runtime
    artefact: str
    mode: Mode
    threads: int = 1
    warmups: int = 0
    iterations: int = 1
    batch: int = 1
    seconds: float | None = None
    seed: int = 0
    inputs: str | None = None
    outputs: str | None = None
    all_tensors: bool = False
    together: bool = False
    named: bool = False
    guest: bool = False
    cpus: str | None = None
    governor: str | None = None
    cool_down_seconds: float | None = None
    start_below_celsius: float | None = None
    sysfs: str | None = None
    lean: str | None = None
    settings: dict[str, Any] | None = None
    native: str | None = None
    frames: str | None = None
    name: str | None = None
    words: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """Name what is run, for messages."""
        return f"{self.runtime.name} on {PurePosixPath(self.artefact).name}"

    @property
    def events(self) -> tuple[str, ...]:
        """Name what the agent says in the end, if all went well."""
        if self.mode == "frames":
            return ("ready", "frames", "done")
        results = {"latency": "samples", "cost": "maps", "profile": "profile"}
        results["sustain"] = "sustained"
        more = (results[self.mode],) if self.mode in results else ()
        return ("ready", "loaded", *more, "done")

    def to_document(self) -> dict[str, Any]:
        """Return JSON-ready data without the fields that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["runtime"] = self.runtime.name
        return {name: value for name, value in values.items() if value is not None}
