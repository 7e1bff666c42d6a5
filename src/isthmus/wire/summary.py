# SPDX-License-Identifier: Apache-2.0
"""A frame in one line, as people name packets: ``tcp 10.0.0.4:49152 → 10.0.0.5:443``. Whatever is
cut short or strange is named as far as it can be read; nothing raises."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from isthmus.addresses import Mac, mac_text

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
_PORTED = (6, 17, 132)
_ICMP = (1, 58)
_TAGS = (0x8100, 0x88A8)


def summary(frame: bytes) -> str:
    """One line."""
    if len(frame) < 14:
        return f"{len(frame)} bytes"
    kind, payload = int.from_bytes(frame[12:14], "big"), frame[14:]
    tagged = ""
    while kind in _TAGS and len(payload) >= 4:
        tagged = "tagged "
        kind, payload = int.from_bytes(payload[2:4], "big"), payload[4:]
    if kind == 0x0806 and len(payload) >= 28:
        return tagged + _arp(payload)
    if kind == 0x0800 and len(payload) >= 20:
        return tagged + _ipv4(payload)
    if kind == 0x86DD and len(payload) >= 40:
        return tagged + _ipv6(payload)
    source = mac_text(Mac(int.from_bytes(frame[6:12], "big")))
    target = mac_text(Mac(int.from_bytes(frame[:6], "big")))
    return f"{tagged}ethertype {kind:#06x} {source} → {target}"


def _arp(body: bytes) -> str:
    sender, target = IPv4Address(body[14:18]), IPv4Address(body[24:28])
    if body[7] == 1:
        return f"arp who-has {target} tell {sender}"
    return f"arp {sender} is-at {mac_text(Mac(int.from_bytes(body[8:14], 'big')))}"


def _ipv4(packet: bytes) -> str:
    source, target = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    later = bool(int.from_bytes(packet[6:8], "big") & 0x1FFF)
    inner = b"" if later else packet[(packet[0] & 15) * 4 :]
    return _transport(packet[9], str(source), str(target), inner, later)


def _ipv6(packet: bytes) -> str:
    source, target = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return _transport(packet[6], f"[{source}]", f"[{target}]", packet[40:], False)


def _transport(protocol: int, source: str, target: str, inner: bytes, later: bool) -> str:
    name = _PROTOCOLS.get(protocol, f"protocol {protocol}")
    if later:
        return f"{name} {source} → {target} (later fragment)"
    if protocol in _PORTED and len(inner) >= 4:
        ports = int.from_bytes(inner[:2], "big"), int.from_bytes(inner[2:4], "big")
        return f"{name} {source}:{ports[0]} → {target}:{ports[1]}"
    if protocol in _ICMP and len(inner) >= 2:
        return f"{name} type {inner[0]} code {inner[1]} {source} → {target}"
    return f"{name} {source} → {target}"
