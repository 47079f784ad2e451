"""What the agent does on a board: cores, temperatures, frequencies; /sys is a made-up tree."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fca_edge.measure.jobs import Handling
from fca_edge.measure.record import is_slowed_down, list_board_warnings, read_conditions
from fca_edge.measure.session import describe_treatment
from fca_edge.records import Conditions
from fca_edge.runtimes import RUNTIMES, interpreter
from fca_edge.targets.call import AgentError, call_agent
from fca_edge.targets.local import LocalTarget, governed
from fca_edge.targets.plan import AgentPlan

if TYPE_CHECKING:
    from fca_edge.manifest import Artefact

ONNX = RUNTIMES["onnxruntime"]
CORES = sorted(os.sched_getaffinity(0))


def put(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")
    return path


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A board whose last core is the big one, at 1800 MHz, two sensors, nothing held back."""
    root = tmp_path / "sys"
    for core in CORES:
        base = root / f"devices/system/cpu/cpu{core}"
        put(base / "cpu_capacity", 1024 if core == CORES[-1] else 446)
        put(base / "cpufreq/scaling_cur_freq", 1800000)
    put(root / "devices/system/cpu/cpufreq/policy0/scaling_governor", "ondemand")
    put(root / "class/thermal/thermal_zone0/temp", 41000)
    put(root / "class/thermal/thermal_zone1/temp", 52500)
    put(root / "class/thermal/cooling_device0/type", "thermal-cpufreq-0")
    put(root / "class/thermal/cooling_device0/cur_state", 0)
    put(root / "class/thermal/cooling_device1/type", "pwm-fan")
    put(root / "class/thermal/cooling_device1/cur_state", 3)
    return root


@pytest.fixture
def plan(exported: list[Artefact], sysfs: Path) -> AgentPlan:
    path = str(exported[0].path)
    return AgentPlan(ONNX, path, "latency", warmups=1, iterations=2, sysfs=str(sysfs))


def run(plan: AgentPlan, **changes: Any) -> dict[str, Any]:
    return call_agent(interpreter(ONNX), replace(plan, **changes))


STATE = {"frequency_khz": 1800000, "celsius": 52.5, "held_back": False}


@pytest.mark.skipif(len(CORES) < 2, reason="one core is neither big nor little")
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("big", CORES[-1:]),
        ("little", CORES[:-1]),
        (f"{CORES[0]}-{CORES[0]},{CORES[-1]}", sorted({CORES[0], CORES[-1]})),
    ],
)
def test_pinning(plan: AgentPlan, wanted: str, expected: list[int]) -> None:
    ready = run(plan, cpus=wanted)["ready"]
    assert ready["cpus"] == ",".join(map(str, expected))
    assert ready["cores"] == len(expected)


@pytest.mark.skipif(len(CORES) < 2, reason="one core is neither big nor little")
def test_frequencies_stand_in_for_capacities(plan: AgentPlan, sysfs: Path) -> None:
    for core in CORES:
        base = sysfs / f"devices/system/cpu/cpu{core}"
        (base / "cpu_capacity").unlink()
        put(base / "cpufreq/cpuinfo_max_freq", 1400000 if core != CORES[0] else 2400000)
    assert run(plan, cpus="big")["ready"]["cpus"] == str(CORES[0])


def test_cores_that_are_not_there(plan: AgentPlan) -> None:
    with pytest.raises(AgentError, match="--cpus 4096: not all there; this machine has"):
        run(plan, cpus="4096")


def test_state_before_and_after(plan: AgentPlan) -> None:
    samples = run(plan)["samples"]
    assert (samples["before"], samples["after"]) == (STATE, STATE)


def test_a_machine_without_sensors(plan: AgentPlan, tmp_path: Path) -> None:
    nothing = {"frequency_khz": None, "celsius": None, "held_back": False}
    assert run(plan, sysfs=str(tmp_path / "none"))["samples"]["after"] == nothing


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("class/thermal/cooling_device0/cur_state", 2),
        ("devices/platform/soc/soc:firmware/get_throttled", "4"),
    ],
)
def test_cores_that_are_held_back(plan: AgentPlan, sysfs: Path, file: str, content: object) -> None:
    put(sysfs / file, content)
    assert run(plan)["samples"]["after"]["held_back"]


