# SPDX-License-Identifier: Apache-2.0
"""Port security: what a guest may send, by its source addresses (ADMISSION), and its DHCP messages,
which are taken out there.

A guest speaks from its own MAC address and its own IP addresses, and from the address pairs that
its port was given; nothing else passes, nor ARP or neighbour discovery that claims anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_address
from typing import NamedTuple

from isthmus.addresses import Mac, Prefix, parse_mac
from isthmus.derive.engine import Item
from isthmus.policy.dhcp import CLIENT_PORT, LIMITED_BROADCAST, SERVER_PORT
from isthmus.policy.rows import Port
from isthmus.policy.values import PortGuard
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Admission, Dispatch
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import DHCP_QUESTION, PAIR_METERS, PAIR_SEEN, Stage
from isthmus.switches.ovs.routing import SOLICITATION
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

ARP, IPV4, IPV6 = oxm.eth_type(0x0806), oxm.eth_type(0x0800), oxm.eth_type(0x86DD)
LINK_LOCAL = 0xFE80 << 112
ROUTER_ADVERTISEMENT = (IPV6, oxm.ip_proto(58), oxm.icmpv6_type(134), oxm.icmpv6_code(0))

Numbers = Sequence[tuple[int, str, int | None]]
"""Of each address of a port: its family, it, and the number of its filter, None to let nothing
pass. The first of a family leads; an empty address stands for a family without one."""


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
    yield from _pairs(flows, here, port, ofport + PAIR_METERS, leading)
    yield from _own_in_pairs(flows, here, port, numbers)
    if dhcp_server is not None:
        yield from _dhcp(flows, here, mac, ofport, dhcp_server)
    yield from _guards(flows, here, source, port)


def _sender(number: int) -> tuple[bytes, ...] | None:
    return (reg.SENDER.load(number),) if number else None


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
            apply=_sender(number),
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
            apply=_sender(number),
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


def _pairs(
    flows: Flows, here: bytes, port: Port, meter: int, leading: dict[int, int | None]
) -> Iterator[Item]:
    """What the port's address pairs open: just these addresses, with just these MAC addresses."""
    for pair in map(Pair._make, port.pairs):
        source = (here, oxm.eth_src(pair.mac))
        yield from _announced(flows, source, pair, meter)
        number = leading[pair.network.version]
        if number is not None:
            yield flows.add(
                Stage.ADMISSION,
                Admission.PAIR,
                oxm.match(*source, *pair.sources),
                apply=_sender(number),
                goto=Stage.DISPATCH,
            )


def _own_in_pairs(flows: Flows, here: bytes, port: Port, numbers: Numbers) -> Iterator[Item]:
    """An address of the port that lies in one of its pairs is under its own rules still, from
    whichever MAC address it speaks."""
    pairs = port.pairs
    for mac in sorted({pair.mac for pair in pairs if pair.mac != parse_mac(port.mac)}):
        networks = [pair.network for pair in pairs if pair.mac == mac]
        for family, address, number in numbers:
            if not address or not any(ip_address(address) in network for network in networks):
                continue
            own = (IPV4, oxm.ipv4_src(address)) if family == 4 else (IPV6, oxm.ipv6_src(address))
            match = oxm.match(here, oxm.eth_src(mac), *own)
            if number is None:
                yield flows.add(Stage.ADMISSION, Admission.OWN_IN_PAIR, match)
            else:
                yield flows.add(
                    Stage.ADMISSION,
                    Admission.OWN_IN_PAIR,
                    match,
                    apply=_sender(number),
                    goto=Stage.DISPATCH,
                )


def _announced(flows: Flows, source: tuple[bytes, ...], pair: Pair, meter: int) -> Iterator[Item]:
    heard = (act.controller(PAIR_SEEN, max_len=128),)
    if pair.network.version == 4:
        yield flows.add(
            Stage.ADMISSION,
            Admission.PAIR,
            oxm.match(*source, *pair.claim),
            meter=meter,
            apply=heard,
            goto=Stage.DISPATCH,
        )
    if pair.is_address:
        yield flows.add(
            Stage.ADMISSION,
            Admission.ANNOUNCEMENT,
            oxm.match(*source, *pair.announcement),
            meter=meter,
            apply=heard,
            goto=Stage.FORWARD,
        )


class Pair(NamedTuple):
    """An address pair (`policy.values`) as matches."""

    network: Prefix
    mac: Mac

    @property
    def is_address(self) -> bool:
        return self.network.num_addresses == 1

    @property
    def sources(self) -> tuple[bytes, ...]:
        """Matches IP packets from it."""
        if self.network.version == 4:
            return IPV4, self.prefix(oxm.IPV4_SRC)
        return IPV6, self.prefix(oxm.IPV6_SRC)

    @property
    def claim(self) -> tuple[bytes, ...]:
        """Matches ARP of it."""
        return ARP, oxm.arp_sha(self.mac), self.prefix(oxm.ARP_SPA)

    @property
    def announcement(self) -> tuple[bytes, ...]:
        """Matches what tells everybody that it has moved: RFC 5227 section 3, and unsolicited
        advertisements, RFC 4861 section 7.2.6, which come from itself."""
        if self.network.version == 4:
            return (*self.claim, self.prefix(oxm.ARP_TPA))
        return (
            *(*self.sources, oxm.ip_ttl(255), oxm.ip_proto(58), oxm.icmpv6_type(136)),
            *(oxm.icmpv6_code(0), self.prefix(oxm.ND_TARGET), oxm.nd_tll(self.mac)),
        )

    def prefix(self, field: oxm.Field) -> bytes:
        return oxm.prefix(field, int(self.network.network_address), self.network.prefixlen)


def _dhcp(flows: Flows, here: bytes, mac: Mac, ofport: int, server: IPv4Address) -> Iterator[Item]:
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
