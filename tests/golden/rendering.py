# SPDX-License-Identifier: Apache-2.0
"""Flows with the names of what they speak of: stages, registers, ports, hosts, segments, lists.

No number of a stage, of a register, of a bit in one, and none that a host or a controller has
allocated, is in what comes out, so that golden files change when flows do other things, and only
then. Names stand in braces where they are those of a scenario.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from isthmus.addresses import Mac, mac_text
from isthmus.switches.ovs import pipeline
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.domains import NO_CONNECTIONS
from isthmus.switches.ovs.pipeline import SOME_RECEIVER, FlowKey, Out, Programmed, Stage, flow
from tests.flow_texts import named_flow

HALF = 0xFFFF

_ENDS = frozenset(one.name for one in reg.ENDS)

METERS = {
    pipeline.WATCH_METER: "of drops that are shown",
    pipeline.TUNNEL_METER: "of answers through tunnels",
    pipeline.ALLOWED_METER: "of connections that are shown",
    pipeline.PASSED_METER: "of packets that are shown",
}
METERS_OF_PORTS = {
    0: "DHCP",
    pipeline.STORM_METERS: "broadcasts",
    pipeline.PAIR_METERS: "address pairs",
    pipeline.OPENING_METERS: "opening",
    pipeline.OPENED_METERS: "opened",
    pipeline.FRAGMENT_METERS: "fragments",
    pipeline.ARRIVING_METERS: "fragments that arrive",
}
"""By what is added to the number of the port."""


class Names(NamedTuple):
    """What the numbers of one host's flows stand for."""

    ports: Mapping[int, str]
    hosts: Mapping[int, str]
    """By provider address."""
    segments: Mapping[int, str]
    """By VSID."""
    domains: Mapping[int, str]
    zones: Mapping[int, str]
    filters: Mapping[int, str]
    profiles: Mapping[int, str]
    groups: Mapping[int, str]
    """By the number of the bit."""


def rendered(key: FlowKey, value: Programmed, names: Names) -> str:
    """``JUDGE priority=100,ip,TURNED=0x1 actions=goto_table:COMMIT``."""
    stage = Stage(key.table)
    text = named_flow(flow(key, value)).partition(",")[2]
    match, _, actions = text.partition(" actions=")
    if match.startswith("actions="):
        match, actions = "", match.removeprefix("actions=")
    priority, *fields = match.split(",")
    shown = ",".join([priority, *_Text(names).match(fields)])
    return f"{stage.name} {shown} actions={_Text(names).actions(actions)}"


