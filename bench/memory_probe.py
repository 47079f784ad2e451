"""One process of `bench/memory.py`: memory by mapping before, after loading, after inferences.

python -E bench/memory_probe.py < plan.json; the plan is the agent's, and so is the code.
"""

import json
import runpy
import sys
import time
from pathlib import Path

AGENT = Path(__file__).parents[1] / "fca_edge" / "device" / "agent.py"


def main() -> None:
    agent = runpy.run_path(str(AGENT))
    plan = json.load(sys.stdin)
    table = runpy.run_path(plan["lean"])["RUNTIMES"] if plan.get("lean") else agent["RUNTIMES"]
    runtime = table[plan["runtime"]]()
    from numpy.random import default_rng

    generator = default_rng(0)
    moment = {"ready": state(agent)}
    start = time.perf_counter()
    runtime.load(plan)
    moment["loaded"] = {**state(agent), "seconds": time.perf_counter() - start}
    agent["run_samples"](runtime, plan, agent["Board"](plan), generator)
    moment["done"] = state(agent)
    print(json.dumps(moment))


def state(agent: dict) -> dict:
    """Return memory from /proc/self/status, and resident bytes by the name of what is mapped."""
    found = agent["StatusMeter"]().read()
    by_name: dict[str, int] = {}
    for _, _, _, name, facts in agent["mappings"]("/proc/self/smaps"):
        by_name[name] = by_name.get(name, 0) + int(facts.get("Rss", 0)) * 1024
    return {**found, "by_name": by_name}


if __name__ == "__main__":
    main()
