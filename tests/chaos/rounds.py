"""Rounds of ordinary work, each with one fault: nothing may be wrong without a word, all heals.

    python tests/chaos/rounds.py --rounds 200 --seed 1 --json chaos.json

A round does one job (export, first load, bench over SSH, set-up) in a world of its own, a small
file system where root may mount one. The fault is drawn: the job is killed, a byte of what it
keeps is flipped or a file cut, the disk is full or read-only, or the job runs twice at once.
What the job answers after the fault must be right, or it must say in one line what is wrong.
The next run, without a fault, must be right.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from jobs import JOBS, Job, Template  # noqa: E402

FAULTS = ("kill", "flip", "cut", "full disk", "twice", "read-only")
TIMEOUT_SECONDS = 300
ROOM_MIB = 900


@dataclass(frozen=True)
class Run:
    """How a run of a job ended.

    Attributes:
        code: exit code; below 0 the signal that ended it.
        words: the last line that it wrote to standard error.
        wrong: what is not right about its answer, None if all is, or if it refused in one line.
    """

    code: int
    words: str
    wrong: str | None


@dataclass(frozen=True)
class Round:
    """One round: what was injected, how that run and the next ended."""

    number: int
    job: str
    fault: str
    detail: str
    faulty: tuple[Run, ...]
    after: Run

    @property
    def failure(self) -> str | None:
        """Say what must not be."""
        for run in self.faulty:
            if run.wrong:
                return f"with the fault: {run.wrong}"
        if self.after.code or self.after.wrong:
            return f"not healed: {self.after.wrong or self.after.words}"
        return None


def can_mount() -> bool:
    """Tell whether file systems can be mounted here."""
    if os.geteuid():
        return False
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True)
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return done.returncode == 0


@contextmanager
def make_world(mounts: bool) -> Iterator[Path]:
    """Give an empty folder, a file system of its own where that can be."""
    folder = Path(tempfile.mkdtemp(prefix="fca-chaos-"))
    if mounts:
        mount(folder, f"size={ROOM_MIB}m")
    try:
        yield folder
    finally:
        if mounts:
            subprocess.run(["umount", "--lazy", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def mount(folder: Path, options: str, again: bool = False) -> None:
    """Mount a tmpfs, or change one that is mounted."""
    words = f"remount,{options}" if again else options
    subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", folder], check=True)


def start(job: Job, world: Path, command: list[str] | None = None) -> subprocess.Popen[str]:
    """Start a job in a session of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command or job.command(world),
        env={**os.environ, **job.environment(world)},
        stdout=subprocess.DEVNULL,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )


def finish(job: Job, world: Path, process: subprocess.Popen[str], killed: bool = False) -> Run:
    """Wait for a job and judge what it answered."""
    try:
        text = process.communicate(timeout=TIMEOUT_SECONDS)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return Run(-9, "", f"still running after {TIMEOUT_SECONDS} s")
    lines = [line for line in text.splitlines() if line.strip()]
    words = lines[-1] if lines else ""
    if "Traceback" in text:
        return Run(process.returncode, words, "a traceback")
    if killed and process.returncode == -signal.SIGKILL:
        return Run(process.returncode, words, None)
    if process.returncode < 0:
        return Run(process.returncode, words, f"ended by signal {-process.returncode}")
    if process.returncode:
        return Run(process.returncode, words, None if words else "no word of what is wrong")
    return Run(0, words, job.find_wrong(world))


def run_round(number: int, job: Job, fault: str, mounts: bool, chance: random.Random) -> Round:
    """Do a job with a fault and once more without."""
    with make_world(mounts) as world:
        job.prepare(world)
        detail, faulty = INJECT[fault](job, world, chance)
        after = finish(job, world, start(job, world))
        left = wait_for_children(world)
        if left:
            after = Run(after.code, after.words, f"a process lives on: {left}")
        job.close()
    return Round(number, job.name, fault, detail, tuple(faulty), after)


def wait_for_children(world: Path, seconds: float = 10) -> str:
    """Return the command line of a process that still works in a world, empty if none does."""
    until = time.monotonic() + seconds
    while True:
        done = subprocess.run(["pgrep", "-af", str(world)], capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if "pgrep" not in line]
        lines = [line for line in lines if int(line.split()[0]) != os.getpid()]
        if not lines or time.monotonic() > until:
            return lines[0][:120] if lines else ""
        time.sleep(0.2)


def kill(job: Job, world: Path, chance: random.Random) -> tuple[str, list[Run]]:
    """End the job's own process, and nothing else, somewhere on its way."""
    process = start(job, world)
    share = chance.random()
    time.sleep(share * job.seconds)
    process.kill()
    return f"after {share:.0%} of the usual time", [finish(job, world, process, killed=True)]


