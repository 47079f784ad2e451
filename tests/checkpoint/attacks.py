"""Pickles that want to run code, written instruction by instruction."""

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
VERSION = pickle.dumps(1001, 2)
MACHINE = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def run(canary: Path, module: str = "posix", attribute: str = "system") -> bytes:
    """Instructions that leave the result of `posix.system("touch CANARY")`."""
    return name(module, attribute) + text(f"touch {canary}") + b"\x85R"


def under(key: str, value: bytes, proto: int = 2) -> bytes:
    """A pickle of {key: value}."""
    return b"\x80" + bytes([proto]) + b"}" + text(key) + value + b"s."


def storage(function: bytes, rest: bytes = b"") -> bytes:
    """A call of a rebuild function with a storage, sizes, and `rest`."""
    reference = (
        b"("
        + text("storage")
        + name("torch", "FloatStorage")
        + text("0")
        + text("cpu")
        + b"K\x01tQ"
    )
    return function + b"(" + reference + b"K\x00K\x01\x85K\x01\x85" + rest + b"tR"


def evil_arguments(canary: Path) -> bytes:
    return b"(" + text(f"touch {canary}") + b"t"


def disguises(canary: Path) -> Iterator[tuple[str, bytes, str]]:
    """Yield a name, a pickle, and the global that a refusal must name."""
    call, system = run(canary), name("posix", "system")
    touch = text(f"touch {canary}")
    utils = "torch._utils"
    yield "plain", b"\x80\x02" + call + b".", "posix.system"
    yield (
        "in the optimiser",
        under("optimizer", b"}" + text("state") + b"}K\x00" + call + b"ss"),
        ("posix.system"),
    )
    yield "in a list", under("x", b"](" + call + b"e"), "posix.system"
    yield "as a key", b"\x80\x02}" + call + b"K\x01s.", "posix.system"
    factory = name("collections", "defaultdict")
    yield "factory", under("x", factory + system + b"\x85R"), "posix.system"
    yield (
        "foreign factory",
        under("x", factory + name("evil", "make") + b"\x85R"),
        "evil.make",
    )
    partial = name("functools", "partial") + system + touch + b"\x86R"
    yield "partial factory", under("x", factory + partial + b"\x85R"), "functools.partial"
    for core in ("core", "_core"):
        rebuild = name(f"numpy.{core}.multiarray", "_reconstruct")
        subtype = rebuild + name("numpy", "memmap") + b"K\x00\x85C\x01b\x87R"
        yield f"array subtype {core}", under("x", subtype, 4), "numpy.memmap"
        other = rebuild + name("evil", "Array") + b"K\x00\x85C\x01b\x87R"
        yield f"array of another class {core}", under("x", other, 4), "evil.Array"
    state = b"(K\x01K\x01\x85" + name("numpy", "dtype") + text("O8") + b"\x85R\x89](" + call + b"et"
    empty = name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray")
    array = empty + b"K\x00\x85C\x01b\x87R" + state + b"b"
    yield "object array", under("x", array, 4), "posix.system"
    yield "dtype of a name", under("x", name("numpy", "dtype") + system + b"\x85R"), "posix.system"
    dtype = name("numpy", "dtype") + name("evil", "Type") + b"\x85R"
    yield "dtype of a foreign name", under("x", dtype), "evil.Type"
    hooks = b"\x89" + name("collections", "OrderedDict") + b")RK\x00" + system + b"s"
    yield "hooks", under("w", storage(name(utils, "_rebuild_tensor_v2"), hooks)), "posix.system"
    hooks = b"\x89}K\x00" + name("evil", "hook") + b"s"
    yield "foreign hook", under("w", storage(name(utils, "_rebuild_tensor_v2"), hooks)), "evil.hook"
    parameter = name(utils, "_rebuild_parameter") + name("evil", "x") + b"\x88N\x87R"
    yield "parameter of a name", under("w", parameter), "evil.x"
    wrapped = name(utils, "_rebuild_wrapper_subclass") + b"(" + name("evil", "T") + b"NNNNNNtR"
    yield "wrapper subclass", under("w", wrapped), "torch._utils._rebuild_wrapper_subclass"
    moved = name(utils, "_rebuild_device_tensor_from_numpy") + b"(" + name("evil", "array")
    moved += name("torch", "float32") + text("cpu") + b"\x89tR"
    yield "device tensor", under("w", moved), "evil.array"
    retyped = name("torch._tensor", "_rebuild_from_type_v2") + b"("
    subclass = retyped + name("evil", "build") + name("torch", "Tensor") + b")}tR"
    yield "rebuild from type", under("w", subclass), "evil.build"
    yield (
        "memo",
        b"\x80\x02" + system + b"q\x00" + touch + b"q\x010h\x00h\x01\x85R.",
        "posix.system",
    )
    late = b"\x80\x02}" + text("a") + name("evil", "x") + b"q\x07s" + text("b") + b"h\x07" + touch
    yield "memo of a foreign name", late + b"\x85Rs.", "evil.x"
    stacked = text("posix") + text("system") + b"\x93" + touch + b"\x85R"
    yield "stack global", under("x", stacked, 4), "posix.system"
    dotted = text("pathlib") + text("os.system") + b"\x93" + touch + b"\x85R"
    yield "dotted attribute", under("x", dotted, 4), "pathlib.os.system"
    computed = text("posix") + name("builtins", "str") + text("system") + b"\x85R\x93" + touch
    yield "computed name", under("x", computed + b"\x85R", 4), "builtins.str"
    yield "inst", b"\x80\x02(" + touch + b"iposix\nsystem\n.", "posix.system"
    yield "obj", b"\x80\x02(" + system + touch + b"o.", "posix.system"
    yield "foreign inst", b"\x80\x02(" + touch + b"ievil\nrun\n.", "evil.run"
    yield "extension", b"\x80\x02\x82\x01" + touch + b"\x85R.", "copyreg extension"
    yield (
        "new object",
        b"\x80\x02" + name("subprocess", "Popen") + touch + b"\x85\x81.",
        ("subprocess.Popen"),
    )
    keyed = name("subprocess", "Popen") + b"(t}" + text("args") + touch + b"s\x92."
    yield "new object with keywords", b"\x80\x04" + keyed, "subprocess.Popen"
    namespace = name("argparse", "Namespace") + b")\x81}"
    for word in ("__setstate__", "__class__", "__reduce__", "__getattr__", "__dict__"):
        yield f"state {word}", under("a", namespace + text(word) + system + b"sb"), "posix.system"
    slots = name("argparse", "Namespace") + b")\x81N}" + text("__call__") + system + b"s\x86b"
    yield "slots", under("a", slots), "posix.system"
    function = name("torch._utils", "_rebuild_tensor_v2")
    changed = function + b"N}" + text("__code__") + b"K\x01s\x86b"
    yield "state of a function", under("a", changed), "torch._utils._rebuild_tensor_v2"
    yield "attributes of a name", under("a", name("evil", "x") + b"}b"), "evil.x"
    yield "attributes of a type", under("a", name("builtins", "dict") + b"}b"), "builtins.dict"
    yield (
        "a stand-in that is called",
        under("a", name("evil", "Runner") + b")\x81" + touch + b"\x85R"),
        "evil.Runner",
    )
    build = name("copyreg", "_reconstructor") + name("evil", "X") + name("evil", "Base") + b"N\x87R"
    yield "reconstructor of a base", under("a", build), "evil.Base"
    build = name("copy_reg", "_reconstructor") + system + name("builtins", "object")
    yield "reconstructor", under("a", build + touch + b"\x87R"), "posix.system"
    made = name("copyreg", "__newobj__") + name("subprocess", "Popen") + touch + b"\x86R"
    yield "newobj by name", under("a", made), "subprocess.Popen"
    yield "partial", under("a", partial), "functools.partial"
    getter = name("builtins", "getattr") + name("argparse", "Namespace") + text("x") + b"\x86R"
    yield "getattr", under("a", getter), "builtins.getattr"
    getter = name("__builtin__", "getattr") + b"}" + text("x") + b"\x86R"
    yield "getattr of Python 2", under("a", getter), "builtins.getattr"
    getter = name("operator", "attrgetter") + text("__class__") + b"\x85R"
    yield "attrgetter", under("a", getter), "operator.attrgetter"
    for function in ("eval", "exec", "__import__", "compile", "open", "type", "map", "print"):
        yield (
            function,
            under("a", name("builtins", function) + touch + b"\x85R"),
            (f"builtins.{function}"),
        )
    for module, function in (
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.jit", "load"),
        ("torch.utils.cpp_extension", "load"),
        ("torch.serialization", "load"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("runpy", "run_path"),
        ("importlib", "import_module"),
        ("pickle", "loads"),
        ("webbrowser", "open"),
        ("ctypes", "CDLL"),
        ("pty", "spawn"),
        ("timeit", "timeit"),
        ("shutil", "rmtree"),
    ):
        yield (
            f"{module}.{function}",
            under("a", name(module, function) + touch + b"\x85R"),
            (f"{module}.{function}"),
        )
    yield (
        "nn function",
        under("a", name("torch.nn.functional", "relu") + touch + b"\x85R"),
        ("torch.nn.functional.relu"),
    )
    yield (
        "path of a callable",
        under("a", name("pathlib", "PosixPath") + system + b"\x85R"),
        ("posix.system"),
    )
    yield (
        "path of a foreign name",
        under("a", name("pathlib", "PosixPath") + name("evil", "x") + b"\x85R"),
        "evil.x",
    )
    yield (
        "path's method",
        under("a", name("pathlib", "Path.touch") + touch + b"\x85R"),
        ("pathlib.Path.touch"),
    )
    decode = name("_codecs", "encode") + touch + text("rot13") + b"\x86R"
    yield "a codec that imports", under("a", decode), "_codecs.encode"
    nested = b"\x80\x02" + call + b"."
    held = b"B" + struct.pack("<I", len(nested)) + nested
    loads = name("torch.storage", "_load_from_bytes") + held + b"\x85R"
    yield "a torch file in bytes", under("a", loads), "posix.system"


def as_zip(path: Path, pickled: bytes, *more: tuple[str, bytes]) -> Path:
    entries = [("archive/data.pkl", pickled), ("archive/version", b"3"), *more]
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
        archive.writestr("archive/data/0", bytes(4))
    return path


def as_legacy(path: Path, pickled: bytes) -> Path:
    path.write_bytes(MAGIC + VERSION + MACHINE + pickled + pickle.dumps([], 2))
    return path


def as_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def tar_of(state: dict[str, torch.Tensor], pickled: bytes | None = None) -> dict[str, bytes]:
    """Members of torch's first format, which no torch writes any more."""
    storages, tensors = [pickle.dumps(len(state), 2)], [pickle.dumps(len(state), 2)]
    for number, tensor in enumerate(state.values()):
        flat = tensor.contiguous().flatten()
        kind = torch.FloatStorage if tensor.dtype == torch.float32 else torch.LongStorage
        storages += [pickle.dumps((100 + number, "cpu", kind), 2)]
        storages += [struct.pack("<q", flat.numel()), flat.numpy().tobytes()]
        tensors += [pickle.dumps((number, 100 + number, kind), 2)]
        shape, strides = tuple(tensor.shape), tensor.contiguous().stride()
        tensors += [struct.pack("<i4x", len(shape))]
        tensors += [struct.pack(f"<{2 * len(shape) + 1}q", *shape, *strides, 0)]
    storages += [pickle.dumps([], 2)]
    if pickled is None:
        entries = b"".join(
            text(key) + b"K" + bytes([n]) + b"Qs"
            if n < 256
            else text(key) + b"M" + struct.pack("<H", n) + b"Qs"
            for n, key in enumerate(state)
        )
        pickled = b"\x80\x02}" + entries + b"."
    return {"storages": b"".join(storages), "tensors": b"".join(tensors), "pickle": pickled}
