"""A pickle machine that can only build inert values.

Python's own unpicklers import what a file names, and call it. This one imports nothing: a
name stays a name, an object stays a stand-in, and the few calls that yield tensors or
containers stand in an explicit table (`allowed.py`). All protocols, 0 to 5.
"""

from __future__ import annotations

import pickletools
import struct
import warnings
from collections.abc import Callable
from typing import IO, Any

from fca_edge.checkpoint.allowed import call, new_object, write_name
from fca_edge.checkpoint.values import Damaged, Forbidden, Name, StandIn, StoredTensor, clean

NEWEST_PROTOCOL = 5
# Each instruction can cost memory that the file does not have; real checkpoints need
# some ten thousand.
MOST_INSTRUCTIONS = 5_000_000
SCALARS = (str, int, float, bytes, type(None))

Persistent = Callable[[Any], Any]
FAULTS = (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error)


def no_storage(reference: Any) -> Any:
    """Refuse references to storages, in a pickle that has none."""
    raise Damaged(f"it refers to a storage ({clean(reference)}) that the file does not have")


def read_pickle(file: IO[bytes], persistent: Persistent = no_storage) -> Any:
    """Read one pickle; the file is left behind its end.

    Raises:
        Forbidden: it asks for something that is not in the table.
        Damaged: it is no whole pickle.
    """
    machine = Machine(persistent)
    try:
        return machine.run(file)
    except FAULTS as error:
        reason = clean(str(error) or type(error).__name__)
        raise Damaged(f"its pickle is cut or damaged: {reason}") from None
    except (MemoryError, RecursionError) as error:
        raise Damaged(f"its pickle wants too much ({type(error).__name__})") from None


