# SPDX-License-Identifier: Apache-2.0
"""The answer to "why does this packet not arrive": by policy, and by the switches themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from isthmus.addresses import mac_text
from isthmus.controller.asking import Asking
from isthmus.intent.model import Json
from isthmus.policy.answers import Outcome, Reply, TraceAnswer
from isthmus.policy.dhcp import LIMITED_BROADCAST
from isthmus.policy.placement import encapsulation
from isthmus.policy.questions import TracePacket
from isthmus.reach.rulings import ICMP, ICMPV6
from isthmus.reach.trace import DELIVERED, DROPPED, Question, Step, Trace, trace
from isthmus.reach.world import World
from isthmus.wire.ethernet import BROADCAST
from isthmus.wire.headers import Headers

UNKNOWN = "unknown"
"""What a packet meets on a host that does not answer."""

NOBODY = "02:00:00:00:00:fe"
"""The destination of a packet for which a guest finds no neighbour."""


class Asked(NamedTuple):
    """What a host is asked."""

    host: str
    question: TracePacket


class Passage(NamedTuple):
    """What one host's switch did."""

    host: str
    reply: Reply[TraceAnswer]


class Traced(NamedTuple):
    """Where a packet ends by policy, and what the switches on its way did with it if they were
    asked; and both as JSON."""

    found: Trace
    passages: tuple[Passage, ...]
    shown: dict[str, Json]


MOST_HOSTS = 2
"""On the way of a packet: there is no host between two."""


class Tracing:
    """Traces in the network as this controller knows it."""

    def __init__(
        self,
        world: Callable[[], World],
        asking: Asking,
        unknown: Callable[[Collection[str]], Awaitable[Mapping[str, str]]],
    ) -> None:
        """`unknown`: of some hosts, those that do not say that they have programmed all."""
        self._world = world
        self._asking = asking
        self._unknown = unknown

    async def trace(self, question: Question, *, by_switches: bool) -> Traced:
        """Raises NotFound, Invalid. The verdict of policy is none where a host on the way does not
        say that it has it: then it is unknown."""
        world = self._world()
        found = trace(world, question)
        sent = _sent(world, found) if by_switches else None
        answer = shown(found)
        unknown = await self._unknown(found.hosts) if found.hosts else {}
        if unknown:
            answer["verdict"] = UNKNOWN
            answer["unknown"] = [{"host": h, "why": unknown[h]} for h in sorted(unknown)]
        if by_switches:
            passages = await self._passages(sent)
            answer["switches"] = _shown_passages(passages)
            return Traced(found, tuple(passages), answer)
        return Traced(found, (), answer)

    async def _passages(self, asked: Asked | None) -> list[Passage]:
        """The same packet put to the switch of the sender's host, and of each host it comes to."""
        passages: list[Passage] = []
        while asked is not None and len(passages) < MOST_HOSTS:
            passage = Passage(asked.host, await self._asking.ask(*asked))
            passages.append(passage)
            asked = _onward(self._world(), passage)
        return passages


def _shown_passages(passages: Sequence[Passage]) -> dict[str, Json]:
    if not passages:
        return {"verdict": DROPPED, "passages": [], "reason": "port down"}
    last = passages[-1].reply
    delivered = last.answer is not None and last.answer.is_delivered
    return {
        "verdict": UNKNOWN if last.answer is None else DELIVERED if delivered else DROPPED,
        "passages": [{**one.reply.shown, "host": one.host} for one in passages],
        "reason": "" if delivered else _reason(last),
    }


def _reason(reply: Reply[TraceAnswer]) -> str:
    return reply.error if reply.answer is None else reply.answer.decision or reply.answer.place


def _sent(world: World, found: Trace) -> Asked | None:
    """The packet as the sender's guest sends it, put to its host, if it has one."""
    claim = world.claim_of(found.sender)
    if claim is None:
        return None
    headers = _headers(world, found)
    return Asked(claim.host, TracePacket(port=found.sender, packet=headers))


def _headers(world: World, found: Trace) -> Headers:
    packet = found.packet
    ends = packet.source_port, packet.destination_port
    is_icmp = packet.protocol in (ICMP, ICMPV6)
    ports, kind = ((0, 0), ends) if is_icmp else (ends, (0, 0))
    return Headers(
        source_mac=world.ports[found.sender].mac,
        destination_mac=first_hop(world, found),
        source=str(packet.source),
        destination=str(packet.destination),
        protocol=packet.protocol,
        source_port=ports[0],
        destination_port=ports[1],
        icmp_type=kind[0],
        icmp_code=kind[1],
    )


def first_hop(world: World, found: Trace) -> str:
    """The MAC address to which the sender's guest sends the packet: a neighbour's or the
    router's."""
    packet, sender = found.packet, world.ports[found.sender]
    if packet.destination == LIMITED_BROADCAST:
        return mac_text(BROADCAST)
    asked = world.router_asked(sender.segment, packet.source, packet.destination)
    if asked is not None:
        return asked.mac
    router = world.router_for(sender.segment, packet.source, packet.destination)
    on_link = world.subnet_of(sender.segment, packet.destination) is not None
    neighbour = world.holder(sender.segment, packet.destination)
    target = neighbour.mac if neighbour is not None else NOBODY
    return router.mac if not on_link and router is not None else target


def _onward(world: World, passage: Passage) -> Asked | None:
    """The host at the other end of the tunnel, and what it is asked."""
    answer = passage.reply.answer
    if answer is None or answer.outcome != Outcome.TO_TUNNEL:
        return None
    packet, status = answer.leaving, world.host_at(answer.peer)
    ours = world.host_statuses.get(passage.host)
    if packet is None or status is None or ours is None or not ours.provider_addresses:
        return None
    question = TracePacket(
        source=str(ours.provider_addresses[0]),
        vsid=answer.vsid,
        encapsulation=encapsulation(ours.encapsulations, status.encapsulations) or "",
        packet=packet,
    )
    return Asked(status.host, question)


def shown(found: Trace) -> dict[str, Json]:
    """A trace as JSON."""
    packet = found.packet
    return {
        "verdict": found.verdict,
        "sender": found.sender,
        "receiver": found.receiver,
        "hosts": list(found.hosts),
        "packet": {
            "protocol": packet.protocol,
            "source": str(packet.source),
            "destination": str(packet.destination),
            "sourcePort": packet.source_port,
            "destinationPort": packet.destination_port,
        },
        "steps": [_step(step) for step in found.steps],
    }


def _step(step: Step) -> dict[str, Json]:
    return dict(step._asdict())
