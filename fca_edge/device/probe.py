"""Tells what a board has, as one line of JSON. Stand-alone: Python 3.8 alone.

python3 -I - FOLDER < probe.py
"""

from __future__ import annotations

import json
import os
import platform
import struct
import sys
from pathlib import Path
from typing import Any

# "CPU part" of ARM's own cores in /proc/cpuinfo.
CORTEX = {
    "0xc07": "A7",
    "0xc08": "A8",
    "0xc09": "A9",
    "0xc0d": "A12",
    "0xc0e": "A17",
    "0xc0f": "A15",
    "0xd03": "A53",
    "0xd04": "A35",
    "0xd05": "A55",
    "0xd07": "A57",
    "0xd08": "A72",
    "0xd09": "A73",
    "0xd0a": "A75",
    "0xd0b": "A76",
    "0xd0d": "A77",
    "0xd41": "A78",
    "0xd46": "A510",
    "0xd47": "A710",
    "0xd80": "A520",
    "0xd81": "A720",
}
ARM = "0x41"


def read_text(path: str) -> str | None:
    """Return a small file's text, None if it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


def cpu_model() -> str:
    """Name the cores, as in `4 x Cortex-A55, 4 x Cortex-A76`, and the board."""
    fields: list[dict[str, str]] = [{}]
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            fields.append({})
        else:
            fields[-1][key.strip()] = value.strip()
    names = [name_core(core) for core in fields if "processor" in core]
    kinds = dict.fromkeys(name for name in names if name)
    cores = ", ".join(f"{names.count(kind)} x {kind}" if len(kinds) > 1 else kind for kind in kinds)
    board = read_text("/proc/device-tree/model")
    return (cores or platform.processor() or "unknown") + (f" ({board})" if board else "")


def name_core(core: dict[str, str]) -> str | None:
    """Name one core from its entry in /proc/cpuinfo."""
    maker, part = core.get("CPU implementer"), core.get("CPU part")
    if maker == ARM and part in CORTEX:
        return f"Cortex-{CORTEX[part]}"
    return core.get("model name") or (f"ARM {maker}/{part}" if part else None)


def memory() -> dict[str, int]:
    """Total and available memory in bytes."""
    sizes = {}
    for line in (read_text("/proc/meminfo") or "").splitlines():
        key, _, rest = line.partition(":")
        if key in ("MemTotal", "MemAvailable"):
            sizes[key] = int(rest.split()[0]) * 1024
    return {
        "memory_bytes": sizes.get("MemTotal", 0),
        "available_bytes": sizes.get("MemAvailable", 0),
    }


def cores() -> list[dict[str, Any]]:
    """Each core that this process may use, with its capacity and highest frequency."""
    rows = []
    for cpu in sorted(os.sched_getaffinity(0)):
        base = f"/sys/devices/system/cpu/cpu{cpu}"
        capacity = read_text(f"{base}/cpu_capacity")
        highest = read_text(f"{base}/cpufreq/cpuinfo_max_freq")
        rows.append(
            {
                "cpu": cpu,
                "capacity": int(capacity) if capacity else None,
                "max_khz": int(highest) if highest else None,
            }
        )
    return rows


def sensors() -> dict[str, float]:
    """Temperatures in degrees Celsius by the sensor's name."""
    temperatures = {}
    for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*")):
        value = read_text(str(zone / "temp"))
        if value and value.lstrip("-").isdigit():
            temperatures[read_text(str(zone / "type")) or zone.name] = int(value) / 1000
    return temperatures


def emulator() -> str | None:
    """Name the emulator if this is a virtual machine whose time says nothing of a board.

    Whether KVM helps it cannot be told from inside; either way it is not the board it seems.
    """
    compatible = read_text("/proc/device-tree/compatible") or ""
    vendor = read_text("/sys/class/dmi/id/sys_vendor") or ""
    virtual = any(word in compatible for word in ("dummy-virt", "qemu"))
    return "qemu-system" if virtual or vendor == "QEMU" else None


def glibc() -> str | None:
    """Return the version of glibc, None if the C library is another."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return None
    return version if name == "glibc" else None


def numpy() -> str | None:
    """Return the version of the system's NumPy."""
    try:
        import numpy
    except Exception:
        return None
    return str(numpy.__version__)


def main() -> None:
    """Write what there is."""
    folder = Path(sys.argv[1])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    disk = os.statvfs(folder)
    governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    facts = {
        "event": "board",
        "folder": str(folder),
        "machine": platform.machine(),
        "bits": struct.calcsize("P") * 8,
        "kernel": f"{platform.system()} {platform.release()}",
        "glibc": glibc(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "numpy": numpy(),
        "cpu_model": cpu_model(),
        "cores": cores(),
        **memory(),
        "disk_free_bytes": disk.f_bavail * disk.f_frsize,
        "governor": read_text(governor),
        "sensors": sensors(),
        "emulator": emulator(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