class Machine:
    """Stack, marks and memo of a pickle."""

    def __init__(self, persistent: Persistent) -> None:
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        """Do one instruction after the other; returns what is left on top."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in texts of protocol 0
            for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if number > MOST_INSTRUCTIONS:
                    raise Damaged(f"its pickle has more than {MOST_INSTRUCTIONS} instructions")
                action = ACTIONS.get(opcode.name)
                if action is None:
                    self.push(argument)
                else:
                    action(self, argument)
        return self.stack.pop()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """Return what was pushed since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def refuse_extension(self, argument: Any) -> None:
        """Refuse a code of copyreg's registry: it stands for any callable."""
        raise Forbidden(f"copyreg extension {argument}")

    def refuse_buffer(self, argument: Any) -> None:
        """Refuse buffers that are not in the file."""
        raise Damaged("its pickle wants buffers that are not in the file")

    def ignore(self, argument: Any) -> None:
        """Skip what only matters to other readers."""

    def on_protocol(self, number: int) -> None:
        if number > NEWEST_PROTOCOL:
            raise Damaged(f"its pickle says protocol {number}; {NEWEST_PROTOCOL} is the newest")

    def on_pop_mark(self, argument: Any) -> None:
        self.pop_mark()

    def on_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push(write_name(module, name))

    def on_stack_global(self, argument: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise Damaged("its pickle names a global by something that is no text")
        self.push(write_name(module, name))

    def on_reduce(self, argument: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.push(call(function, arguments))

    def on_new_object(self, argument: Any) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        self.push(new_object(kind, arguments))

    def on_new_object_ex(self, argument: Any) -> None:
        named, arguments, kind = (self.stack.pop() for _ in range(3))
        self.push(new_object(kind, (*arguments, *named.values())))

    def on_instance(self, argument: str) -> None:
        arguments = tuple(self.pop_mark())
        module, _, name = argument.partition(" ")
        self.push(call(write_name(module, name), arguments))

    def on_object(self, argument: Any) -> None:
        kind, *arguments = self.pop_mark()
        self.push(call(kind, tuple(arguments)))

    def on_pop(self, argument: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def on_build(self, argument: Any) -> None:
        state = self.stack.pop()
        build(self.stack[-1], state)

    def on_append(self, argument: Any) -> None:
        item = self.stack.pop()
        add_items(self.stack[-1], [item])

    def on_append_many(self, argument: Any) -> None:
        items = self.pop_mark()
        add_items(self.stack[-1], items)

    def on_set_item(self, argument: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        set_items(self.stack[-1], [key, value])

    def on_set_items(self, argument: Any) -> None:
        items = self.pop_mark()
        set_items(self.stack[-1], items)

    def on_dict(self, argument: Any) -> None:
        entries: dict[Any, Any] = {}
        set_items(entries, self.pop_mark())
        self.push(entries)

    def on_tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise Damaged("its pickle takes more than there is")
        items = self.stack[-count:]
        self.stack[-count:] = [tuple(items)]

    def on_memoize(self, argument: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]


def usable_key(key: Any) -> Any:
    """Return a key whose hash is cheap; others can name no weights and are replaced."""
    if isinstance(key, (*SCALARS, Name, StandIn, StoredTensor)):
        return key
    if isinstance(key, tuple) and all(isinstance(item, SCALARS) for item in key):
        return key
    return StandIn(f"a key of {type(key).__name__}")


def set_items(target: Any, items: list[Any]) -> None:
    """Put alternating keys and values into a mapping or a stand-in."""
    if len(items) % 2:
        raise Damaged("its pickle has a key without a value")
    entries = target.state if isinstance(target, StandIn) else target
    if not isinstance(entries, dict):
        raise Damaged(f"its pickle puts entries into a {type(target).__name__}")
    for key, value in zip(items[::2], items[1::2]):
        entries[usable_key(key)] = value


def add_items(target: Any, items: list[Any]) -> None:
    """Append to a list, or to a stand-in of a list or a set."""
    elements = target.parts if isinstance(target, StandIn) else target
    if not isinstance(elements, list):
        raise Damaged(f"its pickle appends to a {type(target).__name__}")
    elements.extend(items)


def build(target: Any, state: Any) -> None:
    """Give a stand-in its attributes; what else has some (a state dict's `_metadata`) drops them.

    `__setstate__`, `__class__` and the like are words here: nothing is set on a real object.
    """
    if isinstance(target, Name):
        raise Forbidden(target.text)
    if isinstance(target, StandIn):
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if isinstance(part, dict):
                target.state.update(part)
            elif part is not None:
                target.parts.append(part)
    elif not isinstance(target, dict | list | StoredTensor):
        raise Damaged(f"its pickle gives attributes to a {type(target).__name__}")


# What is not here pushes its argument: texts, bytes and numbers.
ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("FRAME", "STOP"), Machine.ignore),
    "PROTO": Machine.on_protocol,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Machine.refuse_extension),
    **dict.fromkeys(("NEXT_BUFFER", "READONLY_BUFFER"), Machine.refuse_buffer),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine.on_put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, n: m.push(m.memo[n])),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), Machine.on_append_many),
    "MARK": lambda m, _: m.mark(),
    "POP_MARK": Machine.on_pop_mark,
    "POP": Machine.on_pop,
    "DUP": lambda m, _: m.push(m.stack[-1]),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_SET": lambda m, _: m.push(StandIn("builtins.set")),
    "FROZENSET": lambda m, _: m.push(StandIn("builtins.frozenset", m.pop_mark())),
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: m.on_tuple(1),
    "TUPLE2": lambda m, _: m.on_tuple(2),
    "TUPLE3": lambda m, _: m.on_tuple(3),
    "DICT": Machine.on_dict,
    "MEMOIZE": Machine.on_memoize,
    "GLOBAL": Machine.on_global,
    "STACK_GLOBAL": Machine.on_stack_global,
    "REDUCE": Machine.on_reduce,
    "NEWOBJ": Machine.on_new_object,
    "NEWOBJ_EX": Machine.on_new_object_ex,
    "INST": Machine.on_instance,
    "OBJ": Machine.on_object,
    "BUILD": Machine.on_build,
    "APPEND": Machine.on_append,
    "SETITEM": Machine.on_set_item,
    "SETITEMS": Machine.on_set_items,
    "PERSID": lambda m, reference: m.push(m.persistent(reference)),
    "BINPERSID": lambda m, _: m.push(m.persistent(m.stack.pop())),
}