def flip(job: Job, world: Path, chance: random.Random) -> tuple[str, list[Run]]:
    """Change one byte of something that the job keeps."""
    file = choose_file(job, world, chance)
    content = bytearray(file.read_bytes())
    place = chance.randrange(len(content)) if content else 0
    if content:
        content[place] ^= 1 << chance.randrange(8)
    stamp = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    text = f"byte {place} of {file.relative_to(world)}"
    return text, [finish(job, world, start(job, world))]


def cut(job: Job, world: Path, chance: random.Random) -> tuple[str, list[Run]]:
    """Shorten something that the job keeps, as a power cut does."""
    file = choose_file(job, world, chance)
    size = file.stat().st_size
    length = chance.choice([0, size // 2, max(size - 1, 0)])
    os.truncate(file, length)
    text = f"{file.relative_to(world)} from {size} to {length} bytes"
    return text, [finish(job, world, start(job, world))]


def choose_file(job: Job, world: Path, chance: random.Random) -> Path:
    """Let the job do its work once, and choose one of the files that it keeps."""
    first = finish(job, world, start(job, world))
    assert not first.code and not first.wrong, f"{job.name} without a fault: {first}"
    return chance.choice(sorted(job.list_kept(world)))


def fill_disk(job: Job, world: Path, chance: random.Random) -> tuple[str, list[Run]]:
    """Leave the job little room."""
    share = chance.random()
    used = shutil.disk_usage(world).used
    room = used + int(share * job.needs_bytes)
    mount(world, f"size={max(room, 1 << 16)}", again=True)
    runs = [finish(job, world, start(job, world))]
    mount(world, f"size={ROOM_MIB}m", again=True)
    return f"{share:.0%} of what is needed is free", runs


def freeze(job: Job, world: Path, chance: random.Random) -> tuple[str, list[Run]]:
    """Make everything read-only, before the first run or after one."""
    late = chance.random() < 0.5
    if late:
        finish(job, world, start(job, world))
    mount(world, "ro", again=True)
    runs = [finish(job, world, start(job, world))]
    mount(world, "rw", again=True)
    return "after a first run" if late else "from the start", runs


def run_twice(job: Job, world: Path, chance: random.Random) -> tuple[str, list[Run]]:
    """Do the job in two processes at once."""
    delay = chance.random() * job.seconds / 2
    # Both first: a job that makes its command removes the answer of the run before.
    commands = [job.command(world), job.command(world)]
    first = start(job, world, commands[0])
    time.sleep(delay)
    second = start(job, world, commands[1])
    return f"{delay:.1f} s apart", [finish(job, world, one) for one in (first, second)]


INJECT = {
    "kill": kill,
    "flip": flip,
    "cut": cut,
    "full disk": fill_disk,
    "twice": run_twice,
    "read-only": freeze,
}


def run_rounds(count: int, seed: int, names: tuple[str, ...] = tuple(JOBS)) -> list[Round]:
    """Run so many rounds, jobs and faults in turn, so that few rounds have each of them."""
    chance, mounts = random.Random(seed), can_mount()
    faults = [f for f in FAULTS if mounts or f not in ("full disk", "read-only")]
    pairs = [(name, fault) for fault in faults for name in names]
    rounds = []
    with tempfile.TemporaryDirectory(prefix="fca-chaos-template-") as folder:
        template = Template(Path(folder))
        for number in range(count):
            if number % len(pairs) == 0:
                chance.shuffle(pairs)
            name, fault = pairs[number % len(pairs)]
            one = run_round(number, JOBS[name](template), fault, mounts, chance)
            print(describe(one), file=sys.stderr, flush=True)
            rounds.append(one)
    return rounds


def describe(one: Round) -> str:
    """Write a round in one line."""
    codes = ", ".join(str(run.code) for run in one.faulty)
    end = one.failure or "healed"
    return f"{one.number:4} {one.job:10} {one.fault:10} {one.detail}: {codes}; {end}"


def tabulate(rounds: list[Round]) -> str:
    """Write what was injected and how it ended as a Markdown table."""
    kinds = dict.fromkeys((one.job, one.fault) for one in rounds)
    lines = [
        "| job | fault | rounds | answered right | refused in one line | killed | not healed |"
    ]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for job, fault in sorted(kinds):
        mine = [one for one in rounds if (one.job, one.fault) == (job, fault)]
        codes = Counter(
            "right" if run.code == 0 else "killed" if run.code < 0 else "refused"
            for one in mine
            for run in one.faulty
        )
        failures = sum(bool(one.failure) for one in mine)
        cells = (len(mine), codes["right"], codes["refused"], codes["killed"], failures)
        lines.append(f"| {job} | {fault} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run rounds, print the table, and fail if one of them was wrong or did not heal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", action="append", choices=list(JOBS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rounds = run_rounds(options.rounds, options.seed, tuple(options.job or JOBS))
    print(tabulate(rounds))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in rounds], indent=1) + "\n")
    sys.exit(any(one.failure for one in rounds))


if __name__ == "__main__":
    main()
