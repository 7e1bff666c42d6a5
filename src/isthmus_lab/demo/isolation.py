# SPDX-License-Identifier: Apache-2.0
"""What must not arrive does not: not between tenants, not with a forged source.

A capture that saw nothing proves nothing by itself. So every attack is followed by an allowed
packet to the same guests, by the same means: only when the very capture that saw no forgery has
seen that one, the check holds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from isthmus.addresses import Mac, parse_mac
from isthmus_lab import frames
from isthmus_lab.demo.check import Check, expect, new_mark
from isthmus_lab.demo.cloud import BROADCASTS, PLACES, ROUTERS, TENANTS, Cloud
from isthmus_lab.demo.reachability import underlay_packets
from isthmus_lab.guest import Guest
from isthmus_lab.rawsocket import Capture, send_frames
from isthmus_lab.transfers import send_udp
from isthmus_lab.underlay import Stranger

STRANGER = "stranger"
STRANGER_ADDRESS = "172.31.0.66"
NOBODY = parse_mac("02:66:66:66:66:66")
NOBODYS_ADDRESS = "10.1.1.66"

_ALLOWED = b"-allowed"
_CONTROL_S = 10.0
"""How long an allowed packet may take on a busy machine; only a check that fails waits for it."""
_TIMES = 3
"""Each forged frame is sent several times: one that got lost would prove nothing."""


def checks() -> list[Check]:
    tenants = [
        Check(
            "No packet between tenants",
            f"{one} never reaches {other}",
            functools.partial(meet, one, other),
        )
        for one, other in (TENANTS, TENANTS[::-1])
    ]
    guests = [
        Check("A forged source from a guest goes nowhere", claim, functools.partial(forge, what))
        for what, claim in (
            ("mac", "another's or nobody's MAC address"),
            ("ip", "another's or nobody's IP address"),
            ("arp", "an ARP answer for another's address"),
        )
    ]
    underlay = [
        Check(
            "A forged packet from the underlay goes nowhere", claim, functools.partial(inject, *how)
        )
        for claim, how in (
            ("VXLAN from an unknown provider address", ("web2", STRANGER_ADDRESS)),
            ("NVGRE from an unknown provider address", ("web3", STRANGER_ADDRESS)),
            ("VXLAN from a host that does not claim the source", ("web2", "172.31.0.3")),
            ("NVGRE from a host that does not claim the source", ("web3", "172.31.0.2")),
        )
    ]
    return [*tenants, *guests, *underlay]


def meet(tenant: str, other: str, cloud: Cloud) -> str:
    """One guest sends to every address there is and to every MAC address of the other tenant."""
    mark, proof = new_mark(), new_mark()
    sender = cloud.guest(tenant, "web1")
    own, foreign = cloud.peers(sender), cloud.guests(other)
    attack = [
        frames.ethernet(guest.mac, sender.mac, frames.ETHERTYPE_IPV4, packet)
        for guest in foreign
        for packet in (frames.udp(cloud.address(sender), cloud.address(guest), (9, 9), mark),)
    ]
    with captures([*own, *foreign], [mark, proof]) as seen:
        for address in [*(place.address for place in PLACES.values()), *BROADCASTS]:
            for _ in range(_TIMES):
                send_udp(sender, address, mark)
        send_frames(sender.namespace, sender.nic, attack * _TIMES)
        for guest in own:
            send_udp(sender, cloud.address(guest), mark + _ALLOWED)
            require_allowed(seen, guest, mark + _ALLOWED)
        for guest in foreign:
            send_udp(cloud.peers(guest)[0], cloud.address(guest), proof)
            require_allowed(seen, guest, proof)
        leaked = {guest.name: seen[guest.name].having(mark) for guest in foreign}
        backwards = {guest.name: seen[guest.name].having(proof) for guest in own}
    report_arrivals(f"nothing of {tenant}'s at {other}'s guests", leaked)
    report_arrivals(f"nothing of {other}'s at {tenant}'s guests", backwards)
    return f"0 frames at {len(foreign)} guests, allowed ones at {len(own)} and {len(foreign)}"


def forge(what: str, cloud: Cloud) -> str:
    """web1 forges towards a guest on its own host and one behind each encapsulation."""
    attacker = cloud.guest("red", "web1")
    victims = [cloud.guest("red", name) for name in ("web4", "web2", "web3")]
    mark = new_mark()
    forged = [
        frame
        for victim in victims
        for claimed in victims
        if claimed is not victim
        for frame in _forgeries(what, cloud, attacker, victim, claimed, mark)
    ]
    with captures(victims, [mark]) as seen:
        send_frames(attacker.namespace, attacker.nic, forged * _TIMES)
        for victim in victims:
            honest = (attacker.mac, cloud.address(attacker))
            frame = _datagram(cloud, victim, honest, mark + _ALLOWED)
            send_frames(attacker.namespace, attacker.nic, [frame] * _TIMES)
            require_allowed(seen, victim, mark + _ALLOWED)
        arrived = {victim.name: _without(seen[victim.name], _ALLOWED) for victim in victims}
    report_arrivals("no forged frame to arrive", arrived)
    if what == "arp":
        _require_unpoisoned(attacker, victims)
    return f"0 of {len(forged) * _TIMES} forged frames arrived, honest ones at all {len(victims)}"


def inject(claimed_name: str, provider_address: str, cloud: Cloud) -> str:
    """A stranger sends web1 what pretends to be `claimed_name`'s, from the given provider address.

    The control comes from the stranger too, with the provider address of the host that does claim
    the source: an underlay without source checks lets that pass (docs/security.md says so).
    """
    victim, claimed = cloud.guest("red", "web1"), cloud.guest("red", claimed_name)
    sample = underlay_packets(cloud, claimed, victim)[0]
    stranger = _stranger(cloud)
    mark = new_mark()
    source = (claimed.mac, cloud.address(claimed))

    def tunnelled(outer_source: str, payload: bytes) -> bytes:
        target = cloud.host_of(victim).spec
        return frames.tunnelled(
            sample.encapsulation,
            sample.vsid,
            _datagram(cloud, victim, source, payload),
            (stranger.mac, outer_source),
            (target.provider_mac, target.provider_address),
        )

    true_address = cloud.host_of(claimed).spec.provider_address
    forged, allowed = tunnelled(provider_address, mark), tunnelled(true_address, mark + _ALLOWED)
    with captures([victim], [mark]) as seen:
        send_frames(stranger.namespace, stranger.nic, [forged] * _TIMES)
        send_frames(stranger.namespace, stranger.nic, [allowed] * _TIMES)
        require_allowed(seen, victim, mark + _ALLOWED)
        arrived = {victim.name: _without(seen[victim.name], _ALLOWED)}
    report_arrivals(f"nothing from {provider_address} to arrive", arrived)
    return (
        f"0 of {_TIMES} arrived from {provider_address}; the same bytes from {true_address} did"
        f" ({sample.encapsulation}, VSID {sample.vsid})"
    )


@contextmanager
def captures(guests: Sequence[Guest], marks: Sequence[bytes]) -> Iterator[dict[str, Capture]]:
    """A capture at each guest's NIC, by name, of the frames that carry one of the marks."""

    def marked(frame: bytes) -> bool:
        return any(mark in frame for mark in marks)

    with ExitStack() as stack:
        yield {
            guest.name: stack.enter_context(Capture(guest.namespace, guest.nic, marked))
            for guest in guests
        }


