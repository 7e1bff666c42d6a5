# SPDX-License-Identifier: Apache-2.0
"""Ports on this host: what they may send and receive, and where they enter the pipeline.

Where ports are found, on this host and on others, is in `places`. A local port with one IPv4
address costs 15 flows, a peer 3: two keys (its MAC for forwarding, its address for ARP and routing)
and one source check; with rules a local port costs 8 more, and for a time 4 beside these (`begun`).
Each further address costs 4 on its own host and 2 elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from isthmus.addresses import MULTICAST_BIT, Mac
from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import THIS, Plugged, Problem, ThisHost
from isthmus.policy import closed
from isthmus.policy.addresses import of_family
from isthmus.policy.placement import may_have
from isthmus.policy.rows import Port
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.address_pairs import Pair
from isthmus.switches.ovs.bands import Admission, Classify, Receiver
from isthmus.switches.ovs.begun import port_begins, stands_by
from isthmus.switches.ovs.dhcp import dhcp_server
from isthmus.switches.ovs.facts import (
    DomainFacts,
    LocalMember,
    Meter,
    NoZone,
    Refused,
    SegmentFacts,
    ThisBridge,
    TrackedAddress,
    Whole,
)
from isthmus.switches.ovs.feature import Feature, Hands, closes_port
from isthmus.switches.ovs.filters import filter_number
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.fragments import port_fragments
from isthmus.switches.ovs.opening import port_openings
from isthmus.switches.ovs.pipeline import FIRST_FRAME, PAIR_METERS, STORM_METERS, Stage
from isthmus.switches.ovs.places import place
from isthmus.switches.ovs.spoofing import admission
from isthmus.switches.ovs.tuple_fields import ETHERNET, PACKET
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow_packets import PacketIn

SPOKEN_PPS = 10
SPOKEN_BURST = 20
"""Of what comes up to the agent, of DHCP and of address pairs: more than any guest needs; keeps one
from starving the others' answers."""


def local_flows(local: Plugged, read: Read) -> Iterator[Item]:
    """Over Plugged: what a port on this host may send, and where it enters the pipeline."""
    port, this = read.get(Port, local.port), read.get(ThisHost, THIS)
    bridge = read.get(ThisBridge, THIS)
    if port is None or this is None or bridge is None:
        return
    if not may_have(port, this.host):
        return  # told by `host.location`
    facts = read.get(SegmentFacts, port.segment)
    domain = None if facts is None else read.get(DomainFacts, facts.domain_key)
    if facts is None or domain is None:
        no_zone = read.get(NoZone, port.segment)
        detail = f"segment {port.segment} is not known here"
        if no_zone is not None:
            detail = f"{no_zone.detail}; until then nothing passes"
        yield _problem(port, "PolicyConfigurationFailure", detail)
        return
    flows = Flows("local_flows", port.id)
    refused = read.get(Refused, Whole("port", port.id))
    if refused is not None:
        yield _problem(port, "PortBlocked", f"{refused.detail}; until then nothing passes")
        yield flows.drop(
            Stage.RECEIVER, Receiver.CLOSED, oxm.match(reg.OUT.match(local.ofport)), read
        )
        return
    numbers = tuple(
        (family, address, filter_number(port, address, family, read))
        for family in (4, 6)
        for address in of_family(port, family) or ("",)
    )
    filtered = any(number != 0 for _, _, number in numbers)
    yield Item(
        LocalMember,
        (port.segment, port.id),
        LocalMember(port.segment, port.id, local.ofport, facts.domain, filtered),
    )
    for meter in (local.ofport, local.ofport + PAIR_METERS) if port.pairs else (local.ofport,):
        yield Item(Meter, meter, Meter(meter, SPOKEN_PPS, SPOKEN_BURST))
    yield from port_openings(flows, local.ofport, bridge.limits, filtered=filtered)
    yield from port_fragments(flows, local.ofport, bridge.limits, filtered=filtered)
    yield from _classify(flows, port, local, facts, domain.zone, read)
    yield from admission(flows, port, local.ofport, numbers, dhcp_server(port, read))
    # What port security drops, counted by port.
    yield flows.drop(Stage.ADMISSION, Admission.BLOCKED, oxm.match(oxm.in_port(local.ofport)), read)
    if filtered:
        yield from _receive(flows, port, local.ofport, numbers)
        yield from _returned(flows, local.ofport, read)
        for address in port.addresses:
            tracked = TrackedAddress(domain.zone, address, port.id)
            yield Item(TrackedAddress, tracked, tracked)
        yield from port_begins(flows, port, local, domain.zone, numbers, read)


