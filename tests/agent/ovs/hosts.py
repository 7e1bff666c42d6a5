# SPDX-License-Identifier: Apache-2.0
"""Hosts of Open vSwitch as values, for tests of what any host decides and of what such ones do."""

from __future__ import annotations

from ipaddress import IPv4Address

from isthmus.agent.ovs.host import OvsHost
from isthmus.host.facts import Identity, LocalPort
from isthmus.host.ours import SouthChange
from isthmus.policy.rows import Port, Row
from isthmus.wire.ovsdb import RowId
from tests.switches.policy_rows import BOTH, TUNNEL_PORTS, host_rows, port, provider_address

WEB, OTHER = port("red", "a", 4), port("red", "b", 5)


def row_id(row: Row) -> RowId:
    return RowId(f"{type(row).__name__} {row.key}")


def learn(state: OvsHost, *rows: Row) -> None:
    state.south_changed([SouthChange(row_id(row), None, row) for row in rows])
    state.settle()


def forget(state: OvsHost, *rows: Row) -> None:
    state.south_changed([SouthChange(row_id(row), row, None) for row in rows])
    state.settle()


def plug(state: OvsHost, *plugged: Port | str) -> None:
    names = [one if isinstance(one, str) else one.id for one in plugged]
    interfaces = {name: LocalPort(name, number) for number, name in enumerate(names, 1)}
    state.bridge_changed(interfaces, TUNNEL_PORTS)
    state.settle()


def host(name: str = "h1", *rows: Row) -> OvsHost:
    state = OvsHost(Identity(name, IPv4Address(provider_address(name)), BOTH))
    plug(state)
    learn(state, *host_rows(), *rows)
    return state
