"""The published table, and our ratios beside its own."""

from dataclasses import replace

import pytest
from comparing.rows import artefact, counted, memory, row, times

from fca_edge.comparing.published import group_beside_published, read_networks
from fca_edge.errors import IncomparableError, UsageError
from fca_edge.records import Planned
from fca_edge.zoo.published import Published, published
from fca_edge.zoo.specs import ZOO

L1 = row()
TINY = row(
    artefact=artefact(
        variant="convnext_tiny", operators=300, planned=Planned(110_000_000, 1, 14_800_000)
    ),
    latency_ns=times(300, 303, 306, 309, 312),
    memory=memory(160),
)


def test_every_row_is_a_network_of_the_zoo() -> None:
    assert set(published()) <= {spec.name for spec in ZOO.values()}
    assert len(read_networks()) == 11
    assert read_networks()["l4"] == (2624, 328)
    assert ZOO["deit_tiny"].published == Published(5.5, None, None, None, 72.2)
    assert ZOO["micro"].published is None


def test_ratios_by_hand() -> None:
    result = group_beside_published([L1, TINY], "convnext_tiny")
    (group,), left_out = result.groups, result.left_out
    reference, l1 = group.rows
    assert (reference.variant, l1.variant, left_out) == ("convnext_tiny", "l1", 0)
    assert l1.published_latency == pytest.approx(312 / 875)
    assert l1.published_memory == pytest.approx(42 / 129)
    assert l1.latency is not None
    assert l1.latency.value == pytest.approx(102 / 306)
    assert l1.memory == pytest.approx(0.5)
    assert l1.planned == pytest.approx(41_600_000 / 124_800_000)
    assert l1.instructions is None
    assert reference.published_latency == reference.planned == 1.0


def test_another_reference() -> None:
    (group,) = group_beside_published([L1, TINY], "l1").groups
    assert group.rows[0].published_latency == pytest.approx(875 / 312)


def test_emulated_records_show_instructions_and_no_latency() -> None:
    tiny = counted(3_000_000, artefact=TINY.artefact, latency_ns=times(1))
    l1 = counted(1_000_000, latency_ns=times(1))
    (group,) = group_beside_published([l1, tiny], "convnext_tiny").groups
    assert group.emulated
    assert "emulated by qemu 7.2" in group.label
    assert group.rows[1].latency is None
    assert group.rows[1].instructions == pytest.approx(1 / 3, rel=1e-5)


def test_records_are_compared_with_their_like_alone() -> None:
    emulated = counted(1_000_000)
    four = replace(L1, plan=replace(L1.plan, threads=4))
    micro = row(artefact=artefact(variant="micro", img_size=96))
    result = group_beside_published([L1, TINY, emulated, four, micro], "convnext_tiny")
    assert [len(group.rows) for group in result.groups] == [2]
    assert result.left_out == 3
    assert "Records left out: 3" in result.table()


def test_no_reference_no_ratio() -> None:
    with pytest.raises(IncomparableError, match="no record of convnext_tiny"):
        group_beside_published([L1], "convnext_tiny")
    with pytest.raises(UsageError, match="Did you mean 'swin_tiny'"):
        group_beside_published([L1], "swin_tny")
    with pytest.raises(UsageError, match="no 'micro'"):
        group_beside_published([L1], "micro")
