"""From the counter's blocks to classes of instructions and the code that they are in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fca_edge.targets.call import AgentError, Event

FMA, SIMD, LOAD_STORE, OTHER = "fma", "simd", "load_store", "other"
CLASSES = (FMA, SIMD, LOAD_STORE, OTHER)
# Multiply-accumulates of vectors and scalars, dot products included: A64, then A32.
FMA_NAMES = (
    *("fml", "fmad", "fmsub", "fnmad", "fnmsub", "mla", "mls", "smlal", "umlal", "smlsl"),
    *("sdot", "udot", "usdot", "sudot", "smmla", "ummla", "usmmla", "bfdot", "bfmmla"),
    *("vmla", "vmls", "vfma", "vfms", "vnml", "vfnm", "smlad", "smlab", "smlat"),
)
# A vector or floating-point register, or a list of them; r9 and r10 are written sb and sl.
VECTOR = re.compile(r"[vqdsbh]\d|\{[vqds]\d")
INTEGER_MLA = ("mla", "mls", "smlal", "umlal")
LOADS_AND_STORES = ("ld", "st", "prf", "vld", "vst", "push", "pop", "vpush", "vpop", "pld")
# Blocks closer than this are one stretch of code: a loop with its head and tail.
NEAR_BYTES = 512
MOST_HOT = 20
MOST_CODE = 6


@dataclass(frozen=True)
class Block:
    """One translation block of the last inference."""

    address: int
    executions: int
    code: tuple[tuple[str, str], ...]

    @property
    def instructions(self) -> int:
        """Executed in all."""
        return self.executions * len(self.code)


def read_counts(file: Path, machine: str, maps: list[list[Any]]) -> Event:
    """Read the counter's file; `maps` are (start, end, offset, path) of the guest's files.

    Raises:
        AgentError: it holds no inference, or was cut.
    """
    try:
        lines = file.read_text().splitlines() if file.is_file() else []
        totals = [int(line.split()[1]) for line in lines if line.startswith("inference ")]
        if not totals:
            raise AgentError(f"the instruction counter saw no inference ({machine}).")
        blocks = list(disassemble(lines, machine))
    except (OSError, ValueError, IndexError):
        blocks = []
    if sum(block.instructions for block in blocks) != totals[-1]:
        raise AgentError(f"the instruction counter's file was cut ({machine}); measure again.")
    classes = Counter[str]()
    for block in blocks:
        classes += count_classes(block)
    return {
        "event": "cost",
        "instructions": totals,
        "classes": {name: classes[name] for name in CLASSES},
        "hot": [describe_stretch(group, maps) for group in group_blocks(blocks)[:MOST_HOT]],
    }


def read_clock(file: Path, machine: str) -> Event:
    """Read what was executed in each inference until each time that the guest read a clock.

    Raises:
        AgentError: the file holds no inference.
    """
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
        readings = [[int(word) for word in words[1:]] for words in lines if words[0] == "clock"]
        totals = [int(words[1]) for words in lines if words[0] == "inference"]
    except (OSError, ValueError, IndexError):
        readings, totals = [], []
    if not totals:
        raise AgentError(f"the instruction counter saw no inference ({machine}).")
    return {"event": "clock", "instructions": totals, "readings": readings}


def disassemble(lines: list[str], machine: str) -> Iterator[Block]:
    """Disassemble the counter's blocks."""
    import capstone

    def reader(mode: int) -> Any:
        architecture = capstone.CS_ARCH_ARM64 if machine == "aarch64" else capstone.CS_ARCH_ARM
        disassembler = capstone.Cs(architecture, mode)
        # What it does not know is skipped by one unit instead of ending the block.
        disassembler.skipdata = True
        return disassembler

    plain = reader(capstone.CS_MODE_ARM)
    thumb = reader(capstone.CS_MODE_THUMB) if machine != "aarch64" else plain
    for line in lines:
        words = line.split()
        if words[0] == "block":
            address, sizes, code = int(words[1], 16), words[4], bytes.fromhex(words[5])
            use = thumb if words[3] == "t" or is_thumb(words[4], address, plain, code) else plain
            code_words = [(name, text) for _, _, name, text in use.disasm_lite(code, address)]
            code_words += [("unknown", "")] * (len(sizes) - len(code_words))
            yield Block(address, int(words[2]), tuple(code_words[: len(sizes)]))


def is_thumb(sizes: str, address: int, plain: Any, code: bytes) -> bool:
    """Tell Thumb where every instruction has four bytes: A32 stands at multiples of four."""
    if address % 4:
        return True
    return any(name == ".byte" for _, _, name, _ in plain.disasm_lite(code, address))


def count_classes(block: Block) -> Counter[str]:
    """Count a block's executed instructions by class."""
    counts = Counter(classify(name, operands) for name, operands in block.code)
    return Counter({name: count * block.executions for name, count in counts.items()})


def classify(name: str, operands: str) -> str:
    """Classify one instruction by its mnemonic and its first operand."""
    vector = VECTOR.match(operands) is not None
    if name.startswith(LOADS_AND_STORES):
        return LOAD_STORE
    if name.startswith(FMA_NAMES):
        # The same names multiply integers in general registers: addresses, not the network.
        return FMA if vector or not name.startswith(INTEGER_MLA) else OTHER
    return SIMD if vector or name.startswith("v") else OTHER


def group_blocks(blocks: list[Block]) -> list[list[Block]]:
    """Group neighbouring blocks, the costliest group first."""
    groups: list[list[Block]] = []
    end = None
    for block in sorted(blocks, key=lambda b: b.address):
        if end is None or block.address - end > NEAR_BYTES:
            groups.append([])
        groups[-1].append(block)
        end = block.address + 4 * len(block.code)
    return sorted(groups, key=lambda group: -sum(b.instructions for b in group))


def describe_stretch(group: list[Block], maps: list[list[Any]]) -> dict[str, Any]:
    """Describe a stretch of code: where, how much, of which classes, its hottest block."""
    total: Counter[str] = Counter()
    for block in group:
        total += count_classes(block)
    hottest = max(group, key=lambda b: b.instructions)
    names = Counter(name for name, _ in hottest.code)
    return {
        "place": name_place(hottest.address, maps),
        "instructions": sum(b.instructions for b in group),
        "classes": {name: total[name] for name in CLASSES if total[name]},
        "code": [f"{count} {name}" for name, count in names.most_common(MOST_CODE)],
    }


def name_place(address: int, maps: list[list[Any]]) -> str:
    """Name an address by file and offset, which do not move from run to run."""
    for start, end, offset, path in maps:
        if start <= address < end:
            return f"{PurePosixPath(path).name}+{address - start + offset:#x}"
    return f"{address:#x}"
