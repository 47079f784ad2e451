"""Where time goes by module: what files tell, what runtimes tell, and that both fit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import fca_edge, refused
from conftest import DIGITS

from fca_edge.exporting.tflite.file import TfliteFile
from fca_edge.manifest import Artefact, manifest_path
from fca_edge.profiling.document import Profile, read_profile
from fca_edge.profiling.layers import Layers, read_layers, read_nodes
from fca_edge.profiling.result import Profiled
from fca_edge.profiling.session import share_out
from fca_edge.profiling.tree import build_tree, choose_rate, compare_profiles, list_farthest
from fca_edge.runtimes import RUNTIMES, available

ONNX = "onnxruntime"
RUNS = ("--runs", "3", "--processes", "1")
HAS_XNNPACK = available(RUNTIMES["xnnpack"])


@pytest.fixture(scope="module")
def document(exported: list[Artefact], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real profile of the digits file on ONNX Runtime."""
    path = tmp_path_factory.mktemp("profile") / "profile.json"
    done = fca_edge("profile", exported[0].path, *RUNS, "--json", path)
    assert done.returncode == 0, done.stderr
    return path


def modules_of_checkpoint() -> set[str]:
    """Paths of all modules of the network, as the checkpoint's keys name them."""
    from fca_edge.zoo.build import build

    return {name for name, _ in build("micro").named_modules()}


@pytest.mark.parametrize("place", [0, 1])
def test_files_name_the_checkpoints_modules(exported: list[Artefact], place: int) -> None:
    nodes = read_nodes(exported[place].path)
    assert len(nodes) > 200
    assert set(nodes.values()) <= modules_of_checkpoint()
    assert {"layer_0.blocks.0.dwconv", "layer_2.blocks.1.qkv", "head"} <= set(nodes.values())


@pytest.mark.parametrize("place", [0, 1])
def test_every_product_belongs_to_a_module(exported: list[Artefact], place: int) -> None:
    """What modules multiply is what the manifest says of the whole."""
    macs = read_layers(exported[place].path).macs
    assert sum(macs.values()) == exported[place].manifest.macs
    assert "" not in macs


def test_products_of_int8_files_belong_to_their_modules(tmp_path: Path) -> None:
    """The simplifier names some of them anew."""
    words = ("--format", "onnx", "--precision", "int8", "--out", tmp_path)
    assert fca_edge("export", "--checkpoint", DIGITS, *words).returncode == 0
    (path,) = tmp_path.glob("*.onnx")
    macs = read_layers(path).macs
    assert macs["layer_0.blocks.0.pwconv1"] == macs["layer_0.blocks.0.pwconv2"] > 0
    assert not [module for module in macs if module.endswith((".act", ".norm"))]


def test_dense_networks_name_theirs(dense_programs: dict[str, set[str]]) -> None:
    for variant, names in dense_programs.items():
        from fca_edge.zoo.build import build

        known = {name for name, _ in build(variant).named_modules()}
        joined = {"roi_head.bbox_head.fc_cls+fc_reg", "rpn_head.rpn_cls+rpn_reg"}
        assert names - joined <= known


