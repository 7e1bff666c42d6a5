# SPDX-License-Identifier: Apache-2.0
"""``isthmus show``: the cloud as a tree, by hosts or by networks, or one host, network or port."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect
from isthmus.cli.terminal import BAD, say
from isthmus.errors import NotFound

topology = typer.Typer()

Told = Mapping[str, Any]


class By(enum.StrEnum):
    """What stands at the roots."""

    HOSTS = "hosts"
    NETWORKS = "networks"


class Node(NamedTuple):
    """A line of the tree. `name` and `addresses` are what it can be asked for by."""

    name: str
    text: str
    below: tuple[Node, ...] = ()
    is_bad: bool = False
    addresses: tuple[str, ...] = ()


class Cloud(NamedTuple):
    """What the API says: `/isthmus/status`, and two collections."""

    hosts: Sequence[Told]
    interfaces: Sequence[Told]
    networks: Sequence[Told]


@topology.command()
def show(
    names: Annotated[
        list[str] | None, typer.Argument(help="Hosts, virtual networks or ports; all unless given.")
    ] = None,
    by: Annotated[By, typer.Option(help="What stands at the roots.")] = By.HOSTS,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Hosts, their tunnels and ports; or virtual networks, their subnets and ports; as a tree."""
    from isthmus.cli import shown

    with connect(url, user) as client:
        cloud = Cloud(
            client.status()["hosts"],
            client.get("/networkInterfaces")["value"],
            client.get("/virtualNetworks")["value"],
        )
    trees = [*(by_hosts(cloud) if by is By.HOSTS else by_networks(cloud))]
    if names:
        everything = [*by_hosts(cloud), *by_networks(cloud)]
        trees = [found for name in names for found in named(everything, name)]
    if as_json:
        shown.print_json([_as_json(tree) for tree in trees])
    else:
        for line, is_bad in lines(trees):
            say(line, BAD if is_bad else "")


def by_hosts(cloud: Cloud) -> Iterator[Node]:
    """Each host with its tunnels and ports; last, the ports that are on none."""
    ports: dict[str, list[Node]] = defaultdict(list)
    for interface in cloud.interfaces:
        ports[_host_of(interface)].append(_port(interface))
    for host in cloud.hosts:
        below = (*_tunnels(host, cloud.hosts), *ports.pop(host["host"].lower(), ()))
        state = _state_of_host(host)
        text = "  ".join(
            (
                host["host"],
                state,
                ", ".join(host["providerAddresses"]),
                f"speaks {', '.join(host['encapsulations']) or 'nothing'}",
            )
        )
        yield Node(host["host"], text, below, state != "alive", tuple(host["providerAddresses"]))
    for name, left in sorted(ports.items()):
        yield Node(name, f"{name}  no server of this name" if name else "on no host", tuple(left))


def by_networks(cloud: Cloud) -> Iterator[Node]:
    """Each virtual network with its subnets, and each subnet with its ports."""
    ports: dict[str, list[Node]] = defaultdict(list)
    for interface in cloud.interfaces:
        for subnet in _subnets_of(interface):
            ports[subnet].append(_port(interface, where=True))
    for network in cloud.networks:
        properties = network["properties"]
        prefixes = ", ".join(properties.get("addressSpace", {}).get("addressPrefixes", ()))
        subnets = tuple(
            Node(
                subnet["resourceId"],
                f"{subnet['resourceId']}  {subnet['properties'].get('addressPrefix', '')}",
                tuple(ports.pop(subnet["resourceRef"].lower(), ())),
            )
            for subnet in properties.get("subnets", ())
        )
        yield Node(network["resourceId"], f"{network['resourceId']}  {prefixes}", subnets)
    left = {node.name: node for nodes in ports.values() for node in nodes}
    if left:
        yield Node("", "in no virtual network", tuple(left.values()))


