# SPDX-License-Identifier: Apache-2.0
"""Kinds of packets that several features match, and what is fixed in them."""

from __future__ import annotations

from isthmus.wire import oxm

ARP, IPV4, IPV6 = oxm.eth_type(0x0806), oxm.eth_type(0x0800), oxm.eth_type(0x86DD)
LINK_LOCAL = 0xFE80 << 112
ROUTER_ADVERTISEMENT = (IPV6, oxm.ip_proto(58), oxm.icmpv6_type(134), oxm.icmpv6_code(0))
