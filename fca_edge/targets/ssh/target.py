"""A board over SSH as a target: the five verbs, and setting it up."""

from __future__ import annotations

import json
import shlex
import uuid
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from fca_edge.device import AGENT, GUARD
from fca_edge.errors import TargetUnavailableError
from fca_edge.parsing import DocumentError
from fca_edge.records import TargetInfo
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.call import AgentError, check_events, failure_reason
from fca_edge.targets.events import Event, read_ended
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.ssh.address import KIND, Address
from fca_edge.targets.ssh.board import Board, describe_board, probe_board
from fca_edge.targets.ssh.connection import Connection, Done
from fca_edge.targets.ssh.environment import Environments
from fca_edge.targets.ssh.files import Files, Report, explain_no_room, last_line

# What the guard may take besides the agent: a lock that is held, an interpreter's start.
SLACK_SECONDS = 60.0
CLOSING_PATIENCE_SECONDS = 2.0
MIB = 1 << 20


class SshTarget:
    """Runs the agent on a board, under a guard that ends it when the connection goes."""

    counts_instructions = False

    def __init__(
        self,
        address: Address,
        config: Path | None = None,
        report: Report = lambda text: None,
        name: str = "board",
    ) -> None:
        """Name a board; the first use connects.

        Args:
            name: what records call it, which hold no address.
        """
        self.address, self.name = address, name
        self.connection = Connection(address, config, report)
        self.report = report
        self.owner = uuid.uuid4().hex
        self._names: dict[str, str] = {}
        self._outputs: dict[str, str] = {}

    @cached_property
    def board(self) -> Board:
        """What is there; the first use connects."""
        return probe_board(self.connection)

    @cached_property
    def files(self) -> Files:
        """Its cache of files."""
        return Files(self.connection, f"{self.board.folder}/files")

    @cached_property
    def environments(self) -> Environments:
        """Its runtimes."""
        return Environments(self.connection, self.board, self.files)

    @cached_property
    def runtimes(self) -> tuple[str, ...]:
        """Names of the runtimes that it can run."""
        return self.board.runtimes

    def describe(self) -> list[tuple[str, str]]:
        """List what it has, for reading."""
        return describe_board(self.board)

    def ready(self) -> dict[str, str | None]:
        """Version of each runtime that runs there, None of one that is not set up or damaged."""
        versions: dict[str, str | None] = {}
        for name in self.runtimes:
            runtime = RUNTIMES[name]
            stamp = self.environments.read_stamp(runtime)
            fails = stamp and self.environments.try_import(runtime, stamp.wheels)
            versions[name] = stamp.version if stamp and not fails else None
        return versions

    def setup(self, report: Report) -> None:
        """Set every runtime up that it can run.

        Raises:
            TargetUnavailableError: one cannot be; says what is missing.
        """
        if not self.runtimes:
            board = self.board
            raise TargetUnavailableError(
                f"{self.address}: no runtime has a wheel for {board.machine}"
                f" with Python {board.python}."
            )
        for name in self.runtimes:
            self.environments.provide(RUNTIMES[name], report)

    def push(self, path: Path) -> str:
        """Bring a file to the board by its sha256, going on where an earlier push broke off."""
        place = self.files.push(path, self.report)
        self._names[place] = path.name
        return place

    def pull(self, remote: str, path: Path) -> None:
        """Fetch a file; `outputs` of a plan are found under the name that the plan gave."""
        self.files.pull(self._outputs.get(remote, remote), path)

    def info(self) -> TargetInfo:
        """Describe the board."""
        board = self.board
        return TargetInfo(
            name=f"{KIND}:{self.name}",
            machine=board.machine,
            cpu_model=board.cpu_model,
            cores=len(board.cores),
            memory_bytes=board.memory_bytes,
            kernel=board.kernel,
            governor=board.governor,
            emulated=board.emulator is not None,
            emulator=board.emulator,
        )

    def run(self, plan: AgentPlan, timeout_seconds: float) -> dict[str, Event]:
        """Run the agent in a fresh process; begun again, in another one, after a cut.

        Raises:
            AgentError: its process failed, was ended or took too long; says which.
            TargetUnavailableError: no connection, no room, or another measurement there.
        """
        order = {
            "owner": self.owner,
            "command": [self.board.executable, "-s", self.files.push(AGENT)],
            "timeout_seconds": timeout_seconds,
            "governor": plan.governor,
            "sysfs": plan.sysfs,
            "outputs": self._outputs_folder if plan.outputs else None,
        }
        placed = self._place_outputs(plan)
        guard = shlex.quote(self.files.push(GUARD))
        python = shlex.quote(self.board.executable)
        script = f"exec {python} -I {guard} {shlex.quote(self.board.folder)}"

        def once() -> Done:
            # After a cut what is there may be another than it was.
            self.files.verify_again(self.report)
            pictures = plan.mode == "frames"
            environment = self.environments.variables(plan.runtime, self.report, pictures)
            native = self.environments.program(plan.runtime, self.report)
            document = replace(placed, native=native).to_document()
            own = {"plan": document, "environment": environment, "run": uuid.uuid4().hex}
            line = json.dumps({**order, **own})
            limit = timeout_seconds + SLACK_SECONDS
            return self.connection.once(script, limit, f"{line}\n".encode(), hold=True)

        # On the board a file is called by its sha256.
        board_plan = replace(plan, artefact=self._names.get(plan.artefact, plan.artefact))
        return self._check_events(self.connection.persist(once), board_plan, timeout_seconds)

    def close(self) -> None:
        """Remove outputs that were fetched, and close the connection."""
        fetched = bool(self._outputs)
        self._outputs.clear()
        self.connection.later_patience_seconds = CLOSING_PATIENCE_SECONDS
        try:
            if fetched:
                own = shlex.quote(self._outputs_folder)
                self.connection.run(f"rm -rf {own}; rmdir $(dirname {own}) 2>/dev/null; true", 30)
        except TargetUnavailableError:
            pass  # The guard removes what is old.
        finally:
            self.connection.close()

    def _place_outputs(self, plan: AgentPlan) -> AgentPlan:
        """Give a plan's outputs a place on the board, in a folder that the guard makes."""
        if plan.outputs is None:
            return plan
        place = f"{self._outputs_folder}/{uuid.uuid4().hex}.npz"
        self._outputs[plan.outputs] = place
        return replace(plan, outputs=place)

    @property
    def _outputs_folder(self) -> str:
        return f"{self.board.folder}/outputs/{self.owner}"

    def _check_events(
        self, result: Done, plan: AgentPlan, timeout_seconds: float
    ) -> dict[str, Event]:
        """Return the agent's events, or say why there are none."""
        try:
            ended = read_ended(result.out)
        except DocumentError as error:
            raise TargetUnavailableError(
                f"{self.address}: what its guard says cannot be read ({error})."
            ) from None
        if ended is None:
            text = f"{self.address}: the guard of the run failed: {last_line(result)}."
            raise TargetUnavailableError(text)
        if ended.why == "busy":
            raise TargetUnavailableError(
                f"{self.address}: another measurement is running there"
                f" (process {(ended.holder or {}).get('pid', '?')}); wait for it, or end it."
            )
        if ended.why == "trouble":
            text = (ended.text or "no reason given").rstrip(".")
            if "No space" in text:
                raise explain_no_room(self.connection, self.board.folder, 1, 0)
            raise TargetUnavailableError(
                f"{self.address}: {text}; remove that on the board, or let this user write there."
            )
        if ended.why == "late":
            raise AgentError(f"{plan.label}: no answer in {timeout_seconds:.0f} s.")
        if ended.why == "stopped" or ended.returncode is None:
            raise AgentError(
                f"{plan.label}: the run was ended on the board by a signal to its guard."
            )
        reason = partial(self._explain_failure, out_of_memory=ended.out_of_memory)
        return check_events(plan, ended.returncode, result.out, result.err, reason)

    def _explain_failure(self, code: int, stderr: str, *, out_of_memory: bool | None) -> str:
        """Say how the agent's process failed; the kernel's own count shows a lack of memory."""
        if code == -9 and out_of_memory:
            return (
                "the process was ended by the board's kernel: out of memory"
                f" ({self.board.available_bytes // MIB} of {self.board.memory_bytes // MIB} MiB"
                " were available at the start)."
            )
        text = failure_reason(code, stderr)
        return text if out_of_memory is None else text.replace(" (out of memory?)", "")
