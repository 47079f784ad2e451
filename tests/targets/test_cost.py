"""From the counter's file to classes and hot code, on instructions encoded by hand."""

from pathlib import Path

import pytest

from fca_edge.targets.call import AgentError
from fca_edge.targets.counts import classify, read_counts

# A64: fmla v0.4s, v1.4s, v2.s[0]; ldr q0, [x1]; add x0, x0, #1; fadd v0.4s, v1.4s, v2.4s
FMLA, LDR, ADD, FADD = "2010824f", "2000c03d", "00040091", "20d4224e"
# A32: vmla.f32 q0, q1, q2; Thumb: adds r0, r0, #1
VMLA, ADDS = "540d02f2", "401c"


def counts(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "counts"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_classes_and_places_of_a64(tmp_path: Path) -> None:
    file = counts(
        tmp_path,
        "inference 4000",
        "inference 4100",
        f"block 1000 1000 ? 4444 {FMLA}{LDR}{ADD}{FADD}",
        f"block 9000 100 ? 4 {ADD}",
    )
    maps = [[0x1000, 0x2000, 0x500, "/usr/lib/libx.so"], [0x8000, 0xA000, 0, "/usr/bin/y"]]
    event = read_counts(file, "aarch64", maps)
    assert event["instructions"] == [4000, 4100]
    assert event["classes"] == {"fma": 1000, "simd": 1000, "load_store": 1000, "other": 1100}
    first, second = event["hot"]
    assert (first["place"], first["instructions"]) == ("libx.so+0x500", 4000)
    assert first["code"] == ["1 fmla", "1 ldr", "1 add", "1 fadd"]
    assert (second["place"], second["instructions"]) == ("y+0x1000", 100)


def test_thumb_and_a32_are_told_apart(tmp_path: Path) -> None:
    file = counts(
        tmp_path, "inference 30", f"block 1000 10 t 22 {ADDS}{ADDS}", f"block 2000 10 ? 4 {VMLA}"
    )
    assert read_counts(file, "armv7", [])["classes"] == {
        "fma": 10,
        "simd": 0,
        "load_store": 0,
        "other": 20,
    }


def test_neighbouring_blocks_are_one_stretch(tmp_path: Path) -> None:
    lines = [f"block {0x1000 + 16 * i:x} 5 ? 4 {ADD}" for i in range(4)]
    event = read_counts(counts(tmp_path, "inference 20", *lines), "aarch64", [])
    assert [h["instructions"] for h in event["hot"]] == [20]


@pytest.mark.parametrize("lines", [(), ("block 1000 1 ? 4 " + ADD,)])
def test_no_inference_is_an_error(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(AgentError, match="saw no inference"):
        read_counts(counts(tmp_path, *lines), "aarch64", [])
    with pytest.raises(AgentError, match="saw no inference"):
        read_counts(tmp_path / "none", "aarch64", [])


@pytest.mark.parametrize(
    ("name", "operands", "expected"),
    [
        ("fmla", "v0.4s, v1.4s, v2.s[0]", "fma"),
        ("sdot", "v0.4s, v1.16b, v2.4b[0]", "fma"),
        ("fmadd", "s0, s1, s2, s3", "fma"),
        ("madd", "x0, x1, x2, x3", "other"),
        ("mla", "r0, r1, r2, r3", "other"),
        ("vmla.f32", "q0, q1, d0[0]", "fma"),
        ("ldp", "q0, q1, [x0]", "load_store"),
        ("prfm", "pldl1keep, [x0]", "load_store"),
        ("vldmia", "r0!, {d0, d1}", "load_store"),
        ("fmax", "v0.4s, v1.4s, v2.4s", "simd"),
        ("vadd.f32", "q0, q1, q2", "simd"),
        ("sub", "sp, sp, #16", "other"),
        ("b.ne", "#0x1000", "other"),
        ("bl", "#0x1000", "other"),
        ("add", "sb, sb, #4", "other"),
        ("mla", "sb, r1, r3, r0", "other"),
        ("mov", "sl, r0", "other"),
        ("vld1.32", "{d0, d1}, [r0]!", "load_store"),
        ("tbl", "v0.16b, {v1.16b}, v2.16b", "simd"),
    ],
)
def test_mnemonics(name: str, operands: str, expected: str) -> None:
    assert classify(name, operands) == expected
