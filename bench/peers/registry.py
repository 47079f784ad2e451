"""The peers of registry.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import Environment

from fca_edge.runtimes import Runtime
from fca_edge.strict import Reader, read_tables
from fca_edge.targets.provision.machines import wheels
from fca_edge.targets.provision.wheels import Wheels

FILE = Path(__file__).with_name("registry.toml")


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


def read_environments(table: Reader) -> dict[str, Environment]:
    """Read environments; one stands behind that which it is based on."""
    environments: dict[str, Environment] = {}
    for name in list(table.content):
        one = table.table(name)
        base = environments.get(one.text("base", environments))
        environments[name] = Environment(name, one.texts("requirements"), base, one.text("version"))
        one.end()
    return environments


def read_runtimes(table: Reader, environments: dict[str, Environment]) -> dict[str, dict[str, Any]]:
    """Read the fields of peers that depend on their runtime."""
    runtimes = {}
    for name in list(table.content):
        one = table.table(name)
        arm = one.table("arm") or Reader(one.path, {})
        lists = {machine: arm.texts(machine) for machine in ("aarch64", "armv7l")}
        runtimes[name] = {
            "runtime": Runtime(name, one.text("suffix"), one.text("module")),
            "needs": one.texts("needs"),
            "runner": environments.get(one.text("runner", environments)),
            "arm": {m: wheels(f"peers-{name}-{m}", m, *some) for m, some in lists.items() if some},
        }
        arm.end()
        one.end()
    return runtimes


def read_peers(path: Path) -> tuple[Peer, ...]:
    """Read the registry.

    Raises:
        FcaEdgeError: says in which place what cannot be meant.
    """
    reader = read_tables(path)
    environments = read_environments(reader.table("environments"))
    runtimes = read_runtimes(reader.table("runtimes"), environments)
    peers: list[Peer] = []
    for one in reader.tables("peers"):
        peer = Peer(
            name=one.text("name"),
            title=one.text("title"),
            converter=environments[one.text("converter", environments)],
            tools=one.texts("tools"),
            layout=one.text("layout", ("nchw", "nhwc")) or "nchw",
            source=one.text("source", [peer.name for peer in peers]),
            precision=one.text("precision") or "fp32",
            **runtimes[one.text("runtime", runtimes)],
        )
        one.end()
        peers.append(peer)
    reader.end()
    return tuple(peers)


PEERS = read_peers(FILE)
BY_NAME = {peer.name: peer for peer in PEERS}
