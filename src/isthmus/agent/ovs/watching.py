# SPDX-License-Identifier: Apache-2.0
"""Shows what is dropped and what is allowed while somebody watches: a sample of the packets, each
with what decided it.

While a watch (`policy.questions.Watch`) lasts, flows send up what they drop, or allow
(`switches.ovs.allowed`), within a rate; afterwards they are as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from isthmus.agent.ovs.decisions import decision_of
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.noted import Noted
from isthmus.agent.ovs.verdicts import is_allowed, told, undecided
from isthmus.errors import Invalid
from isthmus.host.facts import THIS
from isthmus.host.indexes import LEGS_BY_ROUTER
from isthmus.policy import answers
from isthmus.policy.answers import Verdict, Verdicts
from isthmus.policy.questions import Watch
from isthmus.policy.rows import Answer, Port, RouterPort
from isthmus.policy.rules import Network
from isthmus.policy.topology import is_peer
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.facts import (
    DomainFacts,
    Interest,
    SegmentFacts,
    Watching,
    WatchingAllowed,
)
from isthmus.switches.ovs.pipeline import (
    ALLOWED_METER,
    PASSED_METER,
    SHOWN_DROPS,
    WATCH_METER,
)
from isthmus.wire import oxm
from isthmus.wire.conversation import Conversation, conversation
from isthmus.wire.openflow_packets import PacketIn

RATE_PPS = 50
"""Of a host: a sample, not a capture."""

LONGEST_S = 60
MOST_HELD = 200
MOST_WATCHES = 32
TELL_AGAIN_US = 10_000_000
"""The same conversation is told as allowed again after so long: a connection that nobody answers
is a new one with every packet for the kernel's connection tracking, and what nobody follows is."""
ASKED_US = 1_000_000
"""How long a packet is taken for the one that was looked at as a question before: these follow each
other, unless a meter withholds one."""
MOST_REMEMBERED = 10_000
UNSHOWN_EVERY_S = 1.0
"""How often it is told how much has not been shown."""

METERS = {WATCH_METER: "dropped", ALLOWED_METER: "allowed", PASSED_METER: "allowed"}
"""What is withheld by each."""


@dataclass(slots=True)
class _Watch:
    question: Watch
    networks: tuple[Network, ...]
    until_s: float
    number: int = 0
    """Of what it was told."""
    held: list[Verdict] = field(default_factory=list)
    told_us: dict[tuple[object, ...], int] = field(default_factory=dict)
    """When a conversation was last told as allowed."""
    not_held: int = 0
    """What there was no room for."""
    unshown: dict[str, int] = field(default_factory=dict)
    """What of `Watches.unshown` it has been told."""
    unshown_told_s: float = 0.0

    def looks_at(self, verdict: str) -> bool:
        return self.question.verdict in ("all", verdict)

    def was_told(self, what: tuple[object, ...], at_us: int) -> bool:
        """Whether this was told as allowed a moment ago; now it is."""
        last_us = self.told_us.get(what)
        if last_us is not None and at_us < last_us + TELL_AGAIN_US:
            return True
        if len(self.told_us) >= MOST_REMEMBERED:
            self.told_us.clear()
        self.told_us[what] = at_us
        return False


class _Shown(NamedTuple):
    """A packet that was decided on. `domain` is the routing domain that it is in."""

    verdict: str
    ends: Conversation | None
    sender: Port | None
    receiver: Port | None
    domain: int