def test_what_the_firmware_remembers_is_not_now(plan: AgentPlan, sysfs: Path) -> None:
    put(sysfs / "devices/platform/soc/soc:firmware/get_throttled", "50000")
    assert not run(plan)["samples"]["after"]["held_back"]


def test_starting_below_a_temperature(plan: AgentPlan, sysfs: Path) -> None:
    hot = sysfs / "class/thermal/thermal_zone1/temp"
    cooling = threading.Timer(1.2, put, (hot, 48000))
    cooling.start()
    begin = time.monotonic()
    samples = run(plan, start_below_celsius=50.0)["samples"]
    assert time.monotonic() - begin > 1.2
    assert samples["before"]["celsius"] == 48.0


def test_no_sensor_to_wait_for(plan: AgentPlan, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no temperature sensor"):
        run(plan, start_below_celsius=50.0, sysfs=str(tmp_path / "none"))


def test_cooling_down(plan: AgentPlan) -> None:
    begin = time.monotonic()
    run(plan, cool_down_seconds=1.5)
    assert time.monotonic() - begin > 1.5


def test_the_local_governor_is_put_back(
    plan: AgentPlan, sysfs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = sysfs / "devices/system/cpu/cpufreq/policy0/scaling_governor"
    with pytest.raises(AgentError):
        LocalTarget().run(replace(plan, governor="performance", artefact="/none"), 60)
    assert file.read_text().strip() == "ondemand"
    events = LocalTarget().run(replace(plan, governor="performance"), 60)
    assert events["ended"]["warnings"] == []
    assert file.read_text().strip() == "ondemand"
    left = [path.name for path in (tmp_path / "cache" / "fca-edge").iterdir()]
    assert left == ["governor.lock"]


def test_a_governor_that_another_measurement_set_stays(
    plan: AgentPlan, sysfs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = sysfs / "devices/system/cpu/cpufreq/policy0/scaling_governor"
    with governed("performance", str(sysfs)) as first:
        assert first == []
        for wanted in (None, "powersave"):
            events = LocalTarget().run(replace(plan, governor=wanted), 60)
            assert file.read_text().strip() == "performance"
        assert "another measurement" in events["ended"]["warnings"][0]
    assert file.read_text().strip() == "ondemand"


def samples(khz: int | None, celsius: float | None, held: bool = False) -> dict[str, Any]:
    after = {"frequency_khz": khz, "celsius": celsius, "held_back": held}
    return {"samples": {"before": STATE, "after": after}}


@pytest.mark.parametrize(
    ("khz", "held", "expected"),
    [(1800000, False, False), (1700000, False, False), (1200000, False, True), (None, True, True)],
)
def test_throttling(khz: int | None, held: bool, expected: bool) -> None:
    event = samples(khz, None, held)["samples"]
    assert is_slowed_down(event["before"], event["after"]) is expected


def test_conditions_of_several_processes() -> None:
    runs = [samples(1800000, 60.0), samples(1200000, 84.0)]
    assert read_conditions(runs) == Conditions(1800000, 1200000, 52.5, 84.0, throttled=True)
    assert list_board_warnings(runs) == ("throttled, down to 1200 MHz at 84 °C",)
    assert read_conditions([]) is None


def test_what_could_not_be_set_is_in_the_row() -> None:
    ended = {"ended": {"warnings": ["governor stays ondemand: not allowed"]}}
    runs = [samples(1800000, 60.0) | ended] * 2
    assert list_board_warnings(runs) == ("governor stays ondemand: not allowed",)


def test_only_timed_runs_are_treated() -> None:
    handling = Handling("big", "performance", 50.0, 10.0)
    assert not any(describe_treatment("cost", handling, cool=False).values())
    assert describe_treatment("memory", handling, cool=True) == {"cpus": "big"}
    assert describe_treatment("latency", handling, cool=False)["cool_down_seconds"] is None
    assert describe_treatment("latency", handling, cool=True) == asdict(handling)
