# SPDX-License-Identifier: Apache-2.0
"""Shows what policy lets pass, while somebody watches: the packet that opens a connection, with the
rules that allowed it.

Before COMMIT keeps a new connection, a copy of its first packet goes up to the agent, limited by a
meter of its own. Nobody follows the packets of ports without rules and those that stateless rules
allow: of TCP the first SYN is shown like a new connection, of everything else each packet is, under
another meter, so that a stream of them hides no connection. Broadcasts, multicasts, later fragments
and connections that were there before they were followed (`begun`) are not shown.

Each allowing flow of a rule notes in the packet's metadata field which rule it is, 16 bits a level:
a digest of the rule's name, not its place, so that it is still the same rule for an agent that has
a newer list than the flow. While nobody watches, none of these flows and actions are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from zlib import crc32

from isthmus.addresses import MULTICAST_BIT
from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import THIS, Plugged
from isthmus.policy.joined import joined
from isthmus.policy.rows import Rule
from isthmus.policy.values import Direction, RuleLevel
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Commit
from isthmus.switches.ovs.facts import Interest, Meter, WatchingAllowed
from isthmus.switches.ovs.feature import Feature, given_to
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import (
    ALLOWED,
    ALLOWED_METER,
    PASSED,
    PASSED_METER,
    Stage,
)
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

LEVELS = (
    (Direction.OUT, RuleLevel.INTERFACE),
    (Direction.OUT, RuleLevel.SUBNET),
    (Direction.IN, RuleLevel.SUBNET),
    (Direction.IN, RuleLevel.INTERFACE),
)
"""In the order in which a packet passes them."""
_NOTE_BITS = 16

_FIELDS = {
    4: (0x0800, oxm.IPV4_SRC, oxm.IPV4_DST),
    6: (0x86DD, oxm.IPV6_SRC, oxm.IPV6_DST),
}
_SYN, _SYN_ACK = 0x02, 0x12
_SHOWN_BYTES = 128
"""Of each packet: all its headers."""


def note(sets: Sequence[str], rule: Rule | None = None) -> int:
    """What stands for a rule, or without one for the default of a list. Others may have the same:
    of 1000 rules about 15 share it with another."""
    words = ("default", *sets) if rule is None else ("rule", rule.rule_set, rule.id)
    return 1 + crc32(joined(*words).encode()) % ((1 << _NOTE_BITS) - 1)


def noted(
    direction: Direction, level: RuleLevel, sets: Sequence[str], rule: Rule | None, read: Read
) -> tuple[bytes, ...]:
    """What an allowing flow of a rule notes, or of the default; nothing while nobody watches."""
    if read.get(WatchingAllowed, THIS) is None:
        return ()
    first_bit = LEVELS.index((direction, level)) * _NOTE_BITS
    return (act.load(note(sets, rule), oxm.METADATA, first_bit, _NOTE_BITS),)


def notes(metadata: int) -> Iterator[tuple[Direction, RuleLevel, int]]:
    """Direction, level and `note` of what allowed a packet; nothing of a level without rules."""
    for number, (direction, level) in enumerate(LEVELS):
        found = metadata >> number * _NOTE_BITS & (1 << _NOTE_BITS) - 1
        if found:
            yield direction, level, found


def allowed_flows(watching: WatchingAllowed, read: Read) -> Iterator[Item]:
    """Over WatchingAllowed: copies at COMMIT, of what goes on there as it would without them."""
    rate = watching.rate_pps
    for meter in (ALLOWED_METER, PASSED_METER):
        yield Item(Meter, meter, Meter(meter, rate, rate))
    flows = Flows("allowed_flows", THIS)
    on = (
        reg.SHOWN.load(1),
        act.resubmit_table(Stage.COMMIT),
    )
    begins = act.controller(ALLOWED, max_len=_SHOWN_BYTES, meter=ALLOWED_METER)
    passes = act.controller(PASSED, max_len=_SHOWN_BYTES, meter=PASSED_METER)
    state = oxm.CT_TRK | oxm.CT_NEW | oxm.CT_EST
    new, unfollowed = oxm.ct_state(oxm.CT_TRK | oxm.CT_NEW, state), oxm.ct_state(0, oxm.CT_TRK)
    tcp = oxm.ip_proto(6)
    of_tcp = set()
    for ethernet, ends in sorted({*_looked_at(watching.interests, read)}):
        packet = (
            oxm.eth_type(ethernet),
            oxm.eth_dst(0, MULTICAST_BIT),
            oxm.ip_frag(0, oxm.FRAGMENT_LATER),
            # Packets whose ends are exchanged began earlier.
            reg.SHOWN.match(0),
            reg.TURNED.match(0),
        )
        for priority, its, copy in (
            (Commit.SHOWN + 3, (new, *ends), begins),
            (Commit.SHOWN + 2, (unfollowed, tcp, oxm.tcp_flags(_SYN, _SYN_ACK), *ends), begins),
            (Commit.SHOWN, (unfollowed, *ends), passes),
        ):
            whole = oxm.match(*packet, *its)
            yield flows.add(Stage.COMMIT, priority, whole, apply=(copy, *on))
        of_tcp.add(oxm.match(*packet, unfollowed, tcp))
    for match in sorted(of_tcp):
        yield flows.add(Stage.COMMIT, Commit.SHOWN + 1, match, apply=on)


def _looked_at(
    interests: tuple[Interest, ...], read: Read
) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    """Ethernet types, with what matches the ends of packets."""
    for interest in interests:
        sent, received = b"", b""
        if interest.port:
            plugged = read.get(Plugged, interest.port)
            if plugged is None:
                continue
            sent = oxm.in_port(plugged.ofport)
            received = reg.OUT.match(plugged.ofport)
        network = ip_network(interest.network) if interest.network else None
        for family, (ethernet, source, destination) in _FIELDS.items():
            if network is None:
                yield from ((ethernet, (sent,)), (ethernet, (received,)))
            elif network.version == family:
                place = int(network.network_address), network.prefixlen
                yield ethernet, (sent, _end(destination, *place))
                yield ethernet, (received, _end(source, *place))


def _end(field: oxm.Field, address: int, length: int) -> bytes:
    return oxm.prefix(field, address, length) if length else b""


WATCHING_ALLOWED = "watching what is allowed"

FEATURE = Feature(
    WATCHING_ALLOWED,
    units=(unit(WatchingAllowed, allowed_flows),),
    packets=dict.fromkeys((ALLOWED, PASSED), given_to(WATCHING_ALLOWED)),
)