def require_allowed(seen: dict[str, Capture], guest: Guest, part: bytes) -> None:
    """The positive control. Raises Unmet, because without it the check would prove nothing."""
    found = seen[guest.name].wait_for(lambda frame: part in frame, _CONTROL_S)
    expect(found is not None, f"the control, an allowed packet, to reach {guest.name}", "nothing")


def report_arrivals(expected: str, arrived: dict[str, list[bytes]]) -> None:
    """Raises Unmet if anything arrived, and shows the first of it."""
    found = {name: seen for name, seen in arrived.items() if seen}
    first = next((seen[0].hex() for seen in found.values()), "")
    counts = ", ".join(f"{len(seen)} at {name}" for name, seen in found.items())
    expect(not found, expected, f"{counts}; the first: {first}")


def _forgeries(
    what: str, cloud: Cloud, attacker: Guest, victim: Guest, claimed: Guest, mark: bytes
) -> list[bytes]:
    own = (attacker.mac, cloud.address(attacker))
    router = ROUTERS["web"]
    if what == "mac":
        sources = [(claimed.mac, own[1]), (NOBODY, own[1]), (claimed.mac, cloud.address(claimed))]
        return [_datagram(cloud, victim, source, mark) for source in sources]
    if what == "ip":
        addresses = [cloud.address(claimed), NOBODYS_ADDRESS, router]
        return [_datagram(cloud, victim, (attacker.mac, address), mark) for address in addresses]
    target = (victim.mac, cloud.address(victim))
    lies = [(attacker.mac, router), (attacker.mac, cloud.address(claimed)), (claimed.mac, own[1])]
    return [
        # The frame's padding carries the mark: to 60 bytes there is room for 18.
        frames.arp(operation, lie, target, source=attacker.mac, destination=destination) + mark
        for lie in lies
        for operation, destination in ((2, victim.mac), (1, frames.BROADCAST))
    ]


def _datagram(cloud: Cloud, victim: Guest, source: tuple[Mac, str], payload: bytes) -> bytes:
    packet = frames.udp(source[1], cloud.address(victim), (9, 9), payload)
    return frames.ethernet(victim.mac, source[0], frames.ETHERTYPE_IPV4, packet)


def _without(capture: Capture, part: bytes) -> list[bytes]:
    return [frame for frame in capture.frames if part not in frame]


def _require_unpoisoned(attacker: Guest, victims: Sequence[Guest]) -> None:
    for victim in victims:
        lines = victim.run(["ip", "neigh", "show"]).splitlines()
        wrong = [
            line
            for line in lines
            if attacker.state.mac in line and not line.startswith(f"{attacker.addresses()[0]} ")
        ]
        expect(not wrong, f"{victim.name}'s neighbours to be its own", wrong)


def _stranger(cloud: Cloud) -> Stranger:
    if cloud.stranger is None:
        cloud.stranger = cloud.lab.add_stranger(STRANGER, STRANGER_ADDRESS)
    return cloud.stranger
