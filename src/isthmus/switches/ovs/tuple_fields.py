# SPDX-License-Identifier: Apache-2.0
"""Which fields of a packet, or of its connection, hold the tuple that rules look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from isthmus.wire import oxm

ETHERNET = {4: 0x0800, 6: 0x86DD}

FOLLOWED = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV)
"""Open vSwitch wants it in every match on the original tuple."""


class Fields(NamedTuple):
    """Which fields hold the tuple that rules look at. `ports`: by protocol, those that are in the
    packet itself; `plain`: all of them are."""

    source: Mapping[int, oxm.Field]
    destination: Mapping[int, oxm.Field]
    ports: Mapping[int, tuple[oxm.Field, oxm.Field]]
    plain: bool


TCP, UDP, SCTP = 6, 17, 132
_PORTS = {
    TCP: (oxm.TCP_SRC, oxm.TCP_DST),
    UDP: (oxm.UDP_SRC, oxm.UDP_DST),
    SCTP: (oxm.SCTP_SRC, oxm.SCTP_DST),
}
_ICMP = {1: (oxm.ICMP_TYPE, oxm.ICMP_CODE), 58: (oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE)}
"""Of ICMP, connection tracking keeps type and code in the place of ports."""

PACKET = Fields(
    {4: oxm.IPV4_SRC, 6: oxm.IPV6_SRC},
    {4: oxm.IPV4_DST, 6: oxm.IPV6_DST},
    {**_PORTS, **_ICMP},
    plain=True,
)
ORIGINAL = Fields(
    {4: oxm.CT_NW_SRC, 6: oxm.CT_IPV6_SRC},
    {4: oxm.CT_NW_DST, 6: oxm.CT_IPV6_DST},
    {},
    plain=False,
)
"""Of the connection."""

QUESTION = ORIGINAL._replace(ports={SCTP: (oxm.SCTP_SRC, oxm.SCTP_DST)})
ANSWER = ORIGINAL._replace(ports={SCTP: (oxm.SCTP_DST, oxm.SCTP_SRC)})
"""Likewise, in either direction. Open vSwitch's own connection tracking, as of 3.1, keeps of SCTP
the addresses alone and gives ports of 0: what the packet has is looked at."""
