# SPDX-License-Identifier: Apache-2.0
"""Small mistakes that a compiler of flows could make, made in its output.

A mutant is a program with one flow changed (or two priorities exchanged). What is mutated is what
decides who reaches whom. Left out: the flows that answer ARP and neighbour discovery or take DHCP
out, for the model sends none; those of stateless rules in the stages of connections, for only later
fragments of packets come there, and the model sends none; those that look at TCP's flags, for it
sends none of these; hashes and meters, which have no say; and what a switch would refuse
(`Refused`), for that shows itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import NamedTuple

from isthmus.switches.ovs.pipeline import FlowKey, Register, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

Flows = Mapping[FlowKey, bytes]
"""Instructions by place."""


class Edit(NamedTuple):
    """One flow that is replaced by another; None for none."""

    before: FlowKey | None
    after: FlowKey | None
    instructions: bytes


class Mutant(NamedTuple):
    kind: str
    host: str
    edits: tuple[Edit, ...]


def mutants(programs: Mapping[str, Flows], random: Random) -> Iterator[Mutant]:
    """Without end; of each kind as many as of any other."""
    relevant = {
        host: sorted(key for key, actions in flows.items() if is_relevant(key, actions))
        for host, flows in programs.items()
    }
    while True:
        for kind, mutate in KINDS.items():
            host = random.choice(sorted(programs))
            key = random.choice(relevant[host])
            edits = mutate(key, programs[host], random)
            if edits:
                yield Mutant(kind, host, edits)


def is_relevant(key: FlowKey, instructions: bytes) -> bool:
    """Whether the flow decides where IP packets of guests go."""
    if key.table == Stage.ADVERTISE or _CONTROLLER in instructions:
        return False
    exact = {entry.field: entry.value for entry in oxm.entries(key.match)}
    state = {entry.value for entry in oxm.entries(key.match) if entry.mask == _STATELESS}
    if state & {oxm.CT_TRK, oxm.CT_TRK | oxm.CT_RPL} and key.table != Stage.JUDGE:
        return False
    kinds = exact.get(oxm.ICMPV6_TYPE), exact.get(oxm.ICMPV6_CODE)
    is_discovery = kinds[0] is not None and 133 <= kinds[0] <= 137
    is_dhcp = exact.get(oxm.UDP_SRC) == 68
    has_flags = any(entry.field is oxm.TCP_FLAGS for entry in oxm.entries(key.match))
    is_sent = exact.get(oxm.ETH_TYPE) != 0x0806 and not has_flags
    return is_sent and not is_discovery and not is_dhcp


_STATELESS = oxm.CT_TRK | oxm.CT_INV | oxm.CT_RPL
"""What of ct_state the flows of stateless rules compare that stand where connections are judged."""
_CONTROLLER = struct.pack(">IH", act.NICIRA, act.Nicira.CONTROLLER)


# -- the kinds -------------------------------------------------------------------------------------


def _entry_dropped(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    entries = list(oxm.entries(key.match))
    if not entries:
        return ()
    entries.remove(random.choice(entries))
    return _moved(key, key._replace(match=_match(entries)), flows)


def _mask_widened(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    entries = [one for one in oxm.entries(key.match) if one.field not in _UNMASKED]
    if not entries:
        return ()
    chosen = random.choice(entries)
    mask = chosen.field.ones if chosen.mask is None else chosen.mask
    bits = [bit for bit in range(128) if mask >> bit & 1]
    wider = chosen._replace(mask=mask & ~(1 << random.choice(bits)))
    others = [one for one in oxm.entries(key.match) if one != chosen]
    return _moved(key, key._replace(match=_match([*others, wider])), flows)


def _priorities_swapped(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    others = [
        other
        for other in sorted(flows)
        if other.table == key.table
        and other.priority != key.priority
        and is_relevant(other, flows[other])
        and _meet(key, other)
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


def _deleted(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    # A flow of priority 0 drops, as its table would without it.
    return (Edit(key, None, b""),) if key.priority else ()


def _number_changed(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    actions = _actions(flows[key])
    loads = [n for n, action in enumerate(actions) if _subtype(action) == act.Nicira.LOAD]
    if not loads:
        return ()
    chosen = random.choice(loads)
    packed, header, value = struct.unpack(">HIQ", actions[chosen][10:])
    other = value ^ 1 << random.randrange((packed & 63) + 1)
    actions[chosen] = actions[chosen][:10] + struct.pack(">HIQ", packed, header, other)
    return _redone(key, actions, _goto(flows[key]))


def _zone_lost(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    zones = [one for one in sorted(flows) if one.table == Stage.CLASSIFY and flows[one]]
    chosen = random.choice(zones)
    zone = oxm.REG[Register.ZONE].nicira.to_bytes(4, "big")
    actions = _actions(flows[chosen])
    kept = [one for one in actions if _subtype(one) != act.Nicira.LOAD or zone != one[12:16]]
    if len(kept) == len(actions):
        return ()
    return _redone(chosen, kept, _goto(flows[chosen]))


def _sent_elsewhere(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    goto = _goto(flows[key])
    stages = [stage for stage in Stage if stage > key.table and stage != goto]
    if goto is None or not stages:
        return ()
    return _redone(key, _actions(flows[key]), random.choice(stages))


def _drop_passed(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    drops = [one for one in sorted(flows) if not flows[one] and is_relevant(one, b"")]
    chosen = random.choice(drops)
    targets = {_goto(flows[one]) for one in flows if one.table == chosen.table} - {None}
    if not targets:
        return ()
    target = random.choice(sorted(target for target in targets if target is not None))
    return _redone(chosen, [], target)


def _pass_dropped(key: FlowKey, flows: Flows, random: Random) -> tuple[Edit, ...]:
    return _redone(key, [], None) if flows[key] else ()


_Kind = Callable[[FlowKey, Flows, Random], tuple[Edit, ...]]

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
    *(oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE, oxm.CT_NW_PROTO, oxm.IP_TTL, oxm.ARP_OP, oxm.CT_STATE)
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


def _meet(one: FlowKey, other: FlowKey) -> bool:
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
