"""The table of what a checkpoint's pickle may name and call, and what comes of it.

Nothing here is looked up by a name from a file: each entry is a function of this package.
Values that no figure depends on (paths, dates, NumPy scalars) become stand-ins, so that
even their constructors do not run.
"""

from __future__ import annotations

import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any

from fca_edge.checkpoint.tensors import DTYPES, REBUILDS, STORAGES, TENSOR_TYPES
from fca_edge.checkpoint.values import Damaged, Forbidden, Name, StandIn, StoredTensor

FACTORIES = {f"builtins.{n}" for n in ("int", "list", "dict", "float", "set", "str", "bool")}
# Types that may stand anywhere as a value.
TYPES = {
    *FACTORIES,
    *(f"builtins.{n}" for n in ("bytes", "bytearray", "tuple", "frozenset", "complex")),
    *("builtins.object", "builtins.Ellipsis", "typing.Any", "collections.abc.Mapping"),
    *(f"numpy.{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("numpy.float16", "numpy.float32", "numpy.float64", "numpy.bool_", "numpy.bool"),
    *("numpy.ndarray", "numpy.complex64", "numpy.complex128", "numpy.str_"),
    *(f"torch.per_{kind}_affine" for kind in ("tensor", "channel")),
    *("torch.per_channel_affine_float_qparams", "torch.per_tensor_symmetric"),
    *TENSOR_TYPES,
}
# Classes whose objects can do nothing.
INERT = {
    *(f"builtins.{n}" for n in ("set", "frozenset", "bytearray", "bytes", "complex", "object")),
    *("builtins.range", "builtins.slice"),
    *("collections.deque", "argparse.Namespace", "types.SimpleNamespace"),
    *(f"datetime.{n}" for n in ("datetime", "date", "time", "timedelta", "timezone")),
    *(
        f"pathlib{inner}.{kind}"
        for inner in ("", "._local")
        for family in ("", "Posix", "Windows")
        for kind in (f"{family}Path", f"Pure{family}Path")
    ),
    *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "uuid.SafeUUID", "zoneinfo.ZoneInfo"),
    *("numpy.dtype", "torch.Size", "torch.device", "torch.torch_version.TorchVersion"),
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
}
# Modules of torch whose classes and functions hyper-parameters and whole models name.
# They are not imported, and none of them may be called.
NAMED_ONLY = ("torch.nn.", "torch.optim.", "torch._C._nn.")
ZONE = "zoneinfo.ZoneInfo._unpickle"
STANDARD = {*sys.stdlib_module_names, "__builtin__", "torch", "numpy"}

Call = Callable[[tuple[Any, ...]], Any]


def write_name(module: str, name: str) -> Name:
    """Return a global as a name, under its module's present one.

    Raises:
        Forbidden: a function or a class of Python, torch or NumPy that is not in the table.
            Names of other packages stay names, which nobody can call.
    """
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    text = f"{module}.{name}"
    known = text in CALLS or text in TYPES or text in DTYPES or text in STORAGES
    if not known and module.partition(".")[0] in STANDARD and not text.startswith(NAMED_ONLY):
        raise Forbidden(text)
    return Name(text)


def call(function: Any, arguments: Any) -> Any:
    """Do what a pickle's call stands for.

    Raises:
        Forbidden: what it calls is not in the table.
    """
    if not isinstance(function, Name):
        raise Forbidden(function.name if isinstance(function, StandIn) else str(type(function)))
    if not isinstance(arguments, tuple):
        raise Damaged("its pickle calls with something that is no tuple")
    handler = CALLS.get(function.text)
    if handler is not None:
        return handler(arguments)
    standard = function.text.partition(".")[0] in STANDARD
    if arguments or (standard and not function.text.startswith("torch.nn.modules.")):
        raise Forbidden(function.text)
    return StandIn(function.text)


def new_object(kind: Any, arguments: Any) -> Any:
    """Make the stand-in of an object whose class is not called but only instantiated."""
    if not isinstance(kind, Name) or kind.text in CALLS or not isinstance(arguments, tuple):
        return call(kind, arguments)
    return StandIn(kind.text, list(arguments))


def inert(name: str) -> Call:
    """Return the maker of stand-ins of one class."""

    def make(arguments: tuple[Any, ...]) -> StandIn:
        refuse_names(arguments)
        return StandIn(name, list(arguments))

    return make


def refuse_names(arguments: tuple[Any, ...]) -> None:
    """Refuse names of other packages as arguments: a path of a function is no path."""
    for value in arguments:
        if isinstance(value, Name) and value.text not in TYPES:
            raise Forbidden(value.text)


