# SPDX-License-Identifier: Apache-2.0
"""Match fields as people read them: names, values and masks in the syntax of ovs-fields(7)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from isthmus.addresses import Mac, mac_text
from isthmus.wire.oxm import Entry, entries
from isthmus.wire.oxm_fields import ETH_TYPE, FIELDS, IP_PROTO, Field, Form

_PORTS = {
    0xFFFFFFF8: "IN_PORT",
    0xFFFFFFFA: "NORMAL",
    0xFFFFFFFB: "FLOOD",
    0xFFFFFFFC: "ALL",
    0xFFFFFFFD: "CONTROLLER",
    0xFFFFFFFE: "LOCAL",
}

_PROTOCOLS = {
    (0x0800, None): "ip",
    (0x0800, 1): "icmp",
    (0x0800, 6): "tcp",
    (0x0800, 17): "udp",
    (0x0800, 132): "sctp",
    (0x0806, None): "arp",
    (0x86DD, None): "ipv6",
    (0x86DD, 6): "tcp6",
    (0x86DD, 17): "udp6",
    (0x86DD, 58): "icmp6",
    (0x86DD, 132): "sctp6",
}
"""ovs-ofctl's names for pairs of eth_type and ip_proto."""

_CT_STATES = ("new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat")
_TCP_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns")
_FRAGMENTS = {(0, 3): "no", (1, 1): "yes", (1, 3): "first", (3, 3): "later", (0, 2): "not_later"}

_BY_NICIRA = {field.nicira: field for field in FIELDS}


def match_text(match: bytes) -> str:
    """``ip,in_port=3,nw_src=10.0.0.0/8``; empty for the match of every packet. Raises Malformed."""
    found = list(entries(match))
    values = {entry.field: entry.value for entry in found}
    ethernet, protocol = values.get(ETH_TYPE), values.get(IP_PROTO)
    named: set[Field] = set()
    words: list[str] = []
    if ethernet is not None and (word := _PROTOCOLS.get((ethernet, protocol))):
        words, named = [word], {ETH_TYPE, IP_PROTO}
    elif ethernet is not None and (word := _PROTOCOLS.get((ethernet, None))):
        words, named = [word], {ETH_TYPE}
    words += [_entry_text(entry) for entry in found if entry.field not in named]
    return ",".join(words)


def _entry_text(entry: Entry) -> str:
    field, value, mask = entry
    if mask is None:
        return f"{field.text}={value_text(field, value)}"
    if field.form is Form.CT_STATE:
        return f"{field.text}={_signed(value, mask, _CT_STATES)}"
    if field.form is Form.TCP_FLAGS:
        return f"{field.text}={_signed(value, mask, _TCP_FLAGS)}"
    if field.form is Form.FRAGMENT:
        return f"{field.text}={_FRAGMENTS.get((value, mask), f'{value}/{mask}')}"
    if field.form in (Form.IPV4, Form.IPV6) and (length := _prefix_length(field, mask)) is not None:
        return f"{field.text}={value_text(field, value)}/{length}"
    if field.form is Form.DECIMAL:
        return f"{field.text}={value:#x}/{mask:#x}"
    return f"{field.text}={value_text(field, value)}/{value_text(field, mask)}"


def value_text(field: Field, value: int) -> str:
    """A value as ovs-ofctl reads it behind ``=`` in a match and behind ``set_field:``."""
    match field.form:
        case Form.DECIMAL:
            return str(value)
        case Form.MAC:
            return mac_text(Mac(value))
        case Form.IPV4:
            return str(IPv4Address(value))
        case Form.IPV6:
            return str(IPv6Address(value))
        case Form.PORT:
            return _PORTS.get(value, str(value))
        case Form.FRAGMENT:
            return _FRAGMENTS.get((value, 3), str(value))
        case Form.TCP_FLAGS:
            names = [name for bit, name in enumerate(_TCP_FLAGS) if value >> bit & 1]
            return "|".join(names) if names and value < 1 << len(_TCP_FLAGS) else f"{value:#x}"
        case Form.HEXADECIMAL | Form.CT_STATE:
            return f"{value:#x}"


def port_text(port: int) -> str:
    """An output action to a port."""
    return _PORTS.get(port) or f"output:{port}"


def place_text(header: int, first_bit: int, n_bits: int) -> str:
    """Bits of a field in an action: ``NXM_NX_REG0[]``, ``NXM_NX_REG0[0..15]``."""
    field = _BY_NICIRA.get(header)
    if field is None:
        return f"unknown(field {header:#010x})[{first_bit}..{first_bit + n_bits - 1}]"
    if first_bit == 0 and n_bits == field.bits:
        return f"{field.name}[]"
    if n_bits == 1:
        return f"{field.name}[{first_bit}]"
    return f"{field.name}[{first_bit}..{first_bit + n_bits - 1}]"


def _signed(value: int, mask: int, names: Sequence[str]) -> str:
    """``+trk-inv``: each bit that is compared, with what it must be."""
    if mask >> len(names):
        return f"{value:#x}/{mask:#x}"
    bits = [(bit, name) for bit, name in enumerate(names) if mask >> bit & 1]
    return "".join(f"{'+' if value >> bit & 1 else '-'}{name}" for bit, name in bits)


def _prefix_length(field: Field, mask: int) -> int | None:
    """None where the mask is not that of a prefix."""
    zeros = field.bits - mask.bit_count()
    return mask.bit_count() if mask == field.ones >> zeros << zeros else None
