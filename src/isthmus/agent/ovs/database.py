# SPDX-License-Identifier: Apache-2.0
"""The host's own switch data base (ovs-vswitchd.conf.db(5)): what is plugged, and our bridge and
tunnels.

What we make carries ``external_ids:isthmus``; everything else in the data base is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import msgspec

from isthmus.host.facts import LocalPort
from isthmus.wire.ovsdb import Operation, RowId, insert, mutate, named, update

OURS = {"isthmus": "1"}

PROTOCOL = "OpenFlow14"


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Interface"
    name: str = ""
    type: str = ""
    ofport: int | None = None
    error: str | None = None
    link_state: str | None = None
    external_ids: dict[str, str] = {}
    options: dict[str, str] = {}


class SwitchPort(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Port"
    name: str = ""
    interfaces: frozenset[RowId] = frozenset()
    external_ids: dict[str, str] = {}


class Bridge(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Bridge"
    name: str = ""
    datapath_type: str = ""
    fail_mode: str | None = None
    protocols: tuple[str, ...] = ()
    ports: frozenset[RowId] = frozenset()
    external_ids: dict[str, str] = {}
    other_config: dict[str, str] = {}


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Open_vSwitch"
    ovs_version: str | None = None
    bridges: frozenset[RowId] = frozenset()
    other_config: dict[str, str] = {}


ROWS = (Interface, SwitchPort, Bridge, Switch)

Replica = Mapping[type, Mapping[RowId, msgspec.Struct]]
"""What the connection to the switch holds, by row type."""


class Tunnel(NamedTuple):
    """One of our tunnel interfaces. The far end and the key come from flows."""

    encapsulation: str
    name: str
    type: str


TUNNELS = (
    Tunnel("vxlan", "isthmus-vxlan", "vxlan"),
    # RFC 7637: NVGRE is GRE with a key; the flow writes VSID and FlowID into it.
    Tunnel("nvgre", "isthmus-nvgre", "gre"),
)


def _table(replica: Replica, row_type: type) -> Mapping[RowId, msgspec.Struct]:
    return replica.get(row_type, {})


def find_bridge(replica: Replica, name: str) -> tuple[RowId, Bridge] | None:
    for row_id, row in _table(replica, Bridge).items():
        if isinstance(row, Bridge) and row.name == name:
            return row_id, row
    return None


def interfaces(replica: Replica, bridge: Bridge) -> Iterator[Interface]:
    """All interfaces of a bridge."""
    for _, interface in _interface_rows(replica, bridge):
        yield interface


def interfaces_of(replica: Replica, bridge_name: str) -> list[Interface]:
    """The same by the bridge's name; none where there is no such bridge."""
    found = find_bridge(replica, bridge_name)
    return list(interfaces(replica, found[1])) if found else []


def _interface_rows(replica: Replica, bridge: Bridge) -> Iterator[tuple[RowId, Interface]]:
    for port_id in bridge.ports:
        port = _table(replica, SwitchPort).get(port_id)
        for interface_id in port.interfaces if isinstance(port, SwitchPort) else ():
            interface = _table(replica, Interface).get(interface_id)
            if isinstance(interface, Interface):
                yield interface_id, interface


def local_ports(replica: Replica, bridge_name: str) -> dict[str, LocalPort]:
    """The plugged interfaces by iface-id in lower case.

    Of two that name one port, one whose link is not down counts before one whose link is: that is
    left of a guest that has gone. Of two alike it is the one with the lowest OpenFlow port, which
    was there first.
    """
    found = find_bridge(replica, bridge_name)
    ports: dict[str, tuple[bool, int]] = {}
    for interface in interfaces(replica, found[1]) if found else ():
        name = interface.external_ids.get("iface-id", "").lower()
        ofport = interface.ofport
        if not name or ofport is None or ofport <= 0:
            continue
        rank = interface.link_state == "down", ofport
        ports[name] = min(ports.get(name, rank), rank)
    return {name: LocalPort(name, ofport) for name, (_, ofport) in ports.items()}


def tunnel_ports(replica: Replica, bridge_name: str) -> dict[str, int]:
    """OpenFlow ports of our tunnel interfaces that the switch has opened, by encapsulation."""
    found = find_bridge(replica, bridge_name)
    by_name = {i.name: i.ofport for i in (interfaces(replica, found[1]) if found else ())}
    return {
        tunnel.encapsulation: ofport
        for tunnel in TUNNELS
        if (ofport := by_name.get(tunnel.name)) is not None and ofport > 0
    }


def interface_errors(replica: Replica, bridge_name: str) -> dict[str, str]:
    """What the switch says is wrong with an interface, by its name."""
    found = find_bridge(replica, bridge_name)
    return {i.name: i.error for i in (interfaces(replica, found[1]) if found else ()) if i.error}


def waits_for_flows(replica: Replica) -> bool:
    """Whether ovs-vswitchd forwards nothing from its start until that is taken away
    (ovs-vswitchd.conf.db(5): ``flow-restore-wait``). ``ovs-ctl restart`` sets it for a moment."""
    rows = replica.get(Switch, {}).values()
    return any(
        isinstance(row, Switch) and row.other_config.get(FLOW_RESTORE_WAIT) == "true"
        for row in rows
    )


FLOW_RESTORE_WAIT = "flow-restore-wait"

NUMBERS = "isthmus-numbers"
"""Key in the bridge's external_ids: zones and the like, so that a restart renumbers nothing."""


