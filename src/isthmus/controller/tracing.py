# SPDX-License-Identifier: Apache-2.0
"""The answer to "why does this packet not arrive": by policy, and by the switches themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import NamedTuple

import msgspec

from isthmus.addresses import Address, mac_text
from isthmus.controller.asking import Asking
from isthmus.intent.model import Json, JsonObject
from isthmus.policy.dhcp import LIMITED_BROADCAST
from isthmus.policy.placement import encapsulation
from isthmus.reach.rulings import ICMP, ICMPV6, SCTP, TCP, UDP, Packet
from isthmus.reach.trace import DELIVERED, DROPPED, Question, Step, Trace, trace
from isthmus.reach.world import World
from isthmus.wire.ethernet import BROADCAST

_NAMES = {TCP: "tcp", UDP: "udp", SCTP: "sctp", ICMP: "icmp", ICMPV6: "icmp"}
_PACKET_FIELDS = (
    *("eth_src", "eth_dst", "dl_src", "dl_dst", "tcp", "udp", "sctp", "icmp", "tcp6", "udp6"),
    *("sctp6", "icmp6", "ip", "ipv6", "nw_proto", "nw_src", "nw_dst", "ipv6_src", "ipv6_dst"),
    *("nw_ttl", "tp_src", "tp_dst", "icmp_type", "icmp_code", "nw_frag"),
)
"""What the next host sees of a packet."""

UNKNOWN = "unknown"
"""What a packet meets on a host that does not answer."""

NOBODY = "02:00:00:00:00:fe"
"""The destination of a packet for which a guest finds no neighbour."""


class Passage(NamedTuple):
    """What one host's switch did."""

    host: str
    answer: JsonObject


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

    async def trace(self, question: Question, *, by_switches: bool) -> dict[str, Json]:
        """Raises NotFound, Invalid. The verdict of policy is none where a host on the way does not
        say that it has it: then it is unknown."""
        world = self._world()
        found = trace(world, question)
        answer = shown(found)
        unknown = await self._unknown(found.hosts) if found.hosts else {}
        if unknown:
            answer["verdict"] = UNKNOWN
            answer["unknown"] = [{"host": h, "why": unknown[h]} for h in sorted(unknown)]
        if by_switches:
            answer["switches"] = await self._by_switches(world, found)
        return answer

    async def _by_switches(self, world: World, found: Trace) -> dict[str, Json]:
        """The same packet put to the switch of the sender's host, and of each host it comes to."""
        sender = world.ports[found.sender]
        claim = world.claim_of(sender.id)
        if claim is None:
            return {"verdict": DROPPED, "passages": [], "reason": "port down"}
        question: dict[str, Json] = {"port": sender.id, "fields": _fields(world, found)}
        host, passages = claim.host, []
        for _ in range(2):
            text = f"trace {msgspec.json.encode(question).decode()}"
            passage = Passage(host, await self._asking.ask(host, text))
            passages.append(passage)
            following = _onward(world, passage)
            if following is None:
                break
            host, question = following
        last = passages[-1].answer
        silent = bool(last.get("error"))
        delivered = (last.get("outcome") == "port" and bool(last.get("port"))) or (
            last.get("outcome") in ("answered", "controller")
        )
        return {
            "verdict": UNKNOWN if silent else DELIVERED if delivered else DROPPED,
            "passages": [{**one.answer, "host": one.host} for one in passages],
            "reason": "" if delivered else _reason(last),
        }


def _reason(answer: JsonObject) -> Json:
    return answer.get("error") or answer.get("decision") or answer.get("stage")


def _fields(world: World, found: Trace) -> dict[str, Json]:
    """The packet as the sender's guest sends it, in the switch's words."""
    return {
        "eth_src": world.ports[found.sender].mac,
        "eth_dst": first_hop(world, found),
        **_protocol_fields(found.packet),
        "nw_ttl": "64",
    }


def first_hop(world: World, found: Trace) -> str:
    """The MAC address to which the sender's guest sends the packet: a neighbour's or the
    router's."""
    packet, sender = found.packet, world.ports[found.sender]
    if packet.destination == LIMITED_BROADCAST:
        return mac_text(BROADCAST)
    domain = world.domains.get(sender.segment, "")
    router = world.routers.get(domain)
    on_link = world.subnet_of(sender.segment, packet.destination) is not None
    is_gateway = str(packet.destination) in world.gateways(domain)
    neighbour = world.holder(sender.segment, packet.destination)
    target = neighbour.mac if neighbour is not None else NOBODY
    return router.mac if (not on_link or is_gateway) and router is not None else target


def _protocol_fields(packet: Packet) -> dict[str, Json]:
    name, six = _NAMES.get(packet.protocol), packet.family == 6
    addresses = _addresses(packet.source, packet.destination)
    if name is None:
        kind = "ipv6" if six else "ip"
        return {kind: "", "nw_proto": str(packet.protocol), **addresses}
    ends = ("icmp_type", "icmp_code") if name == "icmp" else ("tp_src", "tp_dst")
    values = (str(packet.source_port), str(packet.destination_port))
    return {f"{name}6" if six else name: "", **addresses, **dict(zip(ends, values, strict=True))}


def _addresses(source: Address, destination: Address) -> dict[str, Json]:
    prefix = "ipv6" if source.version == 6 else "nw"
    return {f"{prefix}_src": str(source), f"{prefix}_dst": str(destination)}


def _onward(world: World, passage: Passage) -> tuple[str, dict[str, Json]] | None:
    """The host at the other end of the tunnel, and what it is asked."""
    answer = passage.answer
    fields = answer.get("fields")
    if answer.get("outcome") != "tunnel" or not isinstance(fields, Mapping):
        return None
    peer = answer.get("peer")
    statuses = world.host_statuses.values()
    status = next((one for one in statuses if peer in [*map(str, one.provider_addresses)]), None)
    ours = world.host_statuses.get(passage.host)
    if status is None or ours is None or not ours.provider_addresses:
        return None
    question: dict[str, Json] = {
        "source": str(ours.provider_addresses[0]),
        "vsid": answer.get("vsid"),
        "encapsulation": encapsulation(ours.encapsulations, status.encapsulations) or "",
        "fields": {name: fields[name] for name in _PACKET_FIELDS if name in fields},
    }
    return status.host, question


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
