# SPDX-License-Identifier: Apache-2.0
"""What the flows of each stage may look at and write. `Flows.add` holds every flow to it.

A stage is declared by its fields, its registers (`registers`), its bands of priorities (`bands`)
and where packets may go on (`pipeline.FOLLOWING`). `broken` says what a flow does beside that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import BANDS, END
from isthmus.switches.ovs.pipeline import FOLLOWING, SHOWN_DROPS, FlowKey, Stage
from isthmus.switches.ovs.placing import Bit, Register, first_bit_of
from isthmus.wire import oxm
from isthmus.wire.openflow_effects import Looked, Sent, Written, effects

Name = oxm.Field | Register


class Declared(NamedTuple):
    """Fields and registers of one stage."""

    matches: frozenset[Name]
    writes: frozenset[Name]


def _declared(matches: Iterable[Name] = (), writes: Iterable[Name] = ()) -> Declared:
    # A drop says whose it is where somebody watches it (`flows.Flows.drop`).
    return Declared(frozenset(matches), frozenset((*writes, oxm.METADATA)))


_ETHERNET = oxm.ETH_SRC, oxm.ETH_DST, oxm.ETH_TYPE
_ARP = oxm.ARP_OP, oxm.ARP_SPA, oxm.ARP_TPA, oxm.ARP_SHA, oxm.ARP_THA
_ICMP = oxm.ICMP_TYPE, oxm.ICMP_CODE, oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE
_DISCOVERY = (
    *(oxm.IP_PROTO, oxm.IP_TTL, oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE, oxm.ND_TARGET, oxm.ND_SLL),
    *(oxm.ND_TLL, oxm.IPV6_SRC),
)
_SOURCES = oxm.IPV4_SRC, oxm.IPV6_SRC
_DESTINATIONS = oxm.IPV4_DST, oxm.IPV6_DST
_PORTS = (*(oxm.TCP_SRC, oxm.TCP_DST, oxm.UDP_SRC, oxm.UDP_DST, oxm.SCTP_SRC, oxm.SCTP_DST),)
_PACKET = (*(oxm.ETH_TYPE, *_SOURCES, *_DESTINATIONS, oxm.IP_PROTO, *_PORTS, *_ICMP, oxm.IP_FRAG),)
_CONNECTION = (
    *(oxm.CT_STATE, oxm.CT_NW_SRC, oxm.CT_NW_DST, oxm.CT_IPV6_SRC, oxm.CT_IPV6_DST),
    *(oxm.CT_NW_PROTO, oxm.CT_TP_SRC, oxm.CT_TP_DST),
)
_SEGMENT = reg.VSID, reg.DOMAIN, reg.ZONE
_LOOKED_FOR = reg.TARGET, reg.TARGET6
_ENDS = reg.INITIATOR, reg.RESPONDER
_EXCHANGED = (*(*_SOURCES, *_DESTINATIONS, *_PORTS, oxm.ICMP_TYPE, oxm.ICMPV6_TYPE, reg.SWAP),)
_RULE = (*_PACKET, *_CONNECTION, reg.GROUPS, reg.TURNED)


def _plain(lists: Register, end: Register, allowed: Register) -> Declared:
    return _declared((*_PACKET, lists, reg.GROUPS), (end, allowed))


STAGES: dict[Stage, Declared] = {
    Stage.CLASSIFY: _declared(
        (*_ETHERNET, oxm.IN_PORT, oxm.TUNNEL_ID, oxm.VLAN_VID),
        (*_SEGMENT, reg.ORIGIN, reg.ROUTER, oxm.ETH_SRC, oxm.ETH_DST, oxm.TUN_DST),
    ),
    Stage.ADMISSION: _declared(
        (*_ETHERNET, *_ARP, *_DISCOVERY, *_PACKET, oxm.IN_PORT), (reg.SENDER,)
    ),
    Stage.SOURCE: _declared(
        (*_ETHERNET, *_ARP, *_DISCOVERY, *_SOURCES, oxm.TUN_SRC, reg.VSID, reg.DOMAIN),
        (oxm.ETH_SRC, reg.SOURCE_VSID, reg.ZONE),
    ),
    Stage.SOURCE_MAC: _declared(
        (reg.DOMAIN, reg.VSID, reg.SOURCE_VSID, reg.ROUTER), (oxm.ETH_SRC,)
    ),
    Stage.DISPATCH: _declared(
        (*_ETHERNET, *_DISCOVERY, oxm.ARP_OP, oxm.IN_PORT, reg.DOMAIN, reg.VSID),
        (*_LOOKED_FOR, reg.ROUTER),
    ),
    Stage.ROUTE: _declared(
        (*_PACKET, reg.DOMAIN, reg.ROUTER),
        (*_LOOKED_FOR, oxm.ETH_SRC, oxm.IP_TTL, reg.VSID, reg.ZONE, reg.OUT),
    ),
    Stage.NEIGHBOUR: _declared(
        (*_DISCOVERY, oxm.ETH_TYPE, *_LOOKED_FOR, reg.VSID), (reg.RESOLVED_MAC,)
    ),
    Stage.RESOLVED: _declared(
        (*_DISCOVERY, oxm.ETH_TYPE),
        (
            *(oxm.ETH_SRC, oxm.ETH_DST, *_ARP, *_SOURCES, *_DESTINATIONS, *_LOOKED_FOR),
            *(oxm.ICMPV6_TYPE, oxm.ND_OPTIONS_TYPE, oxm.ND_RESERVED, reg.RESOLVED_MAC),
        ),
    ),
    Stage.ADVERTISE: _declared((*_DISCOVERY, oxm.ETH_TYPE), (oxm.ND_TLL,)),
    Stage.FORWARD: _declared(
        (oxm.ETH_DST, reg.VSID, reg.ORIGIN), (reg.OUT, reg.PEER, reg.RECEIVER, oxm.IN_PORT_NXM)
    ),
    Stage.RECEIVER: _declared(
        (oxm.IN_PORT, reg.OUT, oxm.ETH_TYPE, *_DESTINATIONS), (reg.RECEIVER,)
    ),
    Stage.PLAIN_SOURCE_GROUPS: _declared((*_PACKET, reg.DOMAIN), (reg.GROUPS,)),
    Stage.PLAIN_TARGET_GROUPS: _declared((*_PACKET, reg.DOMAIN), (reg.GROUPS,)),
    Stage.PLAIN_SENDER: _declared((reg.SENDER,), (reg.PLAIN_OUT_LISTS, reg.PLAIN_SENDER)),
    **dict.fromkeys(
        (Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_OUT_SUBNET),
        _plain(reg.PLAIN_OUT_LISTS, reg.SENDER, reg.PLAIN_SENDER),
    ),
    Stage.PLAIN_RECEIVER: _declared((reg.RECEIVER,), (reg.PLAIN_IN_LISTS, reg.PLAIN_RECEIVER)),
    **dict.fromkeys(
        (Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE),
        _plain(reg.PLAIN_IN_LISTS, reg.RECEIVER, reg.PLAIN_RECEIVER),
    ),
    Stage.TRACK: _declared(
        (
            *(oxm.ETH_TYPE, oxm.IN_PORT, oxm.CT_STATE, oxm.IP_FRAG, *_DISCOVERY),
            *(reg.SENDER, reg.RECEIVER, reg.OUT, reg.ORIGIN, reg.ZONE),
        ),
        (reg.RESPONDER,),
    ),
    Stage.TRACKED: _declared((oxm.ETH_TYPE, oxm.CT_STATE, oxm.CT_ZONE, oxm.IP_FRAG, reg.ZONE)),
    Stage.FRAGMENT: _declared((oxm.ETH_DST, reg.OUT, reg.DOMAIN, reg.VSID)),
    Stage.JUDGE: _declared(
        (
            *(oxm.ETH_DST, oxm.ETH_TYPE, oxm.CT_STATE, oxm.CT_ZONE, oxm.CT_MARK, oxm.PKT_MARK),
            *(oxm.IP_FRAG, oxm.IP_PROTO, oxm.TCP_FLAGS, *_ICMP),
            *(reg.SENDER, reg.RECEIVER, reg.TURNED, reg.JUDGED),
        ),
        (*_ENDS, reg.GROUPS),
    ),
    Stage.BEGUN_SENDER: _declared(
        (oxm.IN_PORT, oxm.ETH_TYPE, oxm.IP_PROTO, *_SOURCES, reg.ZONE), (reg.SENDER,)
    ),
    Stage.BEGUN_RECEIVER: _declared(
        (oxm.ETH_TYPE, oxm.IP_PROTO, *_DESTINATIONS, reg.OUT, reg.ZONE), (reg.RECEIVER,)
    ),
    Stage.UNKNOWN: _declared(
        (oxm.ETH_TYPE, oxm.CT_STATE, oxm.IP_FRAG, reg.SENDER, reg.RECEIVER), (reg.ASKED,)
    ),
    Stage.SOURCE_GROUPS: _declared((oxm.ETH_TYPE, *_CONNECTION, reg.DOMAIN), (reg.GROUPS,)),
    Stage.TARGET_GROUPS: _declared((oxm.ETH_TYPE, *_CONNECTION, reg.DOMAIN), (reg.GROUPS,)),
    Stage.INITIATOR: _declared((reg.INITIATOR,), (reg.OUT_LISTS,)),
    **dict.fromkeys(
        (Stage.OUT_INTERFACE, Stage.OUT_SUBNET),
        _declared((*_RULE, reg.OUT_LISTS)),
    ),
    Stage.RESPONDER: _declared((reg.RESPONDER, reg.OUT), (reg.IN_LISTS,)),
    **dict.fromkeys(
        (Stage.IN_SUBNET, Stage.IN_INTERFACE),
        _declared((*_RULE, reg.IN_LISTS)),
    ),
    Stage.ANSWER: _declared(
        (oxm.ETH_TYPE, oxm.IP_PROTO, *_ICMP, reg.ALLOWED),
        (*_EXCHANGED, *_ENDS, reg.ASKED, reg.ALLOWED, reg.TURNED),
    ),
    Stage.OPENING: _declared(
        (
            *(oxm.ETH_DST, oxm.ETH_TYPE, oxm.IP_PROTO, oxm.IN_PORT, oxm.CT_STATE, oxm.CT_ZONE),
            *(oxm.CT_MARK, reg.OUT, reg.ORIGIN, reg.TURNED),
        )
    ),
    Stage.COMMIT: _declared(
        (
            *(*_PACKET, oxm.ETH_DST, oxm.IN_PORT, oxm.TCP_FLAGS, oxm.CT_STATE, oxm.CT_ZONE),
            *(oxm.CT_MARK, reg.OUT, *_ENDS, reg.ASKED, reg.TURNED, reg.JUDGED, reg.SHOWN),
        ),
        (reg.ALLOWED, reg.JUDGED, reg.SHOWN, oxm.PKT_MARK),
    ),
    Stage.RETURN: _declared(
        (oxm.ETH_TYPE, oxm.IP_PROTO, *_ICMP, reg.TURNED), (*_EXCHANGED, reg.TURNED)
    ),
    Stage.FOLLOWED: _declared((oxm.IN_PORT, oxm.ETH_TYPE, *_SOURCES, reg.ZONE)),
    Stage.FLOOD: _declared((reg.ORIGIN, reg.VSID), (reg.OUT, reg.PEER, reg.RECEIVER)),
    Stage.DELIVER: _declared(
        (oxm.ETH_TYPE, oxm.IP_PROTO, *_ICMP, oxm.IP_FRAG, *_SOURCES, reg.OUT),
        (*_EXCHANGED, oxm.ETH_SRC, oxm.ETH_DST, oxm.IP_TTL),
    ),
    Stage.TUNNEL: _declared((reg.PEER,), (oxm.TUNNEL_ID, oxm.TUN_DST)),
}


def _bits(names: Iterable[Name]) -> frozenset[Bit]:
    return frozenset(bit for one in names if isinstance(one, Register) for bit in one.places())


def _check() -> None:
    """Every stage is declared whole, and looks at no register outside of its life."""
    assert set(STAGES) == set(Stage) == set(FOLLOWING) == set(BANDS)
    for stage, declared in STAGES.items():
        for one in declared.matches:
            assert not isinstance(one, Register) or stage in one.alive, (stage, one.name)
        for one in declared.writes:
            assert not isinstance(one, Register) or stage in one.occupied, (stage, one.name)


_check()

_MATCHED = {stage: _bits(one.matches) for stage, one in STAGES.items()}
_WRITTEN = {stage: _bits(one.writes) for stage, one in STAGES.items()}
_HELD = {stage: _bits(one for one in reg.REGISTERS if stage in one.occupied) for stage in Stage}
_REGISTER_FIELDS = frozenset((*oxm.REG, *oxm.XREG, *oxm.XXREG))


def broken(key: FlowKey, instructions: bytes) -> str:
    """What a flow does that its stage is not declared for; empty if it does nothing such."""
    if key.table not in Stage._value2member_map_:
        return ""
    stage = Stage(key.table)
    return "; ".join(
        (*_priority(stage, key.priority), *_looks(stage, key.match), *_does(stage, instructions))
    )


def _priority(stage: Stage, priority: int) -> Iterator[str]:
    bands = BANDS[stage]
    if priority != END and not any(one <= priority <= one.last for one in bands):
        yield f"{stage.name} has no band of priority {priority}"


def _looks(stage: Stage, match: bytes) -> Iterator[str]:
    for field, _, mask in oxm.entries(match):
        if field not in _REGISTER_FIELDS:
            if field not in STAGES[stage].matches:
                yield f"{stage.name} does not match {field.text}"
            continue
        compared = field.ones if mask is None else mask
        bits = {first_bit_of(field, bit) for bit in range(field.bits) if compared >> bit & 1}
        if not bits <= _MATCHED[stage]:
            yield f"{stage.name} does not match these bits of {field.text}: {compared:#x}"


def _does(stage: Stage, instructions: bytes) -> Iterator[str]:
    written: set[Bit] = set()
    zero: set[Bit] = set()
    for one in effects(instructions):
        if isinstance(one, Sent):
            yield from _goes(stage, one.table, written, zero)
        elif one.field in _REGISTER_FIELDS:
            places = range(one.first_bit, one.first_bit + one.n_bits)
            bits = {first_bit_of(one.field, bit) for bit in places}
            if isinstance(one, Looked):
                if not bits <= _HELD[stage]:
                    yield f"{stage.name} has nothing in these bits of {one.field.text}"
                continue
            if not bits <= _WRITTEN[stage]:
                yield f"{stage.name} does not write these bits of {one.field.text}"
            written |= bits
            zero = zero | bits if one.value == 0 else zero - bits
        elif isinstance(one, Written) and one.field not in STAGES[stage].writes:
            yield f"{stage.name} does not write {one.field.text}"


def _goes(stage: Stage, table: int, written: set[Bit], zero: set[Bit]) -> Iterator[str]:
    if table == SHOWN_DROPS:
        return
    if table not in FOLLOWING[stage]:
        yield f"{stage.name} does not lead to table {table}"
        return
    following = Stage(table)
    for one, bits in _begun(stage, following):
        if not bits <= written:
            yield f"{stage.name} leads to {following.name} without {one.name}"
    for one, bits in _ended(stage, following):
        if (stage in one.alive or bits & written) and not bits <= zero:
            yield f"{stage.name} leads to {following.name} and leaves {one.name} behind"


_BITS = tuple((one, frozenset(one.places())) for one in reg.REGISTERS)


@cache
def _begun(stage: Stage, following: Stage) -> tuple[tuple[Register, frozenset[Bit]], ...]:
    """What begins to live between two stages, and must have been written before."""
    return tuple(
        (one, bits)
        for one, bits in _BITS
        if following in one.alive and stage not in one.alive and not one.starts_at_zero
    )


@cache
def _ended(stage: Stage, following: Stage) -> tuple[tuple[Register, frozenset[Bit]], ...]:
    """What ends between two stages, and is left at zero."""
    return tuple(
        (one, bits)
        for one, bits in _BITS
        if one.left_zero and stage in one.occupied and following not in one.occupied
    )
