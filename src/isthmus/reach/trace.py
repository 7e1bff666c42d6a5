# SPDX-License-Identifier: Apache-2.0
"""Follows one packet through policy: from a port, past its rules, over the underlay, past the other
port's rules; and says where it ends and why.

The first packet of a connection is followed, and what answers it. Established connections go the
same way: each of their packets is judged like the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.addresses import Address
from isthmus.errors import Invalid, NotFound
from isthmus.policy.addresses import leading, ruled_as
from isthmus.policy.closed import PORT, address_word, domain_word
from isthmus.policy.dhcp import (
    CLIENT_PORT,
    LIMITED_BROADCAST,
    SERVER_PORT,
    server_address,
    subnet_of,
)
from isthmus.policy.host_kinds import plugging
from isthmus.policy.placement import encapsulation
from isthmus.policy.rows import Claim, Port, Router
from isthmus.policy.rules import default_of
from isthmus.policy.values import Action, Direction, PortState, Preference
from isthmus.reach.rulings import (
    ICMP,
    ICMPV6,
    UDP,
    WITH_HANDSHAKE,
    Packet,
    Ruling,
    closed_of,
    forbids_something,
    rulings,
)
from isthmus.reach.world import World, parse

DELIVERED, DROPPED = "delivered", "dropped"


class Step(NamedTuple):
    """One thing that happens to the packet. `reason` is a word for programs, `origin` the
    reference of the resource that decides, where one does."""

    where: str
    passes: bool
    text: str
    reason: str = ""
    origin: str = ""


class Trace(NamedTuple):
    """Where the packet ends. `sender` and `receiver` are ports; `hosts` those that it passes."""

    verdict: str
    steps: tuple[Step, ...]
    packet: Packet
    sender: str
    receiver: str
    hosts: tuple[str, ...]

    @property
    def last(self) -> Step:
        return self.steps[-1]


class Question(NamedTuple):
    """From a port to a port or an address. Ports of 0 are any; protocol 0, ICMP and ICMPv6 are an
    echo request. `source_address` is which of the sender's addresses it is sent from; if it is
    empty, the one that `source` is, or the first of the family."""

    source: str
    destination: str
    protocol: int = 0
    destination_port: int = 0
    source_port: int = 0
    family: int = 0
    source_address: str = ""


def trace(world: World, question: Question) -> Trace:
    """Raises NotFound for a name that is no port, Invalid for what cannot be sent."""
    sender = port_named(world, question.source)
    packet = packet_of(world, sender, question)
    if _is_for_many(packet.destination) and _dhcp_server(world, sender, packet) is None:
        raise Invalid(
            f"{packet.destination} is for many, and a trace follows one packet: name a port or its"
            " address"
        )
    steps, receiver, hosts = [], "", []
    for step, port, host in _follow(world, sender, packet):
        steps.append(step)
        receiver = port or receiver
        if host and host not in hosts:
            hosts.append(host)
    verdict = DELIVERED if steps[-1].passes else DROPPED
    return Trace(verdict, tuple(steps), packet, sender.id, receiver, tuple(hosts))


def port_named(world: World, name: str) -> Port:
    """A port by its name, or by an address that only one has. Raises NotFound, Invalid."""
    found = world.ports.get(name.lower().removeprefix("/networkinterfaces/"))
    if found is not None:
        return found
    address = parse(name)
    if address is not None:
        holders = world.ports_at(str(address))
        if len(holders) == 1:
            return holders[0]
        if holders:
            names = ", ".join(sorted(port.id for port in holders)[:5])
            raise Invalid(f"{name} is the address of {len(holders)} ports ({names}): name one")
    raise NotFound(f"no port is called {name}: `isthmus get /networkInterfaces` lists them")


def packet_of(world: World, sender: Port, question: Question) -> Packet:
    """The packet that a question is about. Raises NotFound, Invalid."""
    family, target = question.family, parse(question.destination)
    wanted = parse(question.source_address or question.source)
    if str(wanted) not in sender.addresses:
        wanted = None
    if target is not None:
        family = target.version
    else:
        port = port_named(world, question.destination)
        if wanted is not None and leading(port, wanted.version):
            family = family or wanted.version
        family = family or (4 if leading(port, 4) and leading(sender, 4) else 6)
        text = leading(port, family)
        if not text:
            raise Invalid(f"{port.id} has no IPv{family} address")
        target = parse(text)
    assert target is not None, "policy has addresses only"
    text = leading(sender, family)
    source = wanted if wanted is not None and wanted.version == family else None
    if source is None and text:
        source = parse(text)
    if source is None:
        raise Invalid(f"{sender.id} has no IPv{family} address to send from")
    if question.protocol in (0, ICMP, ICMPV6):
        protocol, kind = (ICMP, 8) if family == 4 else (ICMPV6, 128)
        return Packet(protocol, source, target, kind, 0)
    return Packet(
        question.protocol, source, target, question.source_port, question.destination_port
    )


Followed = Iterator[tuple[Step, str, str]]
"""Each step, with the port and the host that it has come to."""


def _follow(world: World, sender: Port, packet: Packet) -> Followed:
    claim = world.claim_of(sender.id)
    if claim is None:
        yield _drop(sender.id, _nowhere(world, sender), "port down", sender.origin), "", ""
        return
    yield Step(sender.id, True, f"sends from {packet.source}, on {claim.host}"), "", claim.host
    server = _dhcp_server(world, sender, packet)
    if server is not None and PORT not in closed_of(world, sender):
        # Before any rule, and whatever else of the port is closed, as switches do.
        yield Step(sender.id, True, f"{claim.host} answers it by DHCP, as {server}"), "", ""
        return
    for trouble in _troubles(world, sender, packet.source, packet.destination):
        yield trouble, "", ""
        if not trouble.passes:
            return
    asked = world.router_asked(sender.segment, packet.source, packet.destination)
    if asked is not None:
        yield from _to_gateway(world, sender, asked, packet)
        return
    found = _find(world, sender, packet)
    yield found, "", ""
    if not found.passes:
        return
    way = world.way(sender.segment, packet.source, packet.destination)
    receiver = world.holder(way or sender.segment, packet.destination)
    assert receiver is not None, "the step before has found it"
    for step in _judge(world, sender, str(packet.source), Direction.OUT, packet):
        yield step, "", ""
        if not step.passes:
            return
    there = world.claim_of(receiver.id)
    if there is None:
        yield _drop(receiver.id, _nowhere(world, receiver), "port down", receiver.origin), "", ""
        return
    carried = _carry(world, claim, there)
    yield carried, receiver.id, there.host
    if not carried.passes:
        return
    for trouble in _troubles(world, receiver, packet.destination, packet.source):
        yield trouble, "", ""
        if not trouble.passes:
            return
    for step in _judge(world, receiver, str(packet.destination), Direction.IN, packet):
        yield step, "", ""
        if not step.passes:
            return
    yield Step(receiver.id, True, f"receives it as {packet.destination}, on {there.host}"), "", ""
    yield from ((step, "", "") for step in _answer(world, sender, receiver, packet))


def _dhcp_server(world: World, sender: Port, packet: Packet) -> Address | None:
    """What the sender's host calls itself, where it answers the packet by DHCP."""
    if packet[0] != UDP or packet[3:] != (CLIENT_PORT, SERVER_PORT):
        return None
    subnet = subnet_of(sender, world.subnets_by_segment.get(sender.segment))
    if subnet is None:
        return None
    server = server_address(subnet)
    return server if packet.destination in (LIMITED_BROADCAST, server) else None


