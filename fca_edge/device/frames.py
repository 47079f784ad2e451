"""Times the parts of a frame in a bundle's own runner: the code that people deploy.

Stand-alone, as agent.py is, which runs it out of the .zip file of runner and pictures.
"""

import importlib
import os
import shutil
import sys
import tempfile
import time
import zipfile

PICTURES = "pictures"


class Clock:
    """Adds up how long each stage of one frame took, in nanoseconds."""

    def __init__(self):
        self.stages, self.last = {}, time.perf_counter_ns()

    def lap(self, stage):
        """A stage is done; it may come several times in a frame, as with windows."""
        now = time.perf_counter_ns()
        self.stages[stage] = self.stages.get(stage, 0) + now - self.last
        self.last = now


def run_frames(plan, state):
    """Unpack the runner and its pictures, and run it over them, one after the other and again.

    Args:
        state: returns what the board is like.

    Returns:
        Fields of the event "frames".
    """
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(plan["frames"]) as archive:
            archive.extractall(folder)
        os.symlink(os.path.abspath(plan["artefact"]), os.path.join(folder, plan["name"]))
        sys.path.insert(0, folder)
        return time_frames(folder, plan, state)


def time_frames(folder, plan, state):
    """Time frames of an unpacked runner."""
    import PIL

    run = importlib.import_module("run")  # the bundle's
    names = sorted(os.listdir(os.path.join(folder, PICTURES)))
    paths = [os.path.join(folder, PICTURES, name) for name in names]
    start = time.perf_counter_ns()
    setup, run_model = run.start([*plan.get("words", ()), *paths])
    load_ns = time.perf_counter_ns() - start
    before, frames, warmups = None, [], plan.get("warmups", 0)
    for number in range(warmups + plan["iterations"]):
        if number == warmups:
            before = state()  # the warm-ups have brought the cores up to their frequency
        stages = time_frame(run.task, paths[number % len(paths)], run_model, setup)
        if before is not None:
            frames.append(stages)
    return {
        "stages": {name: [max(1, frame.get(name, 0)) for frame in frames] for name in frames[0]},
        "load_ns": load_ns,
        "pillow": PIL.__version__,
        "before": before,
        "after": state(),
    }


def time_frame(task, path, run_model, setup):
    """Let the task answer one picture; returns the time of its stages."""
    if hasattr(setup.options, "out"):  # what it writes of the same picture again is no clash
        setup.options.out = os.path.join(os.path.dirname(path), "..", "out")
    clock = Clock()
    setup.lap = clock.lap
    task.answer(path, run_model, setup)
    if hasattr(setup.options, "out"):
        shutil.rmtree(setup.options.out)
        importlib.import_module("results").WRITTEN.clear()
    return clock.stages
