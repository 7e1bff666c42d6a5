# SPDX-License-Identifier: Apache-2.0
"""The headers of a packet as Open vSwitch writes them in flows and traces: ovs-fields(7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from isthmus.wire.headers import ICMP, ICMPV6, PORTED, Headers

_ICMP_WORDS = {"icmp": ICMP, "icmp6": ICMPV6}
_FRAGMENTS: Mapping[str, Literal["first", "later"]] = {"first": "first", "later": "later"}
"""By ``nw_frag``."""


def fields_of(headers: Headers) -> dict[str, str]:
    """By name; a protocol is a name without a value."""
    six = "6" if headers.family == 6 else ""
    prefix = "ipv6" if six else "nw"
    addresses = {
        f"{prefix}_src": headers.source,
        f"{prefix}_dst": headers.destination,
        "nw_ttl": str(headers.ttl),
        **({"nw_frag": headers.fragment} if headers.fragment else {}),
    }
    ethernet = {"eth_src": headers.source_mac, "eth_dst": headers.destination_mac}
    if headers.protocol in PORTED:
        ports = {"tp_src": str(headers.source_port), "tp_dst": str(headers.destination_port)}
        return {**ethernet, f"{PORTED[headers.protocol]}{six}": "", **addresses, **ports}
    if headers.protocol == (ICMPV6 if six else ICMP):
        kind = {"icmp_type": str(headers.icmp_type), "icmp_code": str(headers.icmp_code)}
        return {**ethernet, f"icmp{six}": "", **addresses, **kind}
    word = "ipv6" if six else "ip"
    return {**ethernet, word: "", "nw_proto": str(headers.protocol), **addresses}


def headers_of(fields: Mapping[str, str]) -> Headers:
    """The headers of a packet with those fields; whatever else it has is passed over. Raises
    ValueError for what is no IP packet."""
    prefix = "ipv6" if "ipv6_src" in fields else "nw"

    def number(*names: str, default: int = 0) -> int:
        return next((int(fields[name], 0) for name in names if name in fields), default)

    try:
        return Headers(
            source_mac=fields["eth_src"] if "eth_src" in fields else fields["dl_src"],
            destination_mac=fields["eth_dst"] if "eth_dst" in fields else fields["dl_dst"],
            source=fields[f"{prefix}_src"],
            destination=fields[f"{prefix}_dst"],
            protocol=_protocol(fields),
            ttl=number("nw_ttl", default=64),
            source_port=number("tp_src"),
            destination_port=number("tp_dst"),
            icmp_type=number("icmp_type", "icmpv6_type"),
            icmp_code=number("icmp_code", "icmpv6_code"),
            fragment=_FRAGMENTS.get(fields.get("nw_frag", ""), ""),
        )
    except KeyError as error:
        raise ValueError(f"a packet without {error.args[0]}") from error


def _protocol(fields: Mapping[str, str]) -> int:
    for number, word in PORTED.items():
        if word in fields or f"{word}6" in fields:
            return number
    for word, number in _ICMP_WORDS.items():
        if word in fields:
            return number
    return int(fields["nw_proto"], 0)
