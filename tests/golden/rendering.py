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
from isthmus.switches.ovs.ground import NO_CONNECTIONS
from isthmus.switches.ovs.pipeline import (
    FILTER_BITS,
    GROUPS,
    RESOLVED_MAC,
    SOME_RECEIVER,
    TARGET6,
    Flag,
    FlowKey,
    Out,
    Programmed,
    Register,
    Stage,
    flow,
)
from isthmus.wire.openflow_text import flow_text

WHOLE = 0xFFFFFFFF
HALF = 0xFFFF

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
    """``JUDGE priority=100,ip,SENDER=+TURNED actions=goto_table:COMMIT``."""
    stage = Stage(key.table)
    _, _, text = flow_text(flow(key, value)).split(",", 2)
    match, _, actions = text.partition(" actions=")
    if match.startswith("actions="):
        match, actions = "", match.removeprefix("actions=")
    priority, *fields = match.split(",")
    shown = ",".join([priority, *_Text(stage, names).match(fields)])
    return f"{stage.name} {shown} actions={_Text(stage, names).actions(actions)}"


class _Text:
    """Of one flow."""

    def __init__(self, stage: Stage, names: Names) -> None:
        self._stage = stage
        self._names = names

    # -- what it matches ---------------------------------------------------------------------------

    def match(self, fields: list[str]) -> Iterator[str]:
        """Registers come last, by their names: where they are says nothing."""
        registers = []
        words: dict[int, int] = {}
        for field in fields:
            name, _, value = field.partition("=")
            if found := re.fullmatch(r"reg(\d+)", name):
                register = int(found[1])
                if self._is_address6(register):
                    words[register] = int(value, 16)
                else:
                    registers.append(self._matched(register, *_masked(value, WHOLE)))
            elif re.fullmatch(r"x+reg\d+", name):
                raise AssertionError(f"a wide register is matched: {field}")
            else:
                yield self._field(name, value)
        if words:
            # Four registers, of which a match names those that it has bits of.
            assert sorted(words) == list(range(GROUPS, GROUPS + 4)), fields
            number = sum(word << 32 * (GROUPS + 3 - place) for place, word in words.items())
            registers.append(f"TARGET6={IPv6Address(number)}")
        yield from sorted(registers)

    def _is_address6(self, register: int) -> bool:
        return register >= GROUPS and self._stage < Stage.PLAIN_SOURCE_GROUPS

    def _matched(self, register: int, value: int, mask: int) -> str:
        name = self._register(register)
        if name == "GROUPS":
            bit = self._bit(register, value.bit_length() - 1)
            assert value == mask == 1 << value.bit_length() - 1
            return f"GROUPS=+{bit}"
        if name.endswith("_RULES") and mask != WHOLE:
            level, shift = ("subnet", 0) if mask == HALF else ("interface", 16)
            assert mask == HALF << shift
            return f"{name}.{level}={self._profile(value >> shift)}"
        if mask != WHOLE and name in ("SENDER", "RECEIVER", "INITIATOR", "RESPONDER"):
            assert mask & HALF in (0, HALF)
            flags = ((flag.name, value & flag) for flag in Flag if mask & flag)
            words = "".join("+-"[not on] + flag for flag, on in flags)
            if mask & HALF:
                return f"{name}.filter={self._filter(value & HALF)}{words}"
            return f"{name}={words}"
        assert mask == WHOLE, (name, hex(value), hex(mask))
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
            r"load:(0x[0-9a-f]+)->(NXM_NX_REG|OXM_OF_PKT_REG|NXM_NX_XXREG)(\d+)\[([0-9.]*)\]",
            lambda found: self._loaded(int(found[1], 16), found[2], int(found[3]), found[4]),
            text,
        )
        text = re.sub(
            r"(NXM_NX_REG|OXM_OF_PKT_REG|NXM_NX_XXREG)(\d+)(\[[0-9.]*\])",
            lambda found: f"{self._place(found[1], int(found[2]))}{found[3]}",
            text,
        )
        text = re.sub(
            r"(goto_table:|table=|resubmit\(,)(\d+)",
            lambda found: f"{found[1]}{Stage(int(found[2])).name}",
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

    def _loaded(self, value: int, kind: str, number: int, bits: str) -> str:
        name = self._place(kind, number)
        first = int(bits.partition("..")[0] or 0)
        is_part = bits not in ("", "0..31", "0..47", "0..63")
        if name == "GROUPS" and is_part:
            return f"load:{value:#x}->GROUPS[{self._bit(number, first)}]"
        if is_part and name in ("SENDER", "RECEIVER", "INITIATOR", "RESPONDER"):
            assert first >= FILTER_BITS and ".." not in bits
            return f"load:{value:#x}->{name}[{Flag(1 << first).name}]"
        if is_part:
            return f"load:{value:#x}->{name}[{bits}]"
        return f"load:{self._value(name, value)}->{name}[]"

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

    def _place(self, kind: str, number: int) -> str:
        if kind == "NXM_NX_XXREG":
            assert number == TARGET6
            return "TARGET6" if self._stage < Stage.PLAIN_SOURCE_GROUPS else "SPARE6"
        if kind == "OXM_OF_PKT_REG":
            if number == RESOLVED_MAC:
                return "RESOLVED_MAC"
            assert number in (GROUPS // 2, GROUPS // 2 + 1)
            return ("GROUPS.low", "GROUPS.high")[number - GROUPS // 2]
        return self._register(number)

    def _register(self, number: int) -> str:
        """Its name, where it serves twice by the stage."""
        if number >= GROUPS:
            return "GROUPS"
        if number in (Register.TARGET, Register.SOURCE_VSID):
            if self._stage >= Stage.ANSWER:
                return "SPARE" if number == Register.TARGET else "SPARE_PORT"
            if self._stage >= Stage.PLAIN_SOURCE_GROUPS:
                return "OUT_RULES" if number == Register.TARGET else "IN_RULES"
        return Register(number).name

    def _bit(self, register: int, bit: int) -> str:
        return _named(self._names.groups, 32 * (register - GROUPS) + bit)

    def _value(self, name: str, value: int) -> str:
        """Of a whole register."""
        names = self._names
        if name == "RESOLVED_MAC":
            return mac_text(Mac(value))
        if name == "TARGET":
            return str(IPv4Address(value))
        if name == "OUT" and value in set(Out):
            return Out(value).name
        if name.endswith("_RULES") and value:
            return f"{self._profile(value >> 16)}|{self._profile(value & HALF)}"
        if name in ("SENDER", "RECEIVER", "INITIATOR", "RESPONDER"):
            flags = "".join(f"+{flag.name}" for flag in Flag if value & flag)
            return f"{self._filter(value & HALF)}{flags}"
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
