# SPDX-License-Identifier: Apache-2.0
"""How the values of policy's rows stand in the south store, and back.

OVSDB has numbers, strings, and sets of these. What else a column holds (`policy.values`) is a
string here, in one spelling for each value; nobody else reads or writes these strings. A string
that is none stays in the row as it is (`wire.ovsdb_texts`), for `policy.observed` to
find.

===================  ================================  ==========================
value                text                              example
===================  ================================  ==========================
`AppliedSet`         level, address or ``*``, name     ``subnet 10.0.0.5 web``
`AddressPair`        prefix, MAC address               ``10.0.0.9/32 02:00:...``
`PortRange`          first-last; empty for all ports   ``80-443``
`HostRoute`          prefix, next hop                  ``10.1.0.0/16 10.0.0.1``
`Preference`         names with commas                 ``vxlan,nvgre``
an address           as it is                          ``192.0.2.1``
words (`StrEnum`)    as they are                       ``allow``
===================  ================================  ==========================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from sys import intern
from typing import Any, TypeVar

from isthmus.addresses import Address, mac_text, parse_mac
from isthmus.policy.rows import Row
from isthmus.policy.values import (
    AddressPair,
    AppliedSet,
    HostRoute,
    PortRange,
    Preference,
    RuleLevel,
    address_order,
    applied_to_all,
    pair_order,
    route_order,
)
from isthmus.wire.encapsulations import Encapsulation
from isthmus.wire.ovsdb_rows import column_types, texts
from isthmus.wire.ovsdb_texts import TextForm, give_form

V = TypeVar("V")
R = TypeVar("R", bound=Row)

_LEVELS = {level.value: level for level in RuleLevel}
_ENCAPSULATIONS = {one.value: one for one in Encapsulation}
_PORTS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_EVERY_ADDRESS = "*"


def _canonical(parse: Callable[[str], V], write: Callable[[V], str]) -> Callable[[str], V]:
    """Takes the one text of each value. Of two texts of one value in a set, the change of one would
    be taken for that of the other. An IPv6 zone (RFC 4007) is of one machine's interfaces: none."""

    def parsed(text: str) -> V:
        value = parse(text)
        if write(value) != text or "%" in text:
            raise ValueError(f"{text!r} is not as {value!r} is written")
        return value

    return parsed


def _applied_set(text: str) -> AppliedSet:
    """The name comes last, for it may hold spaces."""
    word, address, rule_set = text.split(" ", 2)
    level = _LEVELS.get(word)
    if level is None or not address:
        raise ValueError(f"{text!r} is no level, address and rule set")
    if address == _EVERY_ADDRESS:
        return applied_to_all(level, rule_set)
    # Many ports are under one rule set, and each text is another.
    return AppliedSet(level, address, intern(rule_set))


def _applied_set_text(one: AppliedSet) -> str:
    return f"{one.level} {one.address or _EVERY_ADDRESS} {one.rule_set}"


def _address_pair(text: str) -> AddressPair:
    network, _, mac = text.partition(" ")
    return AddressPair(ip_network(network), parse_mac(mac))


def _address_pair_text(pair: AddressPair) -> str:
    return f"{pair.network} {mac_text(pair.mac)}"


@lru_cache(maxsize=1024)
def _port_range(text: str) -> PortRange:
    found = _PORTS.fullmatch(text)
    if found is None or not int(found[1]) <= int(found[2]) <= 0xFFFF:
        raise ValueError(f"{text!r} is no range of ports")
    return PortRange(int(found[1]), int(found[2]))


def _port_range_text(ports: PortRange) -> str:
    return f"{ports.first}-{ports.last}"


def _host_route(text: str) -> HostRoute:
    network, _, next_hop = text.partition(" ")
    return HostRoute(ip_network(network), ip_address(next_hop))


def _host_route_text(route: HostRoute) -> str:
    return f"{route.network} {route.next_hop}"


@lru_cache(maxsize=4096)
def _address(text: str) -> Address:
    """Each host has one, and each of its claims names it."""
    address = ip_address(text)
    if str(address) != text or "%" in text:
        raise ValueError(f"{text!r} is no address as it is written")
    return address


def _preference(text: str) -> Preference:
    """A name that is none stays as it is, beside the others."""
    known: dict[str, Any] = _ENCAPSULATIONS  # what is none is a text, as in every row just read
    return Preference(tuple(known.get(name, name) for name in text.split(",")))


give_form(
    AppliedSet,
    TextForm(_applied_set, _applied_set_text),
)
give_form(
    AddressPair,
    TextForm(_canonical(_address_pair, _address_pair_text), _address_pair_text, pair_order),
)
give_form(PortRange, TextForm(_port_range, _port_range_text))
give_form(
    HostRoute,
    TextForm(_canonical(_host_route, _host_route_text), _host_route_text, route_order),
)
give_form(Address, TextForm(_address, str, address_order))
give_form(Preference, TextForm(_preference, ",".join, empty=()))


def shown(row: Row) -> dict[str, object]:
    """The columns of a row as the store has them, for people and programs."""
    return texts(row)


def read(table: type[R], columns: dict[str, object]) -> R:
    """The row that a store would give of these columns, as they stand there (a set is a tuple of
    strings); those that are left out have their default."""
    types = column_types(table)
    return table(
        **{
            name: types[name].read(("set", list(value)) if isinstance(value, tuple) else value)
            if types[name].is_read
            else value
            for name, value in columns.items()
        }
    )