def _is_for_many(destination: Address) -> bool:
    return destination == LIMITED_BROADCAST or destination.is_multicast


def _find(world: World, sender: Port, packet: Packet) -> Step:
    """To which port the destination leads."""
    target = packet.destination
    router = world.router_for(sender.segment, packet.source, target)
    segment = world.way(sender.segment, packet.source, target)
    if segment is None:
        where = router.origin if router is not None else sender.segment
        prefixes = ", ".join(router.prefixes) if router is not None else "its segment"
        return _drop(
            sender.id,
            f"no route to {target}: {where} has {prefixes}",
            "no route",
            router.origin if router is not None else "",
        )
    how = "on the same segment" if segment == sender.segment else f"routed to {segment}"
    if router is not None and segment != sender.segment:
        is_alone = len(world.routers_in(router.id)) < 2
        how = how if is_alone else f"{how} by {router.id}"
    holder = world.holder(segment, target)
    if holder is None:
        return _drop(
            sender.id,
            f"{target} is {how}, but no port has that address",
            "no port has that address",
        )
    return Step(sender.id, True, f"{target} is {holder.id}, {how}", origin=holder.origin)


def _judge(
    world: World, port: Port, address: str, direction: Direction, packet: Packet
) -> Iterator[Step]:
    found = rulings(world, port, address, direction, packet)
    words = "outbound" if direction is Direction.OUT else "inbound"
    if not found:
        yield Step(port.id, True, f"no {words} rules hold for {address}")
    for ruling in found:
        yield _ruled(world, port, words, ruling)


def _ruled(world: World, port: Port, words: str, ruling: Ruling) -> Step:
    applied = f"of its {ruling.level}"
    if ruling.rule is not None:
        verb = "allowed" if ruling.allowed else "denied"
        plain = ", stateless" if ruling.stateless else ""
        text = (
            f"{words}: {verb} by rule {ruling.rule.id} (priority {ruling.rule.priority}{plain}) of"
            f" {ruling.rule.rule_set}, {applied}"
        )
        return Step(
            port.id, ruling.allowed, text, "" if ruling.allowed else "rule", ruling.rule.origin
        )
    names = ", ".join(ruling.sets)
    unknown = [name for name in ruling.sets if name not in world.rule_sets]
    if unknown:
        return _drop(
            port.id, f"{words}: {', '.join(unknown)} {applied} is not known", "unknown rules"
        )
    sets = [world.rule_sets[name] for name in ruling.sets]
    if ruling.closed:
        status = world.status_of(port.id)
        assert status is not None, "it is the one that says so"
        text = f"{words}: {names}, {applied}, is closed: {status.host} says: {status.detail}"
        return _drop(port.id, text, status.code, sets[0].origin)
    defaults = [default_of(one, ruling.direction) for one in sets]
    deciding = defaults.index(Action.DENY) if Action.DENY in defaults else 0
    origin = sets[deciding].origin
    verb = "allowed" if ruling.allowed else "denied"
    text = f"{words}: {verb} by default of {names}, {applied}: no rule of it speaks of this"
    return Step(port.id, ruling.allowed, text, "" if ruling.allowed else "default", origin)


