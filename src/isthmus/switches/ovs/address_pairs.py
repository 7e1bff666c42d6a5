# SPDX-License-Identifier: Apache-2.0
"""Address pairs of a port: as matches, and what its guest may send by them (ADMISSION).

A guest may speak from just these addresses, with just these MAC addresses. What announces one comes
up to the agent as well; who has the address then is in `learned`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from isthmus.addresses import Mac, Prefix, parse_mac
from isthmus.derive.engine import Item
from isthmus.policy.rows import Port
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Admission
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.packet_kinds import ARP, IPV4, IPV6
from isthmus.switches.ovs.pipeline import PAIR_SEEN, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

Numbers = Sequence[tuple[int, str, int | None]]
"""Of each address of a port: its family, it, and the number of its filter, None to let nothing
pass. The first of a family leads; an empty address stands for a family without one."""


def sender_load(number: int) -> tuple[bytes, ...] | None:
    """What makes the filter of that number hold for who sends; nothing for the number 0."""
    return (reg.SENDER.load(number),) if number else None


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


def pair_flows(
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
                apply=sender_load(number),
                goto=Stage.DISPATCH,
            )


def own_in_pairs(flows: Flows, here: bytes, port: Port, numbers: Numbers) -> Iterator[Item]:
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
                    apply=sender_load(number),
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
