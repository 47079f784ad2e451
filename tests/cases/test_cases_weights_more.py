"""What stands beside the weights, or inside their names, and is not passed over in silence."""

import datetime
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from weights_data import State, prefixed, refusal, saved, source_of

from fca_edge.errors import UsageError


@pytest.fixture(scope="module")
def raw(state: State) -> State:
    """Other weights of the same network."""
    return {k: v + 0.01 if v.is_floating_point() else v for k, v in state.items()}


def parameters(state: State) -> State:
    """P: an average as it is often kept, without the buffers."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {k: v for k, v in state.items() if not k.endswith(buffers)}


class Zone:
    """Is stored as `ZoneInfo("UTC")` is, on machines without time zones as well."""

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return zoneinfo.ZoneInfo._unpickle, ("UTC", 1)  # type: ignore[attr-defined]


class Zoned:
    """Is stored as a `datetime` with a time zone is."""

    def __reduce__(self) -> tuple[Any, tuple[bytes, Zone]]:
        return datetime.datetime, (b"\x07\xea\x0b\x1b\x0c\x11\x12\x07\xc7\xdf", Zone())


def short(state: State) -> State:
    return {k: v for k, v in state.items() if k != "head.bias"}


@pytest.mark.parametrize(
    ("content", "whole", "part", "lacks"),
    [
        (lambda s, p: {"model": s, "model_ema": p}, "model", "model_ema", "36 keys"),
        (lambda s, p: {"model": s, "ema": {"shadow": p}}, "model", "ema/shadow", "36 keys"),
        (
            lambda s, p: {"state_dict": s, "state_dict_ema": prefixed(p, "module.")},
            "state_dict",
            "state_dict_ema/module",
            "36 keys",
        ),
        (lambda s, p: {"net": s, "ema": short(s)}, "net", "ema", "1 key, 'head.bias'"),
        (lambda s, p: {**s, **prefixed(p, "averaged.")}, ".", "averaged", "36 keys"),
    ],
)
def test_w1_an_average_that_is_not_whole_is_asked_about(
    tmp_path: Path, state: State, content: Callable[..., Any], whole: str, part: str, lacks: str
) -> None:
    path = saved(tmp_path, content(state, parameters(state)))
    line = refusal(path, UsageError)
    assert f"{part} (lacks {lacks}" in line
    assert f"choose with --weights {whole}." in line
    source = source_of(path, whole)
    assert source.weights == whole
    assert source_of(path, source.weights).weights == whole
    line = refusal(path, UsageError, weights=part)
    assert f"not a whole network: {part} (lacks {lacks}" in line


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (lambda s, p: {"model": s, "ema": {"shadow_params": list(p.values())}}, "ema"),
        (lambda s, p: {**s, **{f"ema_{k.replace('.', '_')}": v for k, v in s.items()}}, "ema"),
        (
            lambda s, p: {
                "state_dict": {
                    **prefixed(s, "model."),
                    **{f"model_ema.{k.replace('.', '')}": v for k, v in p.items()},
                }
            },
            "state_dict/model_ema",
        ),
        (
            lambda s, p: {"m": s, "optimizer_states": [{"ema": tuple(p.values())}]},
            "optimizer_states/0/ema",
        ),
    ],
)
def test_w1_an_average_without_names_is_said(
    tmp_path: Path, state: State, content: Callable[..., Any], place: str
) -> None:
    chosen = str(source_of(saved(tmp_path, content(state, parameters(state)))).chosen)
    assert f"also there, but without the network's names: '{place}', not taken" in chosen


def test_w1_an_optimiser_is_no_average(tmp_path: Path, state: State) -> None:
    values = list(parameters(state).values())
    steps = {i: {"exp_avg": v, "exp_avg_sq": v} for i, v in enumerate(values)}
    for name, optimiser in (
        ("optimizer", {"state": steps, "param_groups": []}),
        ("ema_run", {"state": steps}),
        ("optimizer", {"exp_avg": parameters(state)}),
    ):
        source = source_of(saved(tmp_path, {"model": state, name: optimiser}))
        assert source.weights == "model"
        assert "also there" not in str(source.chosen)


def test_w1_a_place_can_be_typed_as_it_is_listed(tmp_path: Path, state: State, raw: State) -> None:
    path = saved(tmp_path, {"a\x1b[31m": state, "b": raw})
    assert "--weights 'a?[31m'" in refusal(path, UsageError)
    assert source_of(path, "a?[31m").weights == "a\x1b[31m"


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (lambda s, r: {"folds": {0: s, "0": r}}, ("folds/0", "folds/0 (2)")),
        (lambda s, r: {"ema": {"model": s}, "ema/model": r}, ("ema/model", "ema/model (2)")),
    ],
)
def test_w1_two_entries_of_one_path_are_two(
    tmp_path: Path, state: State, raw: State, content: Callable[..., Any], paths: tuple[str, str]
) -> None:
    path = saved(tmp_path, content(state, raw))
    line = refusal(path, UsageError)
    assert f"holds several weights: {paths[0]}, {paths[1]};" in line
    assert source_of(path, paths[0]).weights == paths[0]
    path = saved(tmp_path, content(raw, state))
    assert source_of(path, paths[1]).weights == paths[1]


def test_w1_two_tensors_of_one_path_are_refused(tmp_path: Path, state: State, raw: State) -> None:
    path = saved(tmp_path, {"a": prefixed(state, "b/"), "a/b": raw})
    assert "two tensors are both 'a/b/" in refusal(path)
    logs = {0: torch.zeros(1), "0": torch.ones(1)}
    assert source_of(saved(tmp_path, {"model": state, "log": logs})).weights == "model"


def test_w6_a_key_in_two_shards_is_refused(tmp_path: Path, state: State) -> None:
    keys = list(state)
    first = {key: state[key] for key in keys[:150]}
    second = {key: state[key] for key in keys[149:]}
    path = saved(tmp_path, {**first, "epoch": 3}, "w-00001-of-00002.bin")
    saved(tmp_path, {**second, "epoch": 3}, "w-00002-of-00002.bin")
    assert f"'{keys[149]}' is in another shard, too" in refusal(path)
    second.pop(keys[149])
    saved(tmp_path, {**second, "epoch": 3}, "w-00002-of-00002.bin")
    source_of(path)


@pytest.mark.parametrize(
    "key",
    [
        "head.lora_A.default.weight",
        "head.lora_B",
        "head.weight_scale_inv",
        "head.SCB",
        "head.weight_mask",
        "norm_head.weight_g",
        "patch_embed.seq.0.c.weight_u",
        "layer_1.downsample.conv1.c.weight_scale",
        "temperature",
    ],
)
def test_w8_what_changes_the_figures_is_no_leftover(tmp_path: Path, state: State, key: str) -> None:
    content = prefixed({**state, key: torch.ones(1)}, "module.")
    assert f"'{key}' belongs to a network with more in its" in refusal(saved(tmp_path, content))


@pytest.mark.parametrize("key", ["norm_head.total_ops", "aux_head.weight", "criterion.weight"])
def test_w8_what_changes_no_figure_is_counted(tmp_path: Path, state: State, key: str) -> None:
    chosen = source_of(saved(tmp_path, {**state, key: torch.ones(1)})).chosen
    assert f"1 key that no network has ignored ('{key}')" in str(chosen)


@pytest.mark.parametrize(
    "word", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_w2_wrappers_inside_of_names(tmp_path: Path, state: State, word: str, prefix: str) -> None:
    def wrapped(key: str) -> str:
        key = key.replace("layer_2.", f"layer_2.{word}.").replace(".bn.", f".bn.{word}.")
        return prefix + key.replace("blocks.0.", f"blocks.0._checkpoint_wrapped_module.{word}.")

    content = {wrapped(key): value for key, value in state.items()}
    chosen = str(source_of(saved(tmp_path, content)).chosen)
    assert f"'{word}' stripped from inside of names" in chosen
    assert not prefix or f"prefix '{prefix}' stripped" in chosen
    assert "ignored" not in chosen
    adapter = {**content, wrapped("layer_2.blocks.0.lora_A"): torch.ones(1)}
    assert "'layer_2.blocks.0.lora_A' belongs to" in refusal(saved(tmp_path, adapter))


def test_w2_wrapped_and_bare_are_two(tmp_path: Path, state: State, raw: State) -> None:
    inside = {k.replace("layer_2.", "layer_2._orig_mod."): v for k, v in state.items()}
    path = saved(tmp_path, {"model": raw, "ema": inside})
    assert "holds several weights: model, ema;" in refusal(path, UsageError)
    assert source_of(path, "ema").weights == "ema"
    assert "two tensors are both 'layer_2." in refusal(saved(tmp_path, {**raw, **inside}))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_w5_a_time_zone_is_harmless(tmp_path: Path, state: State, protocol: int) -> None:
    path = saved(tmp_path, {"model": state, "when": Zoned()}, pickle_protocol=protocol)
    assert source_of(path).weights == "model"


@pytest.mark.parametrize(
    "pair",
    [
        (zoneinfo.ZoneInfo, "from_file"),
        (datetime.datetime, "_unpickle"),
        (zoneinfo.ZoneInfo, "_unpickle", None),
        ("zoneinfo.ZoneInfo", "_unpickle"),
    ],
)
def test_w5_no_other_attribute_is_taken(
    tmp_path: Path, state: State, pair: tuple[object, ...]
) -> None:
    class Getter:
        def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
            return getattr, pair

    line = refusal(saved(tmp_path, {"model": state, "when": Getter()}))
    assert "wants to call 'builtins.getattr'" in line
