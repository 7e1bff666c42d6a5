# SPDX-License-Identifier: Apache-2.0
"""Frames as values: what a guest, or a host that lies, sends; and the answer to one."""

from __future__ import annotations

from typing import NamedTuple

from isthmus.wire import oxm
from tests.proof.connections import Tuple

ETHERNET_OF = {4: 0x0800, 6: 0x86DD}
_ADDRESSES = {4: (oxm.IPV4_SRC, oxm.IPV4_DST), 6: (oxm.IPV6_SRC, oxm.IPV6_DST)}
PORTS_OF = {
    6: (oxm.TCP_SRC, oxm.TCP_DST),
    17: (oxm.UDP_SRC, oxm.UDP_DST),
    132: (oxm.SCTP_SRC, oxm.SCTP_DST),
    1: (oxm.ICMP_TYPE, oxm.ICMP_CODE),
    58: (oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE),
}


class Frame(NamedTuple):
    """An IP packet on Ethernet. Of ICMP, the ports of `tuple` are type and code."""

    eth_src: int
    eth_dst: int
    tuple: Tuple
    ttl: int = 64

    def fields(self) -> dict[oxm.Field, int]:
        family, source, destination, protocol, *ports = self.tuple
        found = {
            oxm.ETH_SRC: self.eth_src,
            oxm.ETH_DST: self.eth_dst,
            oxm.ETH_TYPE: ETHERNET_OF[family],
            oxm.IP_PROTO: protocol,
            oxm.IP_TTL: self.ttl,
        }
        found.update(zip(_ADDRESSES[family], (source, destination), strict=True))
        found.update(zip(PORTS_OF.get(protocol, ()), ports, strict=False))
        return found


def frame_of(fields: dict[oxm.Field, int]) -> Frame:
    """The IP packet that `fields` are."""
    family = 4 if fields[oxm.ETH_TYPE] == ETHERNET_OF[4] else 6
    protocol = fields.get(oxm.IP_PROTO, 0)
    values = [fields.get(field, 0) for field in (*_ADDRESSES[family], *PORTS_OF.get(protocol, ()))]
    source, destination, *ports = values
    its = Tuple(family, source, destination, protocol, *(ports or (0, 0)))
    eth_src, eth_dst = fields.get(oxm.ETH_SRC, 0), fields.get(oxm.ETH_DST, 0)
    return Frame(eth_src, eth_dst, its, fields.get(oxm.IP_TTL, 0))


def answer(received: Frame, mac: int) -> Frame | None:
    """What who received a frame sends back, from its own MAC address; None where nobody answers."""
    turned = received.tuple.turned()
    return None if turned is None else Frame(mac, received.eth_src, turned)