def mapping(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Make the dict of a mapping: from nothing, another mapping, or pairs."""
    from fca_edge.checkpoint.unpickle import set_items

    entries: dict[Any, Any] = {}
    for argument in arguments:
        if isinstance(argument, dict):
            entries.update(argument)
        elif isinstance(argument, list | tuple):
            set_items(entries, [item for key, value in argument for item in (key, value)])
        else:
            raise Damaged(f"its pickle makes a mapping of a {type(argument).__name__}")
    return entries


def default_mapping(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """Make the dict of a defaultdict whose factory is a plain type."""
    for factory in arguments[:1]:
        if isinstance(factory, Name) and factory.text not in FACTORIES:
            raise Forbidden(factory.text)
        if factory is not None and not isinstance(factory, Name):
            raise Forbidden("collections.defaultdict with a factory that is no plain type")
    return mapping(arguments[1:])


def encode_text(arguments: tuple[Any, ...]) -> bytes:
    """Return the bytes that protocol 2 stores as text."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Forbidden("_codecs.encode")
    return text.encode("latin-1")


def reconstruct(arguments: tuple[Any, ...]) -> Any:
    """Make the object of a class that protocols 0 and 1 rebuild from a plain base."""
    kind, base, state = arguments
    for name in (kind, base):
        if not isinstance(name, Name):
            raise Forbidden("copyreg._reconstructor")
    if base.text not in TYPES or not base.text.startswith("builtins."):
        raise Forbidden(base.text)
    instance = new_object(kind, ())
    if isinstance(instance, StandIn) and isinstance(state, dict):
        instance.state.update(state)
    elif isinstance(instance, StandIn) and isinstance(state, list | tuple):
        instance.parts.extend(state)
    return instance


def empty_array(arguments: tuple[Any, ...]) -> StandIn:
    """Make a NumPy array that waits for its contents; of no other class than ndarray."""
    kind = arguments[0]
    if not isinstance(kind, Name) or kind.text != "numpy.ndarray":
        raise Forbidden(kind.text if isinstance(kind, Name) else "numpy._core._reconstruct")
    refuse_names(arguments[1:])
    return StandIn("numpy.ndarray")


def retype(arguments: tuple[Any, ...]) -> Any:
    """Rebuild a tensor of a subclass as the tensor that it is (`_rebuild_from_type_v2`)."""
    function, kind, inner, _ = arguments
    for name, known in ((function, REBUILDS), (kind, TENSOR_TYPES)):
        if not isinstance(name, Name) or name.text not in known:
            raise Forbidden(name.text if isinstance(name, Name) else str(type(name)))
    return call(function, inner)


def same(arguments: tuple[Any, ...]) -> Any:
    """Return the first argument: TorchScript marks lists with their type so."""
    refuse_names(arguments)
    return arguments[0]


def parameter(arguments: tuple[Any, ...]) -> Any:
    """Return the tensor of a parameter."""
    if not arguments or not isinstance(arguments[0], StoredTensor):
        raise Forbidden("torch.nn.parameter.Parameter of something that is no tensor")
    refuse_names(arguments)
    return arguments[0]


def attribute(arguments: tuple[Any, ...]) -> Name:
    """Name the one method that a pickle may take from a class: a time zone is stored so."""
    kind = arguments[0] if arguments else None
    zone = isinstance(kind, Name) and kind.text == "zoneinfo.ZoneInfo"
    if not zone or arguments[1:] != ("_unpickle",):
        raise Forbidden("builtins.getattr")
    return Name(ZONE)


CALLS: dict[str, Call] = {
    **{name: inert(name) for name in INERT},
    **REBUILDS,
    **dict.fromkeys(("builtins.dict", "collections.OrderedDict", "collections.Counter"), mapping),
    **dict.fromkeys(
        ("torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.nn.Parameter"),
        parameter,
    ),
    **{f"torch.jit._pickle.build_{kind}list": same for kind in ("int", "double", "bool", "tensor")},
    **{f"numpy.{core}.multiarray._reconstruct": empty_array for core in ("core", "_core")},
    "torch.jit._pickle.restore_type_tag": same,
    "torch.serialization._get_layout": same,
    "torch._tensor._rebuild_from_type_v2": retype,
    "collections.defaultdict": default_mapping,
    "_codecs.encode": encode_text,
    "builtins.getattr": attribute,
    ZONE: inert("zoneinfo.ZoneInfo"),
    "copyreg._reconstructor": reconstruct,
    "copyreg.__newobj__": lambda arguments: new_object(arguments[0], arguments[1:]),
    "copyreg.__newobj_ex__": lambda arguments: new_object(arguments[0], tuple(arguments[1])),
}
