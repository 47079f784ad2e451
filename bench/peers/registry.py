"""The peers of registry.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from environment import Environment

from fca_edge.documents import Check, Name, read_table, words
from fca_edge.errors import FcaEdgeError, nearest
from fca_edge.runtimes import Runtime
from fca_edge.targets.provision.machines import wheels
from fca_edge.targets.provision.wheels import Wheels

FILE = Path(__file__).with_name("registry.toml")
Texts = Annotated[tuple[str, ...], Check(words())]


@dataclass(frozen=True)
class Peer:
    """One way from the network to an inference that is not ours.

    Attributes:
        converter: environment in which convert.py writes the file.
        tools: packages that the export needs; what they depend on is found.
        runtime: as the agent knows it; parts beside its file have the same stem.
        needs: packages that running needs.
        runner: environment of the runtime; None is the measuring interpreter, as for our files.
        source: the peer whose file the conversion starts from.
        arm: wheels by machine for emulated ARM; without them the machine's own are taken.
    """

    name: str
    title: str
    converter: Environment
    tools: tuple[str, ...]
    runtime: Runtime
    needs: tuple[str, ...]
    runner: Environment | None
    layout: str
    source: str | None
    precision: str
    arm: dict[str, Wheels]


@dataclass(frozen=True)
class EnvironmentTable:
    """An environment; `base` stands before it in the file."""

    base: str | None = None
    requirements: Texts = ()
    version: str | None = None


@dataclass(frozen=True)
class ArmTable:
    """Wheels by the machines that they are for."""

    aarch64: Texts = ()
    armv7l: Texts = ()


@dataclass(frozen=True)
class RuntimeTable:
    """What a runtime's files are called, and what running them needs."""

    suffix: Name
    module: Name
    needs: Texts = ()
    runner: str | None = None
    arm: ArmTable = ArmTable()


@dataclass(frozen=True)
class PeerTable:
    """A peer, as `Peer` has it."""

    name: Name
    title: Name
    converter: str
    runtime: str
    tools: Texts = ()
    layout: Literal["nchw", "nhwc"] = "nchw"
    source: str | None = None
    precision: str = "fp32"


@dataclass(frozen=True)
class Registry:
    """The whole file."""

    environments: dict[str, EnvironmentTable]
    runtimes: dict[str, RuntimeTable]
    peers: tuple[PeerTable, ...]


def arm_wheels(name: str, table: ArmTable) -> dict[str, Wheels]:
    """Read wheels by the machines that they are for."""
    return {
        machine: wheels(f"peers-{name}-{machine}", machine, *requirements)
        for machine, requirements in vars(table).items()
        if requirements
    }


def read_peers(path: Path) -> tuple[Peer, ...]:
    """Read the registry.

    Raises:
        FcaEdgeError: says in which place what cannot be meant.
    """
    registry = read_table(path, Registry)
    environments: dict[str, Environment] = {}
    for name, one in registry.environments.items():
        base = find(environments, one.base, f"environments.{name}.base")
        environments[name] = Environment(name, one.requirements, base, one.version)
    peers: dict[str, Peer] = {}
    for number, peer in enumerate(registry.peers, 1):
        place = f"peers {number}"
        runtime = find(registry.runtimes, peer.runtime, f"{place}.runtime")
        find(peers, peer.source, f"{place}.source")
        peers[peer.name] = Peer(
            name=peer.name,
            title=peer.title,
            converter=find(environments, peer.converter, f"{place}.converter"),
            tools=peer.tools,
            runtime=Runtime(peer.runtime, runtime.suffix, runtime.module),
            needs=runtime.needs,
            runner=find(environments, runtime.runner, f"runtimes.{peer.runtime}.runner"),
            layout=peer.layout,
            source=peer.source,
            precision=peer.precision,
            arm=arm_wheels(peer.runtime, runtime.arm),
        )
    return tuple(peers.values())


def find(entries: dict[str, Any], name: str | None, place: str) -> Any:
    """Return what a name stands for, None where there is no name.

    Raises:
        FcaEdgeError: nothing before it has that name.
    """
    if name is not None and name not in entries:
        raise FcaEdgeError(f"{FILE}: {place} = {name!r} is unknown.{nearest(name, entries)}")
    return None if name is None else entries[name]


PEERS = read_peers(FILE)
BY_NAME = {peer.name: peer for peer in PEERS}