def _problem(port: Port, code: str, detail: str) -> Item:
    """Of which nothing passes."""
    return Item(Problem, (port.id, code, detail), Problem(port.id, code, detail, closed.PORT))


def _classify(
    flows: Flows, port: Port, local: Plugged, facts: SegmentFacts, zone: int, read: Read
) -> Iterator[Item]:
    actions: tuple[bytes, ...] = (
        reg.VSID.load(facts.vsid),
        reg.DOMAIN.load(facts.domain),
        reg.ZONE.load(zone),
    )
    if stands_by(port, read):
        # Another host has the port: the guest's first frame here shows that it has arrived.
        actions = (act.controller(FIRST_FRAME, max_len=64), *actions)
    yield flows.add(
        Stage.CLASSIFY,
        Classify.ENTRY,
        oxm.match(oxm.in_port(local.ofport)),
        apply=actions,
        goto=Stage.ADMISSION,
    )
    if port.storm_pps:
        meter = local.ofport + STORM_METERS
        yield Item(Meter, meter, Meter(meter, port.storm_pps, port.storm_pps))
        group = Mac(MULTICAST_BIT)
        yield flows.add(
            Stage.CLASSIFY,
            Classify.BROADCAST,
            oxm.match(oxm.in_port(local.ofport), oxm.eth_dst(group, group)),
            meter=meter,
            apply=actions,
            goto=Stage.ADMISSION,
        )


def _receive(
    flows: Flows, port: Port, ofport: int, numbers: Sequence[tuple[int, str, int | None]]
) -> Iterator[Item]:
    """Which rules hold for what comes to the port: for an address of its own those of that address;
    for its address pairs, and for what is misdirected, those of the address that leads. What has
    no number yet gets nothing.
    """
    leading: dict[int, int | None] = {}
    entries: list[tuple[int, int, bytes, int | None]] = []
    for family, address, number in numbers:
        if family not in leading:
            leading[family] = number
            entries.append((Receiver.LEADING, family, b"", number and number | reg.IS_MISDIRECTED))
        if address:
            destination = oxm.exact(PACKET.destination[family], int(ip_address(address)))
            entries.append((Receiver.OWN, family, destination, number))
    for pair in map(Pair._make, port.pairs):
        family = pair.network.version
        destination = pair.prefix(PACKET.destination[family])
        entries.append((Receiver.PAIR, family, destination, leading[family]))
    for priority, family, destination, number in entries:
        yield flows.add(
            Stage.RECEIVER,
            priority,
            oxm.match(reg.OUT.match(ofport), oxm.eth_type(ETHERNET[family]), destination),
            apply=None if number is None else (reg.RECEIVER.load(number),),
            goto=None if number is None else Stage.PLAIN_SOURCE_GROUPS,
        )


def _returned(flows: Flows, ofport: int, read: Read) -> Iterator[Item]:
    """What would go back to the port that has sent it, as to its own MAC address. The switch would
    not send it there, and COMMIT would keep a connection with an end that has heard nothing: what
    that end then sends by itself would be judged as an answer, by its inbound rules."""
    match = oxm.match(oxm.in_port(ofport), reg.OUT.match(ofport))
    yield flows.drop(Stage.RECEIVER, Receiver.RETURNED, match, read)


def spoke(packet: PacketIn, hands: Hands) -> bool:
    """The guest behind a standby claim has sent its first frame."""
    hands.guests.spoke(packet.in_port)
    return True


FEATURE = Feature(
    "ports",
    units=(unit(Plugged, local_flows), unit(Port, place)),
    tables=(LocalMember, TrackedAddress),
    packets={FIRST_FRAME: spoke},
    closes={"local_flows": closes_port},
    port_units=frozenset(("local_flows", "place")),
    shown_units=("local_flows", "place"),
)