class Watches:
    """The watches of one host."""

    def __init__(self, state: OvsHost) -> None:
        self._state = state
        self._watches: dict[str, _Watch] = {}
        self._noted = Noted(state)
        self._asked: dict[tuple[object, ...], tuple[PacketIn, int]] = {}
        """Packets that may not open a connection, and are yet looked at as answers
        (`switches.ovs.begun`)."""
        self._unshown: dict[str, int] = {}
        """By verdict, how many packets since the beginning the switch has not sent up."""
        self._metered: dict[int, int] = {}
        self.must_program = False
        """The flows have to change for what was asked; its owner resets it."""

    def ask(self, question: Watch, now_s: float) -> None:
        """Begin a watch, or go on with it. Raises Invalid for one too many."""
        networks = question.networks()
        until_s = now_s + min(question.seconds, LONGEST_S)
        known = self._watches.get(question.name)
        if question.seconds <= 0:
            self._watches.pop(question.name, None)  # nobody reads what it would be told now
            self._forget()
        elif known is None:
            if len(self._watches) >= MOST_WATCHES:
                raise Invalid(f"{MOST_WATCHES} watches are open on this host: end one of them")
            unshown = dict(self._unshown)
            made = _Watch(question, networks, until_s, unshown=unshown, unshown_told_s=now_s)
            self._watches[question.name] = made
        else:
            known.question, known.networks, known.until_s = question, networks, until_s
        self.must_program |= self._look()

    @property
    def any(self) -> bool:
        return bool(self._watches)

    def expire(self, now_s: float) -> bool:
        """Forget watches whose time is up. True if flows have to change."""
        for name in [name for name, one in self._watches.items() if one.until_s < now_s]:
            del self._watches[name]
        self._forget()
        return self._look()

    def _forget(self) -> None:
        if not self._watches:
            self._asked.clear()
            self._noted.clear()
            self._metered.clear()

    def _look(self) -> bool:
        """Have the flows show what somebody looks at, and no more. True if that is a change."""
        dropped = {one.question.port for one in self._watches.values() if one.looks_at("dropped")}
        ports = () if "" in dropped else tuple(sorted(dropped))
        interests = sorted(
            {
                Interest(one.question.port, str(network) if network else "")
                for one in self._watches.values()
                if one.looks_at("allowed")
                for network in one.networks or (None,)
            }
        )
        watching = Watching(RATE_PPS, ports) if dropped else None
        allowed = WatchingAllowed(RATE_PPS, tuple(interests)) if interests else None
        rows = self._state.engine.rows
        changed = rows(Watching).get(THIS) != watching or rows(WatchingAllowed).get(THIS) != allowed
        self._state.engine.put(Watching, THIS, watching)
        self._state.engine.put(WatchingAllowed, THIS, allowed)
        return changed

    def take(self, packet: PacketIn, at_us: int) -> None:
        """A packet that a flow has dropped, or shows before it lets it pass. What is looked at as
        an answer is told as dropped, as it was sent, when the answer is."""
        if packet.table == SHOWN_DROPS:
            whose = packet.fields.get(oxm.METADATA, 0)
            packet = packet._replace(table=whose & 0xFF, cookie=whose)
        if reg.carried(reg.TURNED, packet):
            asked = self._asked.pop(_either_way(packet), None)
            if asked is not None and at_us < asked[1] + ASKED_US:
                self._tell(*asked)
        elif reg.carried(reg.ASKED, packet) and not is_allowed(packet):
            if len(self._asked) >= MOST_HELD:
                self._asked.clear()
            self._asked[_either_way(packet)] = packet, at_us
        else:
            self._tell(packet, at_us)

    def _tell(self, packet: PacketIn, at_us: int) -> None:
        """Keep it for the watches that it concerns."""
        ends, passed = conversation(packet.packet), is_allowed(packet)
        sender = self._state.port_behind(packet.in_port)
        ports = sender, self._state.port_behind(reg.carried(reg.OUT, packet))
        verdict = "allowed" if passed else "dropped"
        seen = _Shown(verdict, ends, *ports, reg.carried(reg.DOMAIN, packet))
        what = packet.in_port, reg.carried(reg.OUT, packet), reg.carried(reg.VSID, packet), ends
        found = None
        for watch in self._watches.values():
            if not self._is_for(watch, seen) or (passed and watch.was_told(what, at_us)):
                continue
            if len(watch.held) >= MOST_HELD:
                watch.not_held += 1
                continue
            if found is None:
                found = self._verdict(packet, ends, ports, at_us)
            watch.held.append(found)

    def note_metered(self, metered: Mapping[int, int]) -> None:
        """What the switch's meters have dropped since they were made."""
        for meter, verdict in METERS.items():
            count, last = metered.get(meter, 0), self._metered.get(meter, 0)
            self._metered[meter] = count
            more = count - last if count >= last else count
            self._unshown[verdict] = self._unshown.get(verdict, 0) + more

    def answers(self, now_s: float) -> Iterator[Answer]:
        """What each watch has not been told yet."""
        for name, watch in self._watches.items():
            mine, watch.held = watch.held, []
            unshown = self._more_unshown(watch, now_s)
            if not mine and not unshown:
                continue
            watch.number += 1
            host = self._state.identity.host
            said = Verdicts(host=host, verdicts=tuple(mine), unshown=unshown)
            yield Answer(id=f"{name}.{host}.{watch.number}", host=host, result=answers.write(said))

    def _more_unshown(self, watch: _Watch, now_s: float) -> int:
        if now_s < watch.unshown_told_s + UNSHOWN_EVERY_S:
            return 0
        watch.unshown_told_s = now_s
        now = {one: count for one, count in self._unshown.items() if watch.looks_at(one)}
        more = sum(count - watch.unshown.get(one, 0) for one, count in now.items())
        watch.unshown = now
        more, watch.not_held = more + watch.not_held, 0
        return more

    def _is_for(self, watch: _Watch, shown: _Shown) -> bool:
        question = watch.question
        if not watch.looks_at(shown.verdict):
            return False
        sent = received = True
        if question.port:
            sent = shown.sender is not None and shown.sender.id == question.port
            received = shown.receiver is not None and shown.receiver.id == question.port
        if watch.networks:
            if shown.ends is None or not self._is_reached(question.peer, shown):
                return False
            sent = sent and _is_in(watch.networks, shown.ends.destination)
            received = received and _is_in(watch.networks, shown.ends.source)
        return sent or received

    def _is_reached(self, peer: str, shown: _Shown) -> bool:
        """Whether a packet is in a network where this port is: others may have its addresses."""
        if not peer:
            return True
        rows = self._state.engine.rows
        port = rows(Port).get(peer)
        facts = rows(SegmentFacts).get(port.segment) if port is not None else None
        domain = rows(DomainFacts).get(facts.domain_key) if facts is not None else None
        if domain is None:
            return False
        if shown.domain in (0, domain.domain):
            return True
        keys = [
            key
            for router in domain.routers
            for key in self._state.engine.entry(LEGS_BY_ROUTER, router)
        ]
        legs = [leg for key in keys if (leg := rows(RouterPort).get(key)) is not None]
        return any(map(is_peer, legs))

    def _verdict(
        self,
        packet: PacketIn,
        ends: Conversation | None,
        ports: tuple[Port | None, Port | None],
        at_us: int,
    ) -> Verdict:
        found = undecided(packet, ends, ports, self._state.identity.host, at_us)
        if is_allowed(packet):
            metadata = packet.fields.get(oxm.METADATA, 0)
            decisions = [] if ends is None else self._noted.allowing(metadata, *ports, ends)
        else:
            decision = decision_of(packet.cookie, self._state)
            decisions = [] if decision is None else [decision]
        return msgspec.structs.replace(
            found,
            decision=", ".join(one.text for one in decisions),
            origin=decisions[0].origin if len(decisions) == 1 else "",
            decisions=tuple(map(told, decisions)),
        )


def _either_way(packet: PacketIn) -> tuple[object, ...]:
    """The same of a packet when its ends are exchanged."""
    ends = conversation(packet.packet)
    both = None
    if ends is not None:
        pairs = (ends.source, ends.source_port), (ends.destination, ends.destination_port)
        # ICMP's type changes with that, its identifier does not.
        both = frozenset(pairs), ends.protocol, ends.detail[2:]
    return packet.in_port, reg.carried(reg.OUT, packet), reg.carried(reg.VSID, packet), both


def _is_in(networks: Iterable[Network], address: object) -> bool:
    return any(address in network for network in networks)
