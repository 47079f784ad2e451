"""One agent that stays: a file is loaded once and answers one block of inputs after another."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fca_edge.device import AGENT
from fca_edge.runtimes import Runtime, interpreter
from fca_edge.targets.call import AgentError, Event, described, environment_of, reason

TIMEOUT_SECONDS = 900.0


class Stream:
    """An artefact that is loaded in a process of its own; a context manager.

    Attributes:
        ready, loaded: what the agent said of its runtime and of the file.
    """

    def __init__(self, artefact: Path, runtime: Runtime, threads: int = 1) -> None:
        """Start the process and load the file.

        Raises:
            AgentError: it cannot be loaded.
            TargetUnavailableError: the runtime is not set up.
        """
        self.folder = tempfile.TemporaryDirectory(prefix="fca-edge-")
        place = Path(self.folder.name)
        self.given, self.got, self.said = place / "in.npy", place / "out.npz", place / "stderr"
        plan = {
            "runtime": runtime.name,
            "artefact": str(artefact.resolve()),
            "threads": threads,
            "mode": "stream",
        }
        self.what = described(plan)
        with self.said.open("wb") as errors:
            self.process = subprocess.Popen(
                [str(interpreter(runtime)), "-E", str(AGENT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment_of(),
            )
        try:
            self.tell(plan)
            self.ready, self.loaded = self.wait_for("ready"), self.wait_for("loaded")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """Run inputs (n, ...) in the artefact's layout, one by one; returns (n, classes).

        Raises:
            AgentError: the process crashed, was killed or took too long.
        """
        np.save(self.given, np.ascontiguousarray(inputs, np.float32))
        self.tell({"inputs": str(self.given), "outputs": str(self.got)})
        self.wait_for("answer")
        with np.load(self.got) as arrays:
            return np.asarray(arrays["logits"])

    def tell(self, fields: dict[str, Any]) -> None:
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
                if line.startswith('{"event"') and line.endswith("}\n"):
                    event: Event = json.loads(line)
                    if event["event"] == name:
                        return event
        finally:
            timer.cancel()
        raise self.failure()

    def failure(self) -> AgentError:
        """Say how the process ended."""
        code = self.process.wait()
        text = self.said.read_text(errors="replace")
        return AgentError(f"{self.what}: {reason(code, text)}", refused=code == 1)

    def close(self) -> None:
        """End the process and forget its files."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self.folder.cleanup()
