# SPDX-License-Identifier: Apache-2.0
"""Matches from their bytes: conditions on the slots of a packet.

A packet in the interpreter is a list of numbers, one for each *slot*: registers 0 to 15 first, then
the fields. A wide register is several slots. A field that a packet does not have is 0, as in Open
vSwitch; so a match must name the prerequisites of its fields, and one that does not is `Refused`,
as the switch would.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from isthmus.switches.ovs.placing import Place
from isthmus.wire import oxm

N_REGISTERS = 16

_OWN_SLOT = tuple(
    field for field in oxm.FIELDS if field not in (*oxm.REG, *oxm.XREG, *oxm.XXREG, oxm.IN_PORT_NXM)
)
SLOT: dict[oxm.Field, int] = {
    **{field: number for number, field in enumerate(oxm.REG)},
    **{field: N_REGISTERS + number for number, field in enumerate(_OWN_SLOT)},
}
SLOT[oxm.IN_PORT_NXM] = SLOT[oxm.IN_PORT]
N_SLOTS = N_REGISTERS + len(_OWN_SLOT)
ONES = {SLOT[field]: field.ones for field in (*oxm.REG, *_OWN_SLOT)}
"""All bits of each slot."""


class Refused(Exception):
    """A switch would not take this flow."""


class Condition(NamedTuple):
    slot: int
    value: int
    mask: int


_IP4, _IP6, _ARP = 0x0800, 0x86DD, 0x0806
_ETHER_OF = {
    **dict.fromkeys((oxm.IPV4_SRC, oxm.IPV4_DST, oxm.CT_NW_SRC, oxm.CT_NW_DST), (_IP4,)),
    **dict.fromkeys((oxm.IPV6_SRC, oxm.IPV6_DST, oxm.CT_IPV6_SRC, oxm.CT_IPV6_DST), (_IP6,)),
    **dict.fromkeys((oxm.ARP_OP, oxm.ARP_SPA, oxm.ARP_TPA, oxm.ARP_SHA, oxm.ARP_THA), (_ARP,)),
    **dict.fromkeys((oxm.IP_PROTO, oxm.IP_TTL, oxm.IP_FRAG), (_IP4, _IP6)),
}
_PROTOCOL_OF = {
    **dict.fromkeys((oxm.TCP_SRC, oxm.TCP_DST), 6),
    **dict.fromkeys((oxm.UDP_SRC, oxm.UDP_DST), 17),
    **dict.fromkeys((oxm.SCTP_SRC, oxm.SCTP_DST), 132),
    **dict.fromkeys((oxm.ICMP_TYPE, oxm.ICMP_CODE), 1),
    **dict.fromkeys((oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE), 58),
}
_TYPES_OF = {oxm.ND_TARGET: (135, 136), oxm.ND_SLL: (135,), oxm.ND_TLL: (136,)}
OF_TUPLE = (
    *(oxm.CT_NW_SRC, oxm.CT_NW_DST, oxm.CT_IPV6_SRC, oxm.CT_IPV6_DST),
    *(oxm.CT_NW_PROTO, oxm.CT_TP_SRC, oxm.CT_TP_DST),
)
"""The original tuple of a packet's connection."""


def conditions(match: bytes) -> tuple[Condition, ...]:
    """What a match compares, by slot. Raises Refused where a prerequisite is missing (OpenFlow 1.4
    section 7.2.2.6; ovs-fields(7) for ct_*)."""
    entries = list(oxm.entries(match))
    exact = {entry.field: entry.value for entry in entries if entry.mask is None}
    for entry in entries:
        _check(entry, exact, entries)
    found: list[Condition] = []
    for field, value, mask in entries:
        whole = field.ones if mask is None else mask
        slots, bits = slots_of(field)
        for position, slot in enumerate(reversed(slots)):
            part = whole >> position * bits & (1 << bits) - 1
            if part:
                found.append(Condition(slot, value >> position * bits & part, part))
    return tuple(sorted(found))


def compared(found: Iterable[Condition], place: Place) -> int | None:
    """What conditions compare bits of a register with; None if not all of them."""
    bits = {
        (slot, bit): value >> bit & 1
        for slot, value, mask in found
        if slot < N_REGISTERS
        for bit in range(mask.bit_length())
        if mask >> bit & 1
    }
    its = list(place.places())
    if not bits.keys() >= set(its):
        return None
    return sum(bits[one] << position for position, one in enumerate(its))


def _check(entry: oxm.Entry, exact: dict[oxm.Field, int], entries: list[oxm.Entry]) -> None:
    field = entry.field
    if sum(other.field is field for other in entries) > 1:
        raise Refused(f"{field} is matched twice")
    if field in _ETHER_OF and exact.get(oxm.ETH_TYPE) not in _ETHER_OF[field]:
        raise Refused(f"{field} without its eth_type")
    if field in _PROTOCOL_OF and exact.get(oxm.IP_PROTO) != _PROTOCOL_OF[field]:
        raise Refused(f"{field} without its protocol")
    if field in _TYPES_OF and exact.get(oxm.ICMPV6_TYPE) not in _TYPES_OF[field]:
        raise Refused(f"{field} without its type")
    if field in OF_TUPLE:
        wanted = oxm.CT_TRK | oxm.CT_INV
        states = [one for one in entries if one.field is oxm.CT_STATE]
        seen = [one.value & wanted for one in states if one.mask is None or one.mask & wanted]
        if seen != [oxm.CT_TRK]:
            raise Refused(f"{field} without ct_state +trk-inv")


def slots_of(field: oxm.Field) -> tuple[tuple[int, ...], int]:
    if field in oxm.XREG:
        first = 2 * oxm.XREG.index(field)
        return (first, first + 1), 32
    if field in oxm.XXREG:
        first = 4 * oxm.XXREG.index(field)
        return tuple(range(first, first + 4)), 32
    return (SLOT[field],), 8 * field.n_bytes
