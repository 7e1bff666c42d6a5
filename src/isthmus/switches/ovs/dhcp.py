# SPDX-License-Identifier: Apache-2.0
"""DHCP messages of guests: taken out at ADMISSION and sent up to the agent, which answers."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from isthmus.addresses import Mac
from isthmus.derive.engine import Item, Read
from isthmus.host.indexes import SUBNETS_BY_SEGMENT
from isthmus.policy.dhcp import (
    CLIENT_PORT,
    LIMITED_BROADCAST,
    SERVER_PORT,
    server_address,
    subnet_of,
)
from isthmus.policy.rows import Port, Subnet
from isthmus.switches.ovs.bands import Admission
from isthmus.switches.ovs.feature import Feature, Hands
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.packet_kinds import ARP, IPV4
from isthmus.switches.ovs.pipeline import DHCP_QUESTION, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow_packets import PacketIn


def dhcp_server(port: Port, read: Read) -> IPv4Address | None:
    """What the host calls itself to the guest of a port; None where no DHCP is served."""
    keys = sorted(read.find(SUBNETS_BY_SEGMENT, port.segment), key=repr)
    subnets = (read.get(Subnet, key) for key in keys)
    served = subnet_of(port, (subnet for subnet in subnets if subnet is not None))
    return None if served is None else server_address(served)


def dhcp_flows(
    flows: Flows, here: bytes, mac: Mac, ofport: int, server: IPv4Address
) -> Iterator[Item]:
    """What is for the host (`policy.dhcp`). It goes nowhere else, so that its source need not be
    the guest's: a client whose address was changed renews from the one that it had, and is told so
    (RFC 2131 section 4.3.2)."""
    client = (IPV4, oxm.ip_proto(17), oxm.udp_src(CLIENT_PORT), oxm.udp_dst(SERVER_PORT))
    whole = oxm.ip_frag(0, oxm.FRAGMENT_ANY)
    for to in (LIMITED_BROADCAST, server):
        yield flows.add(
            Stage.ADMISSION,
            Admission.DHCP,
            oxm.match(here, oxm.eth_src(mac), *client, whole, oxm.ipv4_dst(int(to))),
            meter=ofport,
            apply=(act.controller(DHCP_QUESTION, max_len=0xFFFF),),
        )
    # Before that it looks for its server, from the same address; the answer is for it alone.
    looking = (ARP, oxm.arp_op(1), oxm.arp_sha(mac), oxm.arp_tpa(str(server)))
    yield flows.add(
        Stage.ADMISSION,
        Admission.DHCP_SERVER_ASKED,
        oxm.match(here, oxm.eth_src(mac), *looking),
        goto=Stage.DISPATCH,
    )


def answer(packet: PacketIn, hands: Hands) -> bool:
    """Answers a guest's message where it has come from. Without a switch, the client asks again."""
    frame = hands.guests.asked_dhcp(packet.in_port, packet.packet)
    if frame is not None and hands.send(frame, packet.in_port):
        hands.guests.counters.dhcp_answered += 1
    return False


FEATURE = Feature("dhcp", packets={DHCP_QUESTION: answer})
"""Its flows are among those of ports (`spoofing.admission`)."""
