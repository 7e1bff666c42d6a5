# SPDX-License-Identifier: Apache-2.0
"""Port security: what a guest may send, by its source addresses (ADMISSION).

A guest speaks from its own MAC address and its own IP addresses, and from the address pairs that
its port was given (`address_pairs`); nothing else passes, nor ARP or neighbour discovery that
claims anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from isthmus.addresses import Mac, parse_mac
from isthmus.derive.engine import Item
from isthmus.policy.rows import Port
from isthmus.policy.values import PortGuard
from isthmus.switches.ovs.address_pairs import Numbers, own_in_pairs, pair_flows, sender_load
from isthmus.switches.ovs.bands import Admission, Dispatch
from isthmus.switches.ovs.dhcp import dhcp_flows
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.packet_kinds import ARP, IPV4, IPV6, LINK_LOCAL, ROUTER_ADVERTISEMENT
from isthmus.switches.ovs.pipeline import PAIR_METERS, Stage
from isthmus.switches.ovs.routing import SOLICITATION
from isthmus.wire import oxm


def admission(
    flows: Flows, port: Port, ofport: int, numbers: Numbers, dhcp_server: IPv4Address | None
) -> Iterator[Item]:
    """All of a port's ADMISSION flows. `dhcp_server` is what its host calls itself to it."""
    here, mac = oxm.in_port(ofport), parse_mac(port.mac)
    any_mac = PortGuard.MAC_SPOOFING in port.guards
    source = b"" if any_mac else oxm.eth_src(mac)
    for family, address, number in numbers:
        if address and family == 4:
            yield from _ipv4(flows, here, source, mac, address, number)
        elif address:
            yield from _ipv6(flows, here, source, address, number)
    leading = {family: number for family, _, number in reversed(numbers)}
    yield from _arp_without_address(flows, here, source, mac)
    if any(family == 6 and address for family, address, _ in numbers):
        # RFC 4861 section 7.2.2: the source of a question is any address of the guest's. They are
        # answered here, and go nowhere else.
        for asking in (oxm.ipv6_src(0), oxm.ipv6_src_prefix(LINK_LOCAL, 10)):
            yield flows.add(
                *(Stage.ADMISSION, Admission.OWN),
                oxm.match(here, source, *SOLICITATION, asking),
                goto=Stage.DISPATCH,
            )
    yield from pair_flows(flows, here, port, ofport + PAIR_METERS, leading)
    yield from own_in_pairs(flows, here, port, numbers)
    if dhcp_server is not None:
        yield from dhcp_flows(flows, here, mac, ofport, dhcp_server)
    yield from _guards(flows, here, source, port)


def _ipv4(
    flows: Flows, here: bytes, source: bytes, mac: Mac, address: str, number: int | None
) -> Iterator[Item]:
    # RFC 5227 section 2.1.1: a probe for the port's own address must find it free; the
    # announcement of it (section 2.3) needs no answer.
    yield flows.add(
        Stage.ADMISSION, Admission.OWN_ADDRESS_ASKED, oxm.match(here, ARP, oxm.arp_tpa(address))
    )
    sender = oxm.arp_sha(mac) if source else b""
    yield flows.add(
        Stage.ADMISSION,
        Admission.OWN,
        oxm.match(here, source, ARP, oxm.arp_spa(address), sender),
        goto=Stage.DISPATCH,
    )
    if number is not None:
        yield flows.add(
            Stage.ADMISSION,
            Admission.OWN,
            oxm.match(here, source, IPV4, oxm.ipv4_src(address)),
            apply=sender_load(number),
            goto=Stage.DISPATCH,
        )


def _ipv6(
    flows: Flows, here: bytes, source: bytes, address: str, number: int | None
) -> Iterator[Item]:
    # RFC 4862 section 5.4: the guest looks whether its own address is free.
    yield flows.add(
        Stage.ADMISSION,
        Admission.OWN_ADDRESS_ASKED,
        oxm.match(here, *SOLICITATION, oxm.ipv6_src(0), oxm.nd_target(address)),
    )
    if number is not None:
        yield flows.add(
            Stage.ADMISSION,
            Admission.OWN,
            oxm.match(here, source, IPV6, oxm.ipv6_src(address)),
            apply=sender_load(number),
            goto=Stage.DISPATCH,
        )


def _arp_without_address(flows: Flows, here: bytes, source: bytes, mac: Mac) -> Iterator[Item]:
    sender = oxm.arp_sha(mac) if source else b""
    yield flows.add(
        Stage.ADMISSION,
        Admission.OWN,
        oxm.match(here, source, ARP, oxm.arp_spa(0), sender),
        goto=Stage.DISPATCH,
    )


def _guards(flows: Flows, here: bytes, source: bytes, port: Port) -> Iterator[Item]:
    if PortGuard.DHCP in port.guards:
        for ethernet, server in ((IPV4, 67), (IPV6, 547)):
            yield flows.add(
                Stage.ADMISSION,
                Admission.GUARD,
                oxm.match(here, ethernet, oxm.ip_proto(17), oxm.udp_src(server)),
            )
        # A first fragment that ends before its ports (RFC 7112) could be one of an answer.
        first = oxm.ip_frag(oxm.FRAGMENT_ANY, oxm.FRAGMENT_ANY | oxm.FRAGMENT_LATER)
        yield flows.add(
            Stage.ADMISSION,
            Admission.GUARD,
            oxm.match(here, IPV6, oxm.ip_proto(17), oxm.udp_src(0), first),
        )
    if PortGuard.ROUTER_ADVERTISEMENTS in port.guards:
        # RFC 4861 section 6.1.2: they come from a link-local address, with a hop limit of 255.
        advertised = (*ROUTER_ADVERTISEMENT, oxm.ip_ttl(255), oxm.ipv6_src_prefix(LINK_LOCAL, 10))
        yield flows.add(
            Stage.ADMISSION,
            Admission.ROUTER_ADVERTISEMENT,
            oxm.match(here, source, *advertised),
            goto=Stage.DISPATCH,
        )
        yield flows.add(
            Stage.DISPATCH,
            Dispatch.ROUTER_ADVERTISEMENT,
            oxm.match(here, *advertised),
            goto=Stage.FORWARD,
        )


FEATURE = Feature("port security", blocks_at={Stage.ADMISSION: Admission.BLOCKED})
"""Its flows are among those of ports (`ports.local_flows`)."""