class _Text:
    """Of one flow."""

    def __init__(self, names: Names) -> None:
        self._names = names

    # -- what it matches ---------------------------------------------------------------------------

    def match(self, fields: list[str]) -> Iterator[str]:
        """Registers come last, by their names: where they are says nothing."""
        registers = []
        for field in fields:
            name, _, value = field.partition("=")
            if name.isupper() or name.partition(".")[0].isupper():
                registers.append(self._matched(name, *_masked(value, 0)))
            else:
                yield self._field(name, value)
        yield from sorted(registers)

    def _matched(self, name: str, value: int, mask: int) -> str:
        if name == "GROUPS":
            assert value == mask
            bits = (bit for bit in range(value.bit_length()) if value >> bit & 1)
            return ",".join(f"GROUPS=+{_named(self._names.groups, bit)}" for bit in bits)
        assert not mask, (name, hex(value), hex(mask))
        return f"{name}={self._value(name, value)}"

    def _field(self, name: str, value: str) -> str:
        if not value:
            return name
        if name == "in_port":
            value = _named(self._names.ports, int(value))
        elif name == "ct_zone":
            value = self._zone(int(value, 16))
        elif name in ("tun_src", "tun_dst"):
            value = _named(self._names.hosts, int(IPv4Address(value)), value)
        elif name == "tun_id":
            number, mask = _masked(value, 0)
            if mask == 0xFFFFFF00:  # a GRE key
                value = f"{_named(self._names.segments, number >> 8, f'{number >> 8:#x}')}<<8"
            else:
                value = _named(self._names.segments, number, value)
        return f"{name}={value}"

    # -- what it does ------------------------------------------------------------------------------

    def actions(self, text: str) -> str:
        text = re.sub(
            r"load:(0x[0-9a-f]+)->([A-Z0-9_.a-z]+)(?:\[(\d+)\.\.(\d+)\])?(?=[,)]|$)",
            lambda found: self._loaded(int(found[1], 16), found[2], found[3], found[4]),
            text,
        )
        text = re.sub(
            r"(meter:|meter_id=)(\d+)",
            lambda found: f"{found[1]}{self._meter(int(found[2]))}",
            text,
        )
        text = re.sub(r"zone=(\d+)", lambda found: f"zone={self._zone(int(found[1]))}", text)
        text = re.sub(
            r"output:(\d+)",
            lambda found: f"output:{_named(self._names.ports, int(found[1]))}",
            text,
        )
        return re.sub(
            r"set_field:([0-9.]+)->tun_(src|dst)",
            lambda found: (
                f"set_field:{_named(self._names.hosts, int(IPv4Address(found[1])), found[1])}"
                f"->tun_{found[2]}"
            ),
            text,
        )

    def _loaded(self, value: int, name: str, first: str | None, last: str | None) -> str:
        if name == "GROUPS" and first is not None and first == last:
            return f"load:{value:#x}->GROUPS[{_named(self._names.groups, int(first))}]"
        if first is not None:
            return f"load:{value:#x}->{name}[{first}..{last}]"
        return f"load:{self._value(name, value)}->{name}"

    def _meter(self, number: int) -> str:
        if number in METERS:
            return f"{{{METERS[number]}}}"
        base, port = number & ~HALF, number & HALF
        if base == pipeline.ALL_METERS:
            return f"{{fragments to all of {self._names.zones[port]}}}"
        return f"{{{METERS_OF_PORTS[base]} of {self._names.ports[port]}}}"

    def _zone(self, number: int) -> str:
        if number == NO_CONNECTIONS:
            return "{no connections}"
        return _named(self._names.zones, number)

    # -- registers ---------------------------------------------------------------------------------

    def _value(self, name: str, value: int) -> str:
        """Of a register, or a part of one."""
        names = self._names
        if name == "RESOLVED_MAC":
            return mac_text(Mac(value))
        if name == "TARGET":
            return str(IPv4Address(value))
        if name == "TARGET6":
            return str(IPv6Address(value))
        if name == "OUT" and value in set(Out):
            return Out(value).name
        if name.endswith("_LISTS") and value:
            return f"{self._profile(value >> 16)}|{self._profile(value & HALF)}"
        if "_LISTS." in name:
            return self._profile(value)
        if name.endswith(".filter"):
            return self._filter(value)
        if name in _ENDS:
            first, words = reg.SENDER[reg.FILTER].bits, []
            for part, bits in reg.SENDER.parts[1:]:
                if value >> first & 1:
                    words.append(f"+{part}")
                first += bits
            return f"{self._filter(value & HALF)}{''.join(words)}"
        known = {
            "OUT": names.ports,
            "PEER": names.hosts,
            "VSID": names.segments,
            "SOURCE_VSID": names.segments,
            "DOMAIN": names.domains,
            "ZONE": names.zones,
        }
        return _named(known[name], value) if name in known and value else f"{value:#x}"

    def _filter(self, number: int) -> str:
        if number == SOME_RECEIVER:
            return "{some receiver}"
        return _named(self._names.filters, number) if number else "0x0"

    def _profile(self, number: int) -> str:
        return _named(self._names.profiles, number) if number else "0x0"


def _masked(value: str, whole: int) -> tuple[int, int]:
    number, _, mask = value.partition("/")
    return int(number, 0), int(mask, 0) if mask else whole


def _named(names: Mapping[int, str], number: int, otherwise: str = "") -> str:
    """In braces; what has no name stays as it is, if it may."""
    if number in names:
        return f"{{{names[number]}}}"
    assert otherwise, f"{number:#x} is none of {names}"
    return otherwise
