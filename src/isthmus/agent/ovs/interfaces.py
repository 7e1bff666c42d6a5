# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the interfaces of the integration bridge: pure.

An interface is a port by the name in its ``external_ids:iface-id``. One that names nothing, or what
is no port, passes nothing; of two that name one port only one is used. Open vSwitch shows none of
this as an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator

from isthmus.agent.ovs.database import Interface
from isthmus.policy.host_problems import CLOSED, NO_PORT, TWICE, HostProblem
from isthmus.wire.openflow_replies import PortConfig, PortDescription

MOST_NAMED = 10
"""Interfaces of one fault that are named; of more it is said how many there are."""


def problems(
    interfaces: Iterable[Interface],
    *,
    bridge: str,
    unknown: Collection[str],
    port_of: Callable[[str], str],
    used: Collection[int],
) -> list[HostProblem]:
    """`unknown` are names that no port has, in lower case; `port_of` gives the port that a name
    means; `used` are the OpenFlow ports that are taken for ports."""
    nameless: list[Interface] = []
    wrong: list[Interface] = []
    by_port: defaultdict[str, list[Interface]] = defaultdict(list)
    for interface in sorted(interfaces, key=lambda one: one.name):
        if interface.name == bridge or "isthmus" in interface.external_ids:
            continue
        name = interface.external_ids.get("iface-id", "").lower()
        if not name:
            nameless.append(interface)
        elif name in unknown:
            wrong.append(interface)
        else:
            by_port[port_of(name)].append(interface)
    return [
        *_limited([_nameless(one) for one in nameless], "interfaces name no port"),
        *_limited([_unknown(one) for one in wrong], "interfaces name what is no port"),
        *_limited(
            [_twice(port, named, bridge, used) for port, named in by_port.items() if named[1:]],
            "ports are named by several interfaces",
        ),
    ]


def closed(
    interfaces: Iterable[Interface],
    described: Iterable[PortDescription],
    *,
    bridge: str,
    port_of: Callable[[str], str],
) -> list[HostProblem]:
    """Interfaces that are down on this side, or that the switch was told to take nothing from or to
    send nothing to (``ovs-ofctl mod-port``): neither a link state nor an error shows it."""
    config = {one.number: one.config for one in described}
    found = []
    for interface in sorted(interfaces, key=lambda one: one.name):
        told = config.get(interface.ofport or 0, PortConfig(0))
        if interface.type == "internal":
            # One that was taken into another network namespace looks down, whatever it is there.
            told &= ~PortConfig.PORT_DOWN
        if not told or interface.name == bridge:
            continue
        name = interface.external_ids.get("iface-id", "").lower()
        words = ", ".join(flag.name or "" for flag in PortConfig if flag in told)
        found.append(
            HostProblem(
                *(CLOSED, port_of(name) if name else ""),
                f"interface {interface.name} is closed on the switch ({words}): not everything"
                " passes",
                f"ovs-ofctl -O OpenFlow14 mod-port {bridge} {interface.name} WORD, with each of up,"
                f" receive, forward and packet-in; or ip link set {interface.name} up",
            )
        )
    return [*_limited(found, "interfaces were told not to pass everything")]


def _limited(found: list[HostProblem], text: str) -> Iterator[HostProblem]:
    yield from found[:MOST_NAMED]
    further = len(found) - MOST_NAMED
    if further > 0:
        yield HostProblem(
            found[0].code, "", f"{further} further {text}", "ovs-vsctl list interface shows them"
        )


def _nameless(interface: Interface) -> HostProblem:
    return HostProblem(
        *(NO_PORT, ""),
        f"interface {interface.name} names no port: it has no external_ids:iface-id, and nothing"
        " passes",
        f"ovs-vsctl set interface {interface.name} external_ids:iface-id=ID, of a"
        " networkInterface; or take it off the bridge",
    )


def _unknown(interface: Interface) -> HostProblem:
    name = interface.external_ids["iface-id"]
    return HostProblem(
        *(NO_PORT, name.lower()),
        f"interface {interface.name} names {name!r}, which is no port: nothing passes",
        f"ovs-vsctl set interface {interface.name} external_ids:iface-id=ID, the resourceId or the"
        f" instanceId of a networkInterface with an address (isthmus get /networkInterfaces), or"
        f" make the networkInterface {name}",
    )


def _twice(
    port: str, named: Iterable[Interface], bridge: str, used: Collection[int]
) -> HostProblem:
    shown = " and ".join(_shown(one, used) for one in named)
    return HostProblem(
        *(TWICE, port),
        f"interfaces {shown} of this switch name the same port {port}",
        f"ovs-vsctl del-port {bridge} NAME, of the one that no guest is behind",
    )


def _shown(interface: Interface, used: Collection[int]) -> str:
    if interface.ofport is None or interface.ofport <= 0:
        return f"{interface.name} (not there: {interface.error or 'no such device'})"
    taken = "used" if interface.ofport in used else "not used"
    return f"{interface.name} (link {interface.link_state or 'unknown'}, {taken})"
