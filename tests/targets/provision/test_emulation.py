"""What an emulated machine is made of, without fetching anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fca_edge.errors import TargetUnavailableError, UsageError
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.plan import AgentPlan
from fca_edge.targets.provision import emulation, plugin, wheels
from fca_edge.targets.provision.machines import AARCH64, ARMV7, MACHINES, cpuinfo
from fca_edge.targets.provision.wheels import Wheels
from fca_edge.targets.qemu import qemu_target
from fca_edge.targets.setup import list_states, refuse_unready


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "fca-edge"


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda m: m.name)
def test_runtimes_and_processors_are_known(machine: emulation.Machine) -> None:
    assert set(machine.environments) <= set(RUNTIMES)
    for cpu in machine.cpus:
        text = cpuinfo(machine, cpu)
        assert text.count("processor\t:") == 4
        assert f"CPU part\t: 0x{cpu.part:03x}" in text


def test_dot_products_are_where_they_belong() -> None:
    features = {cpu.name: cpu.features.split() for cpu in (*AARCH64.cpus, *ARMV7.cpus)}
    assert {name for name, f in features.items() if "asimddp" in f} == {"cortex-a76"}
    assert {name for name, f in features.items() if "vfpv4" in f} == {
        "cortex-a15",
        "cortex-a17",
        "cortex-a7",
    }


def test_a_prefix_has_the_tree_and_an_identity(cache: Path) -> None:
    environment = AARCH64.environments["litert"]
    (environment.tree.folder / "usr").mkdir(parents=True)
    a72, a53 = (emulation.make_prefix(AARCH64, environment, cpu) for cpu in AARCH64.cpus[:2])
    assert a72 != a53
    assert "0xd08" in (a72 / "proc/cpuinfo").read_text()
    assert (a53 / "sys/devices/system/cpu/online").read_text() == "0-3\n"
    assert (a72 / "usr").resolve() == environment.tree.folder / "usr"
    inode = a72.stat().st_ino
    assert emulation.make_prefix(AARCH64, environment, AARCH64.cpus[0]).stat().st_ino == inode
    (a72 / "proc/cpuinfo").write_text("something else")
    again = emulation.make_prefix(AARCH64, environment, AARCH64.cpus[0])
    assert "0xd08" in (again / "proc/cpuinfo").read_text()


def test_unready_machines_say_how_to_set_them_up(cache: Path) -> None:
    assert not any(state.ready for state in list_states("qemu:aarch64"))
    with pytest.raises(TargetUnavailableError, match="targets setup qemu:aarch64"):
        refuse_unready("qemu:aarch64", list_states("qemu:aarch64"))
    target = qemu_target("qemu:aarch64:a53")
    assert target.cpu.name == "cortex-a53"
    with pytest.raises(TargetUnavailableError, match="litert is not set up"):
        target.run(AgentPlan(RUNTIMES["litert"], "none.tflite", "cost"), 1)
    with pytest.raises(TargetUnavailableError, match="targets setup qemu:aarch64"):
        target.info()
    target.close()
    assert not target.folder.exists()


def test_armv7_has_no_litert(cache: Path) -> None:
    target = qemu_target("qemu:armv7")
    with pytest.raises(TargetUnavailableError, match=r"has no litert; it has .*tflite-2\.14"):
        target.run(AgentPlan(RUNTIMES["litert"], "none.tflite", "cost"), 1)
    target.close()


@pytest.mark.parametrize("name", ["qemu:", "qemu:z80", "qemu:armv7:a72"])
def test_unknown_machines_are_usage_errors(name: str) -> None:
    with pytest.raises(UsageError, match="Known: "):
        qemu_target(name)


def test_platform_tags_from_the_newest(cache: Path) -> None:
    words = wheels.platform_tags(Wheels("x", "aarch64", "3.11", 19, ("numpy",)))
    assert words[1::2] == [
        "manylinux_2_19_aarch64",
        "manylinux_2_18_aarch64",
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
    ]


def test_a_wheel_that_does_not_exist_is_told(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wanted = Wheels("x", "aarch64", "3.11", 36, ("no-such-package==1.0",))
    with pytest.raises(TargetUnavailableError, match=r"no-such-package==1\.0 for aarch64"):
        wheels.unpack(wanted, lambda text: None)
    assert not wanted.folder.exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_counter_compiles_once_without_a_warning(cache: Path) -> None:
    made = plugin.compile_plugin()
    assert plugin.compile_plugin() == made
    symbols = subprocess.run(["nm", "-D", str(made)], capture_output=True, text=True).stdout
    assert "qemu_plugin_install" in symbols
    assert list(made.parent.parent.iterdir()) == [made.parent]


def test_no_compiler_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TargetUnavailableError, match="needs a C compiler"):
        plugin.compile_plugin()


def test_a_compiler_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", shutil.which("false") or "false")
    with pytest.raises(TargetUnavailableError, match=r"compiling tcg_cost\.c failed"):
        plugin.compile_plugin()
    assert not plugin.plugin_path().exists()