def named(trees: Sequence[Node], name: str) -> list[Node]:
    """Every place of this name, whatever it is: a resource's may be its reference as well, and a
    port's one of its addresses. Raises NotFound."""
    wanted = name.rstrip("/").rpartition("/")[2].lower()
    found: dict[str, Node] = {}

    def look(nodes: Sequence[Node]) -> None:
        for node in nodes:
            if wanted == node.name.lower() or wanted in node.addresses:
                # A port stands below its host and below its subnet, and is shown once.
                found.setdefault(node.text if node.below else node.name, node)
            look(node.below)

    look(trees)
    if not found:
        raise NotFound(f"no host, virtual network, subnet or port is called {name}", target=name)
    return list(found.values())


def lines(trees: Sequence[Node]) -> Iterator[tuple[str, bool]]:
    """The text of trees, and of each line whether it is bad news."""
    for tree in trees:
        yield tree.text, tree.is_bad
        yield from _below(tree.below, "")


def _below(nodes: Sequence[Node], indent: str) -> Iterator[tuple[str, bool]]:
    for index, node in enumerate(nodes):
        last = index == len(nodes) - 1
        yield f"{indent}{'└─' if last else '├─'} {node.text}", node.is_bad
        yield from _below(node.below, f"{indent}{'   ' if last else '│  '}")


def _tunnels(host: Told, hosts: Sequence[Told]) -> Iterator[Node]:
    from isthmus.policy.placement import encapsulation

    for other in hosts:
        if other["host"] == host["host"] or not other["known"] or not host["known"]:
            continue
        name = encapsulation(host["encapsulations"], other["encapsulations"])
        how = f"by {name.upper()}" if name else "by nothing that both speak"
        addresses = ", ".join(other["providerAddresses"])
        silent = "" if other["alive"] else f"  {_state_of_host(other)}"
        text = f"tunnel to {other['host']}  {addresses}  {how}{silent}"
        yield Node("", text, is_bad=not name or not other["alive"])


def _port(interface: Told, *, where: bool = False) -> Node:
    properties = interface["properties"]
    configs = [one.get("properties", {}) for one in properties.get("ipConfigurations", ())]
    addresses = tuple(str(one.get("privateIPAddress", "")) for one in configs)
    state = properties.get("configurationState") or {}
    status = str(state.get("status", "not known"))
    details = state.get("detailedInfo") or [{}]
    why = "" if status == "Success" else f": {details[0].get('message', 'no host has said yet')}"
    place = _host_of(interface) or "on no host"
    words = [
        interface["resourceId"],
        ", ".join(addresses),
        str(properties.get("privateMacAddress", "")),
        place if where else ", ".join(_short(subnet) for subnet in _subnets_of(interface)),
        f"{status}{why}",
    ]
    return Node(
        interface["resourceId"],
        "  ".join(word for word in words if word),
        is_bad=status not in ("Success", "not known"),
        addresses=addresses,
    )


def _host_of(interface: Told) -> str:
    server = interface["properties"].get("server") or {}
    return str(server.get("resourceRef", "")).rpartition("/")[2].lower()


def _subnets_of(interface: Told) -> list[str]:
    found: dict[str, None] = {}
    for config in interface["properties"].get("ipConfigurations", ()):
        subnet = config.get("properties", {}).get("subnet") or {}
        found[str(subnet.get("resourceRef", "")).lower()] = None
    return [one for one in found if one]


def _short(reference: str) -> str:
    """``/virtualnetworks/v/subnets/s`` is ``v/s``."""
    return "/".join(reference.strip("/").split("/")[1::2])


def _state_of_host(host: Told) -> str:
    if not host["known"]:
        return "no server has this name"
    if host["ageSeconds"] is None:
        return "never seen"
    return "alive" if host["alive"] else f"silent for {host['ageSeconds']} s"


def _as_json(node: Node) -> dict[str, Any]:
    return {"name": node.name, "text": node.text, "below": [_as_json(one) for one in node.below]}
