# SPDX-License-Identifier: Apache-2.0
"""The stages of the integration bridge: tables, registers, priorities, cookies.

A packet from a local port goes CLASSIFY → ADMISSION → DISPATCH → (ROUTE →) (NEIGHBOUR → RESOLVED →)
FORWARD → TUNNEL or OUTPUT. A packet from a tunnel goes CLASSIFY → SOURCE → SOURCE_MAC → FORWARD →
OUTPUT: it was routed at its source, and is never sent into a tunnel again (but for a port that has
just moved away).

Every table ends in a flow of priority 0 that drops, so that what is dropped is counted by reason;
`DROPS` says what a packet that ends there has done.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

from isthmus.wire.openflow import Flow


class Stage(IntEnum):
    """Table numbers. Gaps leave room for features; goto_table goes forward only."""

    CLASSIFY = 0
    ADMISSION = 10
    SOURCE = 15
    SOURCE_MAC = 16
    DISPATCH = 20
    ROUTE = 30
    NEIGHBOUR = 35
    RESOLVED = 36
    FORWARD = 40
    TUNNEL = 50
    OUTPUT = 60


class Register(IntEnum):
    """What each 32-bit register holds from CLASSIFY on."""

    OUT = 0
    """OpenFlow port to deliver to."""
    ORIGIN = 1
    """0: a local port; 1: a tunnel."""
    PEER = 2
    """IPv4 provider address to tunnel to."""
    TARGET = 3
    """IPv4 address that is looked for: an ARP question's or a routed packet's."""
    SOURCE_VSID = 4
    """The segment of the port that claims the inner source of a tunnel packet."""
    VSID = 5
    """The segment that the packet is in."""
    DOMAIN = 6
    """The routing domain of its segment; 2^31 | VSID for a segment without a router."""


RESOLVED_MAC = 4
"""The 64-bit register (of registers 8 and 9) whose low 48 bits hold the MAC address of TARGET."""

DROPS: dict[Stage, str] = {
    Stage.CLASSIFY: "from a port without policy, or a tunnel packet of an unknown segment",
    Stage.ADMISSION: "source MAC, IP or ARP address is not the port's own (port security)",
    Stage.SOURCE: "tunnel packet whose inner source is not claimed by the outer source",
    Stage.SOURCE_MAC: "routed tunnel packet of a segment without a router",
    Stage.DISPATCH: "neither IPv4 nor an ARP question",
    Stage.ROUTE: "no route",
    Stage.NEIGHBOUR: "no port has that address",
    Stage.RESOLVED: "not reached",
    Stage.FORWARD: "no port has that destination MAC on the segment",
    Stage.TUNNEL: "no encapsulation in common with the destination's host",
    Stage.OUTPUT: "not reached",
}

DHCP_QUESTION = b"\x01"
"""Userdata of a packet-in that holds a guest's DHCP message."""
FIRST_FRAME = b"\x02"
"""Userdata of a packet-in that shows that a guest behind a standby claim is alive."""

ISOLATED = 1 << 31
"""Domain numbers of segments without a router start here; RDIDs stay below."""

_UNIT_BITS = 40


class Programmed(NamedTuple):
    """The value of one flow under its key (table, priority, match)."""

    instructions: bytes
    cookie: int


class FlowKey(NamedTuple):
    table: int
    priority: int
    match: bytes


def unit_cookie(unit: str, key: object) -> int:
    """The upper 40 bits of the cookies of all flows that one unit call gives, as an unshifted
    number.
    """
    digest = blake2b(f"{unit} {key}".encode(), digest_size=_UNIT_BITS // 8).digest()
    return int.from_bytes(digest, "big")


def programmed(unit: int, key: FlowKey, instructions: bytes) -> Programmed:
    """A flow's cookie: 40 bits name its unit call, 24 bits its content, so that equal cookies at
    one place of a table mean an unchanged flow, and a restart compares cookies alone.
    """
    content = crc32(instructions, crc32(key.match, key.table << 16 | key.priority))
    return Programmed(instructions, unit << 24 | content & 0xFFFFFF)


def flow(key: FlowKey, value: Programmed) -> Flow:
    return Flow(key.table, key.priority, key.match, value.instructions, value.cookie)


def unit_of_cookie(cookie: int) -> int:
    """What `unit_cookie` gave for the unit call that a flow comes from."""
    return cookie >> 24


def markdown() -> str:
    """Stages and registers, for docs/pipeline.md."""
    lines = [
        "# The data plane's stages and registers",
        "",
        "Written from `src/isthmus/switches/ovs/pipeline.py` by `make docs`.",
        "",
        "| table | stage | a packet that ends here was |",
        "|---|---|---|",
        *(f"| {stage.value} | {stage.name} | {DROPS[stage]} |" for stage in Stage),
        "",
        "| register | name |",
        "|---|---|",
        *(f"| {register.value} | {register.name} |" for register in Register),
        f"| xreg{RESOLVED_MAC} | the MAC address of TARGET |",
        "",
    ]
    return "\n".join(lines)
