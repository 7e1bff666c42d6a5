# SPDX-License-Identifier: Apache-2.0
"""Small mistakes that a compiler of flows could make, made in its output.

A mutant is a program with one flow changed (or two priorities exchanged). What is mutated is what
decides who reaches whom, and what some packet has found. Left out: the flows that answer ARP and
neighbour discovery or take DHCP out, those that look at TCP's flags, and those for fragments, for
the model sends none of these; what spares the copies of a broadcast a second look at their sender;
hashes and meters, which have no say; what a switch would refuse (`Refused`), for that shows itself;
and bits of an end's register that say nothing: those above its flags, a flag without a filter, and
`registers.ALONE` where it is not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import NamedTuple

from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.pipeline import FlowKey, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

Flows = Mapping[FlowKey, bytes]
"""Instructions by place."""
Used = Sequence[FlowKey]
"""The flows that may be changed."""


class Edit(NamedTuple):
    """One flow that is replaced by another; None for none."""

    before: FlowKey | None
    after: FlowKey | None
    instructions: bytes


class Mutant(NamedTuple):
    kind: str
    host: str
    edits: tuple[Edit, ...]


def mutants(host: str, flows: Flows, used: Iterable[FlowKey], random: Random) -> Iterator[Mutant]:
    """Of the flows of a host that are `used`, without end; of each kind as many as of any other."""
    relevant = sorted(key for key in used if is_relevant(key, flows[key]))
    while True:
        for kind, mutate in KINDS.items():
            edits = mutate(random.choice(relevant), flows, relevant, random)
            if edits:
                yield Mutant(kind, host, edits)


def is_relevant(key: FlowKey, instructions: bytes) -> bool:
    """Whether the flow decides where IP packets of guests go."""
    if key.table == Stage.ADVERTISE or _CONTROLLER in instructions:
        return False
    entries = list(oxm.entries(key.match))
    exact = {entry.field: entry.value for entry in entries}
    fields = exact.keys()
    kind, protocol = exact.get(oxm.ICMPV6_TYPE), exact.get(oxm.IP_PROTO)
    is_discovery = kind is not None and 133 <= kind <= 137
    is_ipv6 = exact.get(oxm.ETH_TYPE) == 0x86DD
    has_no_headers = kind == 0 or (is_ipv6 and protocol == 0)
    is_dhcp = exact.get(oxm.UDP_SRC) == 68
    spares = key.table == Stage.TRACK and oxm.CT_STATE in fields
    is_sent = exact.get(oxm.ETH_TYPE) != 0x0806 and oxm.TCP_FLAGS not in fields
    return is_sent and not (has_no_headers or spares or is_discovery or is_dhcp)


_CONTROLLER = struct.pack(">IH", act.NICIRA, act.Nicira.CONTROLLER)


# -- the kinds -------------------------------------------------------------------------------------


def _entry_dropped(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    entries = list(oxm.entries(key.match))
    dropped = [entry for entry in entries if entry.field is not oxm.IP_FRAG]
    if not dropped:
        return ()
    entries.remove(random.choice(dropped))
    return _moved(key, key._replace(match=_match(entries)), flows)


def _mask_widened(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    entries = [one for one in oxm.entries(key.match) if one.field not in _UNMASKED]
    if not entries:
        return ()
    chosen = random.choice(entries)
    mask = chosen.field.ones if chosen.mask is None else chosen.mask
    bits = [bit for bit in range(128) if mask >> bit & 1]
    wider = chosen._replace(mask=mask & ~(1 << random.choice(bits)))
    others = [one for one in oxm.entries(key.match) if one != chosen]
    return _moved(key, key._replace(match=_match([*others, wider])), flows)


def _priorities_swapped(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    others = [
        other
        for other in used
        if other.table == key.table and other.priority != key.priority and meet(key, other)
    ]
    if not others:
        return ()
    other = random.choice(others)
    ours, theirs = (
        key._replace(priority=other.priority),
        other._replace(priority=key.priority),
    )
    if ours in flows or theirs in flows or flows[key] == flows[other]:
        return ()
    return Edit(key, ours, flows[key]), Edit(other, theirs, flows[other])


def _deleted(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    # A flow of priority 0 drops, as its table would without it.
    return (Edit(key, None, b""),) if key.priority else ()


def _number_changed(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    actions = _actions(flows[key])
    loads = [n for n, action in enumerate(actions) if _subtype(action) == act.Nicira.LOAD]
    if not loads:
        return ()
    chosen = random.choice(loads)
    packed, header, value = struct.unpack(">HIQ", actions[chosen][10:])
    is_end = (header, packed) in _ENDS
    bits = [bit for bit in range((packed & 63) + 1) if not is_end or _matters(value, bit)]
    other = value ^ 1 << random.choice(bits)
    actions[chosen] = actions[chosen][:10] + struct.pack(">HIQ", packed, header, other)
    return _redone(key, actions, _goto(flows[key]))


_ENDS = {
    (one.field.nicira, one.first_bit << 6 | one.bits - 1)
    for one in (reg.SENDER, reg.RECEIVER, reg.INITIATOR, reg.RESPONDER)
}


def _matters(end: int, bit: int) -> bool:
    """Of the register of an end: the number of its filter, and the flags of a filter."""
    number = reg.RECEIVER[reg.FILTER]
    is_number, is_filter = bit < number.bits, bool(end & number.ones)
    return is_number or bool(end >> bit & 1) or (is_filter and 1 << bit == reg.IS_MISDIRECTED)


def _zone_lost(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    zones = [one for one in used if one.table == Stage.CLASSIFY and flows[one]]
    chosen = random.choice(zones)
    place = reg.ZONE.first_bit << 6 | reg.ZONE.bits - 1
    zone = struct.pack(">HI", place, reg.ZONE.field.nicira)
    actions = _actions(flows[chosen])
    kept = [one for one in actions if _subtype(one) != act.Nicira.LOAD or zone != one[10:16]]
    if len(kept) == len(actions):
        return ()
    return _redone(chosen, kept, _goto(flows[chosen]))


def _sent_elsewhere(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    goto = _goto(flows[key])
    stages = [stage for stage in Stage if stage > key.table and stage != goto]
    if goto is None or not stages:
        return ()
    return _redone(key, _actions(flows[key]), random.choice(stages))


def _drop_passed(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    chosen = random.choice([one for one in used if not flows[one]])
    targets = {_goto(flows[one]) for one in flows if one.table == chosen.table} - {None}
    if not targets:
        return ()
    target = random.choice(sorted(target for target in targets if target is not None))
    return _redone(chosen, [], target)


def _pass_dropped(key: FlowKey, flows: Flows, used: Used, random: Random) -> tuple[Edit, ...]:
    return _redone(key, [], None) if flows[key] else ()


_Kind = Callable[[FlowKey, Flows, Used, Random], tuple[Edit, ...]]

KINDS: dict[str, _Kind] = {
    "a match entry dropped": _entry_dropped,
    "a mask widened": _mask_widened,
    "two priorities swapped": _priorities_swapped,
    "a flow deleted": _deleted,
    "a loaded number changed": _number_changed,
    "the zone not loaded": _zone_lost,
    "sent to another stage": _sent_elsewhere,
    "a drop that passes": _drop_passed,
    "a pass that drops": _pass_dropped,
}

_UNMASKED = {oxm.IN_PORT, oxm.ETH_TYPE, oxm.IP_PROTO, oxm.ICMP_TYPE, oxm.ICMP_CODE} | {
    *(oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE, oxm.CT_NW_PROTO, oxm.IP_TTL, oxm.ARP_OP, oxm.CT_STATE),
    oxm.IP_FRAG,
}
"""Fields that a switch compares as a whole; and ct_state, whose bits are `_entry_dropped`'s."""


