# SPDX-License-Identifier: Apache-2.0
"""The headers of one IP packet, whatever switch it goes through."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal

import msgspec

from isthmus.addresses import parse_mac

PORTED = {6: "tcp", 17: "udp", 132: "sctp"}
"""IP protocols with ports."""
ICMP, ICMPV6 = 1, 58

_Byte = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Text = Annotated[str, msgspec.Meta(max_length=45)]
"""An address: no text of one is longer."""


class Headers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Addresses are canonical texts, both of one family. `ttl` is the hop limit of IPv6. Ports are
    those of TCP, UDP and SCTP. `fragment` says which one of a packet in several it is, if any.

    Raises ValueError for an address that is none, for one with a zone, which may hold any text,
    and for two of different families.
    """

    source_mac: _Text
    destination_mac: _Text
    source: _Text
    destination: _Text
    protocol: _Byte
    ttl: _Byte = 64
    source_port: _Port = 0
    destination_port: _Port = 0
    icmp_type: _Byte = 0
    icmp_code: _Byte = 0
    fragment: Literal["", "first", "later"] = ""

    def __post_init__(self) -> None:
        parse_mac(self.source_mac)
        parse_mac(self.destination_mac)
        if "%" in self.source + self.destination:
            raise ValueError("an address of a packet has no zone")  # RFC 4007 section 11.2
        if ip_address(self.source).version != ip_address(self.destination).version:
            raise ValueError(f"{self.source} and {self.destination} are of different families")

    @property
    def family(self) -> int:
        return 6 if ":" in self.source else 4
