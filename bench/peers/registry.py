"""The peers of registry.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from environment import Environment

from fca_edge.strict import Reader, read_tables
from fca_edge.targets.provision.machines import wheels
from fca_edge.targets.provision.wheels import Wheels

FILE = Path(__file__).with_name("registry.toml")
MACHINES = ("aarch64", "armv7l")


@dataclass(frozen=True)
class Peer:
    """One way from the network to an inference that is not ours.

    Attributes:
        title: as the table shows it.
        converter: environment in which convert.py writes the file.
        tools: packages that the export needs; what they depend on is found.
        suffix: of the file that is loaded; parts beside it have the same stem.
        runtime: the agent's name of the runtime.
        module: what the runtime's interpreter imports.
        needs: packages that running needs.
        runner: environment of the runtime; None is the measuring interpreter, as for our files.
        layout: of its input.
        source: the peer whose file the conversion starts from.
        arm: wheels for emulated ARM machines; where there are none the machine's own are taken.
    """

    name: str
    title: str
    converter: Environment
    tools: tuple[str, ...]
    suffix: str
    runtime: str
    module: str
    needs: tuple[str, ...]
    runner: Environment | None
    layout: str
    source: str | None
    precision: str
    arm: tuple[Wheels, ...]


def read_environments(table: Reader) -> dict[str, Environment]:
    """Read environments; one stands behind that which it is based on."""
    environments: dict[str, Environment] = {}
    for name in list(table.content):
        one = table.table(name)
        base = one.text("base", environments)
        requirements, version = one.texts("requirements"), one.text("version")
        one.end()
        environments[name] = Environment(name, requirements, environments.get(base), version)
    return environments


def arm_wheels(name: str, table: Reader | None) -> tuple[Wheels, ...]:
    """Read wheels by the machines that they are for."""
    lists = {} if table is None else {machine: table.texts(machine) for machine in MACHINES}
    return tuple(
        wheels(f"peers-{name}{'' if machine == 'aarch64' else '-32'}", machine, *requirements)
        for machine, requirements in lists.items()
        if requirements
    )


def read_peers(path: Path) -> tuple[Peer, ...]:
    """Read the registry.

    Raises:
        FcaEdgeError: says in which place what cannot be meant.
    """
    reader = read_tables(path)
    environments = read_environments(reader.table("environments"))
    runtimes = {}
    table = reader.table("runtimes")
    for name in list(table.content):
        one = table.table(name)
        runtimes[name] = {
            "suffix": one.text("suffix"),
            "module": one.text("module"),
            "needs": one.texts("needs"),
            "runner": environments.get(one.text("runner", environments)),
            "arm": arm_wheels(name, one.table("arm")),
        }
        one.end()
    peers: list[Peer] = []
    for one in reader.tables("peers"):
        name, runtime = one.text("name"), one.text("runtime", runtimes)
        peer = Peer(
            name=name,
            title=one.text("title"),
            converter=environments[one.text("converter", environments)],
            tools=one.texts("tools"),
            runtime=runtime,
            layout=one.text("layout", ("nchw", "nhwc")) or "nchw",
            source=one.text("source", [peer.name for peer in peers]),
            precision=one.text("precision") or "fp32",
            **runtimes[runtime],
        )
        one.end()
        peers.append(peer)
    reader.end()
    return tuple(peers)


PEERS = read_peers(FILE)
BY_NAME = {peer.name: peer for peer in PEERS}