# -- bytes -----------------------------------------------------------------------------------------


def _match(entries: list[oxm.Entry]) -> bytes:
    return oxm.match(
        *(
            oxm.exact(field, value) if mask is None else oxm.masked(field, value, mask)
            for field, value, mask in entries
        )
    )


def meet(one: FlowKey, other: FlowKey) -> bool:
    """Whether some packet may match both."""
    mine = {field: (value, mask) for field, value, mask in oxm.entries(one.match)}
    for field, value, mask in oxm.entries(other.match):
        found, its_mask = mine.get(field, (0, 0))
        both = (field.ones if mask is None else mask) & (
            field.ones if its_mask is None else its_mask
        )
        if found & both != value & both:
            return False
    return True


def _moved(before: FlowKey, after: FlowKey, flows: Flows) -> tuple[Edit, ...]:
    return () if after in flows else (Edit(before, after, flows[before]),)


def _redone(key: FlowKey, actions: list[bytes], goto: int | None) -> tuple[Edit, ...]:
    return (Edit(key, key, act.instructions(apply=actions, goto=goto)),)


def _elements(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        yield data[start : start + length]
        start += length


def _actions(instructions: bytes) -> list[bytes]:
    for element in _elements(instructions):
        if element[:2] == b"\0\4":
            return list(_elements(element[8:]))
    return []


def _goto(instructions: bytes) -> int | None:
    for element in _elements(instructions):
        if element[:2] == b"\0\1":
            return element[4]
    return None


def _subtype(action: bytes) -> int | None:
    return int.from_bytes(action[8:10], "big") if action[:2] == b"\xff\xff" else None