def kept(replica: Replica, bridge_name: str, key: str) -> str:
    """What has been kept on a bridge's row under a key of its external_ids."""
    found = find_bridge(replica, bridge_name)
    return found[1].external_ids.get(key, "") if found else ""


def keep(replica: Replica, bridge_name: str, key: str, text: str) -> list[Operation]:
    """What keeps a text there."""
    found = find_bridge(replica, bridge_name)
    before = found[1].external_ids.get(key, "") if found else ""
    if found is None or before == text:
        return []
    changes: list[tuple[str, str, object]] = [("external_ids", "insert", {key: text})]
    if before:
        changes.insert(0, ("external_ids", "delete", {key: before}))
    return [mutate(Bridge.TABLE, found[0], changes)]


def datapath_types(replica: Replica) -> dict[str, str]:
    """Of all bridges, by name; an empty type is the kernel's."""
    rows = _table(replica, Bridge).values()
    return {row.name: row.datapath_type or "system" for row in rows if isinstance(row, Bridge)}


def uplink_bridge(replica: Replica, name: str, interface: str, mac: str) -> list[Operation]:
    """What makes a bridge of the userspace datapath that switches as any switch does, with
    `interface` as its uplink and the MAC address of that."""
    switches = [i for i, row in _table(replica, Switch).items() if isinstance(row, Switch)]
    if not switches:
        return []
    ports = frozenset(named(_row_name("port", one)) for one in (name, interface))
    bridge = Bridge(
        name=name,
        datapath_type="netdev",
        ports=ports,
        external_ids=OURS,
        other_config={"hwaddr": mac},
    )
    added = frozenset([named(_row_name("bridge", name))])
    return [
        *_port(name, "internal", {}),
        *_port(interface, "", {}),
        insert(Bridge.TABLE, bridge, _row_name("bridge", name)),
        mutate(Switch.TABLE, switches[0], [("bridges", "insert", added)]),
    ]


def needed_operations(
    replica: Replica,
    *,
    bridge_name: str,
    datapath_type: str,
    encapsulations: Sequence[str],
    provider_address: str,
) -> list[Operation]:
    """What makes the bridge and the tunnels be as they must; empty when they are.

    Tunnels send from the provider address: else the outer source would be whichever address of the
    uplink its route prefers, and peers drop what comes from an address that claims nothing.

    The bridge fails secure (ovs-vswitchd.conf.db(5), Bridge fail_mode): without flows it passes
    nothing. It speaks OpenFlow 1.4 with us, among whatever protocols it was given (none is all).
    """
    switches = [(i, r) for i, r in _table(replica, Switch).items() if isinstance(r, Switch)]
    if not switches:
        return []
    found = find_bridge(replica, bridge_name)
    rows = dict(_interface_rows(replica, found[1])) if found else {}
    have = {interface.name: row_id for row_id, interface in rows.items()}
    wanted = [tunnel for tunnel in TUNNELS if tunnel.encapsulation in encapsulations]
    missing = [tunnel for tunnel in wanted if tunnel.name not in have]
    options = {"remote_ip": "flow", "key": "flow", "local_ip": provider_address}
    operations: list[Operation] = []
    for tunnel in missing:
        operations += _port(tunnel.name, tunnel.type, options)
    for row_id in (have[tunnel.name] for tunnel in wanted if tunnel.name in have):
        # What an operator has set beside them stays.
        changed = {**rows[row_id].options, **options}
        if rows[row_id].options != changed:
            row = Interface(options=changed)
            operations.append(update(Interface.TABLE, row_id, row, ["options"]))
    new_ports = [named(_row_name("port", tunnel.name)) for tunnel in missing]
    if found is None:
        operations += _port(bridge_name, "internal", {})
        bridge = Bridge(
            name=bridge_name,
            datapath_type=datapath_type,
            fail_mode="secure",
            ports=frozenset([named(_row_name("port", bridge_name)), *new_ports]),
            external_ids=OURS,
        )
        operations.append(insert(Bridge.TABLE, bridge, _row_name("bridge", bridge_name)))
        operations.append(
            mutate(
                Switch.TABLE,
                switches[0][0],
                [("bridges", "insert", frozenset([named(_row_name("bridge", bridge_name))]))],
            )
        )
    elif new_ports:
        operations.append(
            mutate(Bridge.TABLE, found[0], [("ports", "insert", frozenset(new_ports))])
        )
    if found is not None and found[1].fail_mode != "secure":
        operations.append(update(Bridge.TABLE, found[0], Bridge(fail_mode="secure"), ["fail_mode"]))
    if found is not None and found[1].protocols and PROTOCOL not in found[1].protocols:
        ours: list[tuple[str, str, object]] = [("protocols", "insert", PROTOCOL)]
        operations.append(mutate(Bridge.TABLE, found[0], ours))
    return operations


def _row_name(kind: str, name: str) -> str:
    """A name for a row within one transaction: RFC 7047 allows letters, digits and underscores."""
    return f"{kind}_{''.join(c if c.isalnum() else '_' for c in name)}"


def _port(name: str, kind: str, options: dict[str, str]) -> list[Operation]:
    interface = Interface(name=name, type=kind, options=options, external_ids=OURS)
    port = SwitchPort(
        name=name,
        interfaces=frozenset([named(_row_name("interface", name))]),
        external_ids=OURS,
    )
    return [
        insert(Interface.TABLE, interface, _row_name("interface", name)),
        insert(SwitchPort.TABLE, port, _row_name("port", name)),
    ]
