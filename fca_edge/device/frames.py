"""Times the parts of a frame in a bundle's own runner: the code that people deploy.

Stand-alone, as agent.py is, which unpacks it beside run.py and calls `run_frames`.
"""

import os
import shutil
import time

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


def run_frames(folder, words, plan, state):
    """Run the runner of a folder over its pictures, one after the other and again.

    Args:
        words: more options of its command line.
        state: returns what the board is like.

    Returns:
        Fields of the event "frames".
    """
    import PIL
    import run  # the bundle's

    names = sorted(os.listdir(os.path.join(folder, PICTURES)))
    paths = [os.path.join(folder, PICTURES, name) for name in names]
    start = time.perf_counter_ns()
    setup, run_model = run.start([*words, *paths])
    load_ns = time.perf_counter_ns() - start
    before, frames = None, []
    for number in range(plan.get("warmups", 0) + plan["iterations"]):
        if number == plan.get("warmups", 0):
            before = state()  # the warm-ups have brought the cores up to their frequency
        stages = time_frame(run.task, paths[number % len(paths)], run_model, setup)
        if before is not None:
            frames.append(stages)
    lists = {name: [max(1, frame.get(name, 0)) for frame in frames] for name in frames[0]}
    return {
        "stages": lists,
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
        __import__("results").WRITTEN.clear()
    return clock.stages