@pytest.fixture(scope="module")
def dense_programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Names that programs of folded dense networks give their nodes, in both orders of memory."""
    from fca_edge.exporting.forms import PROFILES
    from fca_edge.exporting.modules import KEY
    from fca_edge.exporting.program import export_program
    from fca_edge.passes.detector_heads import JoinBoxes, JoinProposals, SpreadMasks
    from fca_edge.passes.run import DEFAULT_PASSES
    from fca_edge.passes.uper_levels import LeanUper
    from fca_edge.zoo.build import build
    from fca_edge.zoo.randomise import randomise

    assert PROFILES
    names: dict[str, set[str]] = {}
    more = {
        "upernet_micro": (LeanUper(rows=False, winograd=True),),
        "mask_rcnn_micro": (JoinProposals(), JoinBoxes(last=True), SpreadMasks()),
    }
    for variant, passes in more.items():
        network = build(variant).double()
        randomise(network, 0)
        for step in (*DEFAULT_PASSES, *passes):
            network, _ = step.call(network)
        program = export_program(network.float(), 96)
        nodes = [node for node in program.graph.nodes if node.op == "call_function"]
        names[variant] = {node.meta[KEY] for node in nodes}
    return names


def test_a_profile_is_whole(document: Path) -> None:
    profile = read_profile(document)
    root = build_tree(profile)
    for number, whole in enumerate(profile.whole[0]):
        inside = sum(one.samples[0][number] for one in profile.operators)
        # Each is rounded to microseconds.
        assert 0 < inside < whole + 1000 * len(profile.operators)
    assert {o.module for o in profile.operators} <= modules_of_checkpoint()
    assert root.all_macs == sum(profile.macs.values())
    assert root.total == pytest.approx(sum(child.total for child in root.children.values()), 0.2)
    assert profile.folded["layer_0.blocks.0.pwconv2"] == ("gamma",)


def test_the_table_says_where_time_goes(document: Path) -> None:
    done = fca_edge("profile", document, "--depth", "3", "--top", "3", "--wide")
    assert done.returncode == 0, done.stderr
    for words in ("layer_2", "blocks.1", "qkv", "(+ scale, norm1)", "GMAC/s", "farthest from"):
        assert words in done.stdout
    text = Profiled(read_profile(document)).to_markdown()
    assert "| module |" in text and "layer_0" in text


@pytest.mark.skipif(not HAS_XNNPACK, reason="needs `fca-edge targets setup local`")
def test_xnnpack_tells_of_every_operator(exported: list[Artefact], tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    # The runner keeps packed weights beside a file, and that one is everybody's.
    copy = shutil.copy(exported[1].path, tmp_path)
    done = fca_edge("profile", copy, "--runtime", "xnnpack", *RUNS, "--json", file)
    assert done.returncode == 0, done.stderr
    profile = read_profile(file)
    modules = {o.module for o in profile.operators}
    assert modules <= modules_of_checkpoint() and len(modules) > 80
    assert all(o.name for o in profile.operators)
    assert profile.operators[-1].module == "head"


def test_litert_hides_its_layers(exported: list[Artefact]) -> None:
    done = fca_edge("profile", exported[1].path, "--runtime", "litert")
    refused(done, 2, "litert tells nothing of its operators", "use --runtime xnnpack")


def test_a_file_that_tells_nothing_is_profiled_by_kind(
    exported: list[Artefact], tmp_path: Path
) -> None:
    """As those of other tools and of older exports."""
    import onnx

    model = onnx.load(str(exported[0].path))
    del model.metadata_props[:]
    path = tmp_path / "foreign.onnx"
    onnx.save(model, str(path))
    done = fca_edge("profile", path, *RUNS)
    assert done.returncode == 0, done.stderr
    assert "export it again to see them" in " ".join(done.stdout.split())
    assert read_layers(path) == Layers({}, {"": exported[0].manifest.macs})


def test_what_was_damaged_in_the_file_is_not_believed(
    exported: list[Artefact], tmp_path: Path
) -> None:
    for text in ("[1]", '{"a": 1}', "{", '{"head": "logits"}'):
        file = TfliteFile.read(exported[1].path)
        entries = json.loads(file.metadata("fca_edge") or b"")
        file.add_metadata("fca_edge", json.dumps({**entries, "modules": text}).encode())
        path = tmp_path / "changed.tflite"
        file.write(path)
        assert read_nodes(path) == ({"logits": "head"} if "logits" in text else {})


def slowed(profile: Profile, module: str, times: int) -> Profile:
    """Return a profile in which one module takes longer."""
    operators = tuple(
        replace(one, samples=tuple(tuple(times * s for s in p) for p in one.samples))
        if one.module == module
        else one
        for one in profile.operators
    )
    return replace(profile, operators=operators)


def test_what_got_slower_is_named_by_its_layer(document: Path, tmp_path: Path) -> None:
    profile, module = read_profile(document), "layer_0.blocks.0.dwconv"
    first = compare_profiles(profile, slowed(profile, module, 5))[0]
    assert (first.module, first.clear) == (module, True)
    assert not any(change.clear for change in compare_profiles(profile, profile))
    text = Profiled(slowed(profile, module, 5), profile).table()
    assert "Most of all +" in text and module in text.split("Most of all")[1].splitlines()[0]


def test_a_fold_that_is_left_out_is_seen_by_layer(exported: list[Artefact], tmp_path: Path) -> None:
    """Modules that a fold joins are compared as one: a convolution with its BatchNorm."""
    done = fca_edge(
        *("export", "--checkpoint", DIGITS, "--format", "onnx", "--no-fold", "--out", tmp_path)
    )
    assert done.returncode == 0, done.stderr
    (plain,) = tmp_path.glob("*.onnx")
    file = tmp_path / "changes.json"
    words = ("profile", plain, "--against", exported[0].path, *RUNS, "--json", file)
    assert fca_edge(*words).returncode == 0
    changes = {one["module"]: one for one in json.loads(file.read_text())["changes"]}
    assert changes["patch_embed.seq.0"]["before"] and changes["patch_embed.seq.0"]["after"]
    assert not {"patch_embed.seq.0.c", "patch_embed.seq.0.bn"} & set(changes)


def test_unlike_profiles_are_refused(document: Path, tmp_path: Path) -> None:
    content = json.loads(document.read_text())
    other = tmp_path / "other.json"
    artefact = {**content["profile"]["artefact"], "variant": "l1"}
    for key, value, words in (
        ("unit", "instructions", "what was measured"),
        ("threads", 4, "number of threads"),
        ("artefact", artefact, "network: micro and l1"),
    ):
        other.write_text(json.dumps({**content, "profile": {**content["profile"], key: value}}))
        refused(fca_edge("profile", document, "--against", other), 5, words)


def test_bad_input_is_one_line(exported: list[Artefact], tmp_path: Path) -> None:
    beside = manifest_path(exported[0].path)
    refused(fca_edge("profile", beside), 1, "is not fca_edge.profile/1")
    cut = tmp_path / "cut.json"
    cut.write_text('{"schema": "fca_edge.profile/1", "profile": {}}')
    refused(fca_edge("profile", cut), 1, "is missing", "profile again")
    refused(fca_edge("profile", tmp_path / "none.onnx"), 2, "none.onnx")
    refused(fca_edge("profile", exported[0].path, "--runs", "0"), 2, "--runs")
    pair = ("profile", exported[0].path, "--against", exported[1].path)
    refused(fca_edge(*pair), 2, "litert tells nothing", "with --json FILE")


def test_a_stored_profile_is_not_taken_anew(document: Path) -> None:
    for words in (("--threads", "4"), ("--target", "qemu:armv7"), ("--runs", "2")):
        refused(fca_edge("profile", document, *words), 2, words[0], "leave it out")


def test_shares_are_of_what_is_beyond(document: Path) -> None:
    profile = read_profile(document)
    root = build_tree(profile)
    sheet = Profiled(profile).sheet_of_farthest(root, None)
    for node, excess in list_farthest(root, None, 1):
        assert [node.path, f"{excess / root.total:.1%}"] == [sheet.rows[0][0], sheet.rows[0][2]]


def test_a_profiler_that_costs_more_than_the_work_is_said(document: Path) -> None:
    profile = read_profile(document)
    whole = tuple(tuple(3 * n for n in one) for one in profile.whole)
    for times, words in ((1, "3.0 times as long"), (3, "in quiet")):
        plain = tuple(tuple(n * times // 3 for n in one) for one in whole)
        text = Profiled(replace(profile, whole=whole, plain=plain)).table()
        assert words in " ".join(text.split())


@pytest.mark.parametrize(
    ("readings", "parts", "expected"),
    [
        ([0, 5, 6, 9], [1, 2], [5, 4]),
        ([0, 5, 6], [1, 2], None),
        # Two before and one after, then begin and end of each: 100 and 70.
        ([1, 2, 10, 110, 115, 185, 186], [None, None], [100, 70]),
        ([0, 1], [None, None], None),
    ],
)
def test_counts_are_shared_out(
    readings: list[int], parts: list[int | None], expected: list[int] | None
) -> None:
    assert share_out(readings, parts) == expected


def test_names_of_runtimes_are_found() -> None:
    layers = Layers({"conv2d_1": "a", "linear": "b", "val_6": "c"})
    names = ["conv2d_1_nchwc", "linear/36", "val_6_quant", "conv2d_1_quant_scales_mul", "Reorder"]
    assert [layers.find(name) for name in names] == ["a", "b", "c", "a", None]
    pairs = [("ReorderInput", "ReorderInput"), ("linear", "Gemm"), ("X", "ReorderOutput")]
    assert layers.assign(pairs) == ["b", "b", "b"]


def test_the_bound_is_of_the_fastest_layer(document: Path) -> None:
    profile = read_profile(document)
    root = build_tree(profile)
    bound = choose_rate(profile, root)
    assert bound is not None
    assert min(excess for _, excess in list_farthest(root, bound[0], 5)) > 0
    counted = choose_rate(replace(profile, unit="instructions"), root)
    assert counted == (0.25, "four products per instruction")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "runtime", "place"),
    [("qemu:armv7", "xnnpack", 1), ("qemu:aarch64", "xnnpack", 1), ("qemu:aarch64", ONNX, 0)],
)
def test_instructions_are_counted_by_layer(
    exported: list[Artefact], tmp_path: Path, target: str, runtime: str, place: int
) -> None:
    """On XNNPACK exactly; ONNX Runtime's profiler is as much work as so small a network."""
    assert fca_edge("targets", "setup", target).returncode == 0
    file = tmp_path / "profile.json"
    words = ("profile", exported[place].path, "--target", target, "--runtime", runtime)
    done = fca_edge(*words, "--json", file)
    assert done.returncode == 0, done.stderr
    profile = read_profile(file)
    assert profile.unit == "instructions"
    root = build_tree(profile)
    least = 0.99 if runtime == "xnnpack" else 0.7
    assert least * profile.whole[0][0] < root.total <= profile.whole[0][0]
    assert profile.plain[0][0] <= profile.whole[0][0]
    if runtime == "xnnpack":
        assert profile.whole[0][0] == pytest.approx(profile.plain[0][0], 0.01)
    assert all(node.total >= node.all_macs / 4 for node in root.walk())