def _carry(world: World, here: Claim, there: Claim) -> Step:
    if here.host == there.host:
        return Step(here.host, True, "stays on the host")
    ours, theirs = (_encapsulations(world, claim.host) for claim in (here, there))
    spoken = encapsulation(ours, theirs)
    if spoken is None:
        text = (
            f"{here.host} speaks {', '.join(ours) or 'nothing'} and {there.host}"
            f" {', '.join(theirs) or 'nothing'}: configure an encapsulation in common"
        )
        return _drop(here.host, text, "no encapsulation in common")
    return Step(
        here.host,
        True,
        f"by {spoken.upper()} from {here.provider_address} to {there.provider_address}"
        f" ({there.host})",
    )


def _encapsulations(world: World, host: str) -> Preference:
    status = world.host_statuses.get(host)
    return Preference(()) if status is None else status.encapsulations


def _to_gateway(world: World, sender: Port, router: Router, packet: Packet) -> Followed:
    is_alone = len(world.routers_in(router.id)) < 2
    named = "the router" if is_alone else f"the router {router.id}"
    if (packet.protocol, packet.source_port) not in ((ICMP, 8), (ICMPV6, 128)):
        # Before any rule, as switches do: a routing table has no other way to it.
        text = f"{packet.destination} is {named}, which answers echo requests only"
        yield _drop(sender.id, text, "no port has that address"), "", ""
        return
    for step in _judge(world, sender, str(packet.source), Direction.OUT, packet):
        yield step, "", ""
        if not step.passes:
            return
    yield Step(sender.id, True, f"{named} answers at {packet.destination}"), "", ""


def _answer(world: World, sender: Port, receiver: Port, packet: Packet) -> Iterator[Step]:
    """Whether the answer comes back, where a stateless rule has let the packet pass."""
    for port, address, direction in (
        (receiver, packet.destination, Direction.IN),
        (sender, packet.source, Direction.OUT),
    ):
        found = rulings(world, port, str(address), direction, packet)
        is_stateless = any(ruling.stateless for ruling in found)
        if is_stateless and forbids_something(world, port, str(address)):
            yield from _stateless_answer(world, port, address, direction, packet.reply)


def _stateless_answer(
    world: World, port: Port, address: Address, direction: Direction, reply: Packet
) -> Iterator[Step]:
    back = Direction.OUT if direction is Direction.IN else Direction.IN
    found = rulings(world, port, str(address), back, reply)
    allowed = all(ruling.allowed for ruling in found)
    if allowed and any(ruling.stateless for ruling in found):
        yield Step(port.id, True, "the answer is allowed by a stateless rule too")
    elif allowed and reply.protocol not in WITH_HANDSHAKE:
        yield Step(port.id, True, "the answer is allowed by a rule of its own")
    else:
        text = "the answer is dropped: a stateless rule let the packet pass, and none its answer"
        yield Step(port.id, True, text, "answer dropped")


def _troubles(world: World, port: Port, address: Address, other: Address) -> Iterator[Step]:
    """What its host says is wrong with a port, and whether that ends what passes between one of its
    addresses and another. Where it ends what some rules are about, these say so (`_ruled`)."""
    status = world.status_of(port.id)
    if status is None or status.state is not PortState.ERROR:
        return
    own = ruled_as(port, str(address))
    domain = world.domain_of(port.segment)
    words = {PORT, address_word(own, address.version)}
    router = world.router_for(port.segment, address, other)
    segment = None if router is None else world.segment_of(router.id, other)
    peer = domain if segment is None else world.domain_of(segment)
    if peer != domain:
        # A host may know of some of a peered domain's routers only, and names one.
        words |= {domain_word(one.rdid) for one in world.routers_in(peer)}
    passes = words.isdisjoint(status.closed)
    text = f"{status.host} says: {status.detail}"
    yield Step(port.id, passes, text, status.code, port.origin)


def _nowhere(world: World, port: Port) -> str:
    claims = [claim.host for claim in world.claims_by_port.get(port.id)]
    if claims:
        return f"is on {', '.join(sorted(claims))}, which may not have it or is no server"
    return f"no host has it: plug {plugging(world.host_kinds(), (port.id,), into=False)}"


def _drop(where: str, text: str, reason: str, origin: str = "") -> Step:
    return Step(where, False, text, reason, origin)
