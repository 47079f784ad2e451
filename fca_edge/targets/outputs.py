"""What an artefact makes of inputs: run once on any target, or block after block in a process here.

Everything that needs logits of a file gets them here.
"""

from __future__ import annotations

import json
import subprocess
import threading
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from fca_edge import children
from fca_edge.device import AGENT, LEAN
from fca_edge.parsing import DocumentError
from fca_edge.runtimes import Runtime, interpreter, local_program
from fca_edge.store import temporary
from fca_edge.targets.base import Target
from fca_edge.targets.call import AgentError, agent_environment, failure_reason
from fca_edge.targets.events import Event, read_event
from fca_edge.targets.local import LocalTarget
from fca_edge.targets.plan import AgentPlan

Array = NDArray[Any]

TIMEOUT_SECONDS = 900.0


def run_artefact(
    artefact: Path,
    runtime: Runtime,
    inputs: Array,
    target: Target | None = None,
    threads: int = 1,
    all_tensors: bool = False,
    together: bool = False,
    settings: dict[str, Any] | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> tuple[dict[str, Array], dict[str, Event]]:
    """Run inputs through a file in a fresh process; returns its outputs and the agent's events.

    Args:
        inputs: (n, ...) in the artefact's layout.
        target: where; None is this machine.
        all_tensors: return every tensor of the last inference by name, and not the `logits`
            (n, classes) of all inputs.
        together: feed the inputs as one batch, and not one after the other.
        settings: of `lean.py`, to load with it.

    Raises:
        AgentError: the process failed.
        TargetUnavailableError: the runtime is not set up there.
    """
    place = target or LocalTarget()
    with temporary() as folder:
        inputs_file, outputs_file = folder / "inputs.npy", folder / "outputs.npz"
        np.save(inputs_file, np.ascontiguousarray(inputs, np.float32))
        remote = place.push(inputs_file)
        plan = AgentPlan(
            runtime=runtime,
            artefact=place.push(artefact),
            mode="outputs",
            threads=threads,
            inputs=remote,
            outputs=f"{remote}.npz",
            all_tensors=all_tensors,
            together=together,
            lean=None if settings is None else place.push(LEAN),
            settings=settings,
        )
        events = place.run(plan, timeout_seconds)
        place.pull(f"{remote}.npz", outputs_file)
        arrays = read_arrays(outputs_file, plan.label)
        if not all_tensors:
            check_logits(arrays, len(inputs), plan.label)
        # The agent writes "|" for what would be a folder in the file.
        return {name.replace("|", "/"): array for name, array in arrays.items()}, events


def run_named(
    artefact: Path,
    runtime: Runtime,
    sets: list[dict[str, Array]],
    threads: int = 1,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> tuple[list[dict[str, Array]], dict[str, Event]]:
    """Run sets of inputs by name through a file in a fresh process here.

    Returns:
        All outputs of each set by their names, and the agent's events.

    Raises:
        AgentError: the process failed.
        TargetUnavailableError: the runtime is not set up.
    """
    place = LocalTarget()
    with temporary() as folder:
        inputs_file, outputs_file = folder / "inputs.npz", folder / "outputs.npz"
        save_sets(inputs_file, sets)
        plan = AgentPlan(
            runtime=runtime,
            artefact=place.push(artefact),
            mode="outputs",
            threads=threads,
            inputs=str(inputs_file),
            outputs=str(outputs_file),
            named=True,
        )
        events = place.run(plan, timeout_seconds)
        return read_sets(outputs_file, len(sets), plan.label), events


def save_sets(file: Path, sets: list[dict[str, Array]]) -> None:
    """Store sets of arrays for an agent."""
    arrays = {f"{n}|{name}": array for n, one in enumerate(sets) for name, array in one.items()}
    with file.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def read_sets(file: Path, count: int, label: str) -> list[dict[str, Array]]:
    """Read the sets that an agent stored.

    Raises:
        AgentError: there are not as many as were given to it.
    """
    results: list[dict[str, Array]] = [{} for _ in range(count)]
    for key, array in read_arrays(file, label).items():
        number, _, name = key.partition("|")
        if not number.isdigit() or int(number) >= count:
            raise AgentError(f"{label}: its outputs are damaged; run it again.")
        results[int(number)][name.replace("|", "/")] = array
    return results


def read_arrays(file: Path, label: str) -> dict[str, Array]:
    """Read what an agent stored; it may have been cut, or come from any machine.

    Raises:
        AgentError: it is no file of arrays.
    """
    try:
        # NumPy leaves a file open that is no archive, unless another opened it.
        with file.open("rb") as stream, np.load(stream) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        AttributeError,
        TypeError,
        MemoryError,
        BadZipFile,
    ):
        raise AgentError(f"{label}: its outputs are damaged; run it again.") from None


def check_logits(arrays: dict[str, Array], inputs: int, label: str) -> None:
    """Refuse what is not one row of numbers for each input.

    Raises:
        AgentError: says what came instead.
    """
    logits = arrays.get("logits", np.empty(0))
    if logits.ndim < 2 or len(logits) != inputs or not np.issubdtype(logits.dtype, np.number):
        raise AgentError(
            f"{label}: its outputs are {logits.dtype} {logits.shape}, not {inputs} rows of logits."
        )


ClosingType = TypeVar("ClosingType", bound="Closing")


class Closing(ABC):
    """What holds a process: a context manager that closes it at the end."""

    @abstractmethod
    def close(self) -> None:
        """End the process."""

    def __enter__(self: ClosingType) -> ClosingType:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Stream(Closing):
    """An artefact that is loaded in a process of its own; a context manager.

    Attributes:
        ready, loaded: what the agent said of its runtime and of the file.
    """

    def __init__(
        self,
        artefact: Path,
        runtime: Runtime,
        threads: int = 1,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """Start the process and load the file.

        Args:
            settings: of `lean.py`, to load with it.

        Raises:
            AgentError: it cannot be loaded.
            TargetUnavailableError: the runtime is not set up.
        """
        plan = AgentPlan(
            runtime,
            str(artefact.resolve()),
            "stream",
            threads,
            lean=None if settings is None else str(LEAN),
            settings=settings,
            native=local_program(runtime),
        )
        self.label = plan.label
        with ExitStack() as stack:
            self.folder = stack.enter_context(temporary())
            self.inputs, self.outputs = self.folder / "inputs.npy", self.folder / "outputs.npz"
            self.errors = self.folder / "stderr"
            with self.errors.open("wb") as errors:
                self.process = children.start(
                    [str(interpreter(runtime)), "-E", str(AGENT)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=agent_environment(),
                )
            stack.callback(children.end, self.process)
            self.send(plan.to_document())
            self.ready, self.loaded = self.wait_for("ready"), self.wait_for("loaded")
            self.stack = stack.pop_all()

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Run inputs (n, ...) in the artefact's layout, one by one; returns (n, classes).

        Raises:
            AgentError: the process crashed, was killed or took too long.
        """
        np.save(self.inputs, np.ascontiguousarray(inputs, np.float32))
        self.send({"inputs": str(self.inputs), "outputs": str(self.outputs)})
        self.wait_for("answer")
        arrays = read_arrays(self.outputs, self.label)
        check_logits(arrays, len(inputs), self.label)
        return arrays["logits"]

    def run_named(self, sets: list[dict[str, Array]]) -> list[dict[str, Array]]:
        """Run sets of inputs by name; returns all outputs of each by their names.

        Raises:
            AgentError: the process crashed, was killed or took too long.
        """
        save_sets(self.inputs, sets)
        self.send({"inputs": str(self.inputs), "outputs": str(self.outputs), "named": True})
        self.wait_for("answer")
        return read_sets(self.outputs, len(sets), self.label)

    def send(self, fields: dict[str, Any]) -> None:
        """Write one line to the agent."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(fields) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.failure() from None

    def wait_for(self, name: str) -> Event:
        """Read events up to the one named."""
        assert self.process.stdout is not None
        # A process that hangs is killed, which ends the reading.
        timer = threading.Timer(TIMEOUT_SECONDS, self.process.kill)
        timer.start()
        try:
            for line in self.process.stdout:
                event = read_event(line)
                if event is not None and event["event"] == name:
                    return event
        except DocumentError as error:
            raise AgentError(f"{self.label}: its answer cannot be read: {error}.") from None
        finally:
            timer.cancel()
        raise self.failure()

    def failure(self) -> AgentError:
        """Say how the process ended."""
        code = self.process.wait()
        text = self.errors.read_text(errors="replace")
        return AgentError(f"{self.label}: {failure_reason(code, text)}", refused=code == 1)

    def close(self) -> None:
        """End the process and forget its files."""
        self.stack.close()
