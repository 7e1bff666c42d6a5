# SPDX-License-Identifier: Apache-2.0
"""Matches as bytes: small functions that each give one OXM entry, and `match`, which puts them
together.

    match(in_port(3), eth_type(0x0800), ipv4_src("10.0.0.4"), reg(5, 5001))

A match is its entries without the frame of ``struct ofp_match``, in the order in which Open vSwitch
writes them: two matches are the same if their bytes are, and what a switch gives back equals what
was sent. This holds for all fields but those that the switch keeps under another name (`xreg`,
`xxreg`).

The caller names with each field its prerequisites (OpenFlow 1.4 section 7.2.2.6:
eth_type with ipv4_src, ip_proto with udp_src; ct_nw_* needs eth_type and a ct_state of +trk-inv): a
switch refuses a match that breaks this.

Numbers are unsigned and must fit the bytes of their field, else OverflowError. MAC addresses are
numbers of 48 bits, IP addresses numbers, text or `ipaddress` values. A mask has a one for each bit
that is compared; the bits of the value outside it are cleared. A mask of zeros gives no entry, a
mask of ones an entry without mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, Protocol

from isthmus.wire import oxm_fields as fields
from isthmus.wire.malformed import Malformed
from isthmus.wire.oxm_fields import *  # noqa: F403  the fields are part of what this module offers
from isthmus.wire.oxm_fields import FIELDS, Field

IPv4 = int | str | IPv4Address
IPv6 = int | str | IPv6Address

CT_NEW, CT_EST, CT_REL, CT_RPL, CT_INV, CT_TRK, CT_SNAT, CT_DNAT = (1 << bit for bit in range(8))
"""Bits of ct_state: of a connection not yet committed, of one that is, related, a reply, invalid,
tracked, …
"""

FRAGMENT_ANY, FRAGMENT_LATER = 1, 2
"""Bits of ip_frag: a fragment; not the first one."""

VLAN_PRESENT = 0x1000
"""Bit of vlan_vid (OFPVID_PRESENT)."""


def match(*entries: bytes) -> bytes:
    """A match of all `entries`; without any, it matches every packet. Entries may come in any
    order; those of one field, which compare other bits of it, become one. Raises ValueError where
    two want another value of the same bit.
    """
    by_rank = {_RANK[entry[:4]]: entry for entry in entries}
    if len(by_rank) < len(entries):
        by_rank = _merged(entries)
    return b"".join([by_rank[rank] for rank in sorted(by_rank)])


def _merged(repeated: Iterable[bytes]) -> dict[int, bytes]:
    """OpenFlow 1.5.1 section 7.2.3.6: "an OXM TLV of a given type may not be repeated"."""
    found: dict[int, bytes] = {}
    for one in filter(None, repeated):
        rank = _RANK[one[:4]]
        found[rank] = _both(found[rank], one) if rank in found else one
    return found


def _both(one: bytes, other: bytes) -> bytes:
    (field, value, mask), (_, its_value, its_mask) = next(entries(one)), next(entries(other))
    mask = field.ones if mask is None else mask
    its_mask = field.ones if its_mask is None else its_mask
    if (value ^ its_value) & mask & its_mask:
        raise ValueError(f"no packet has both {value:#x} and {its_value:#x} in {field.text}")
    return masked(field, value | its_value, mask | its_mask)


def exact(field: Field, value: int) -> bytes:
    """The entry for one value of any field."""
    return field.exact + value.to_bytes(field.n_bytes, "big")


def masked(field: Field, value: int, mask: int) -> bytes:
    """The entry for the bits of any field that are ones in `mask`."""
    if mask & field.ones == field.ones:
        return exact(field, value)
    if mask == 0:
        return b""
    size = field.n_bytes
    return field.masked + (value & mask).to_bytes(size, "big") + mask.to_bytes(size, "big")


def prefix(field: Field, address: int, length: int) -> bytes:
    """The entry for the first `length` bits of an address field."""
    return masked(field, address, field.ones >> length ^ field.ones)


class Masked(Protocol):
    """Builds the entry of one field that can be masked."""

    def __call__(self, value: int, mask: int | None = None) -> bytes: ...


def _number(field: Field) -> Callable[[int], bytes]:
    head, size = field.exact, field.n_bytes

    def build(value: int) -> bytes:
        return head + value.to_bytes(size, "big")

    return build


def _bits(field: Field) -> Masked:
    head, size = field.exact, field.n_bytes

    def build(value: int, mask: int | None = None) -> bytes:
        return head + value.to_bytes(size, "big") if mask is None else masked(field, value, mask)

    return build


def _ipv4(field: Field) -> Callable[[IPv4], bytes]:
    head = field.exact

    def build(address: IPv4) -> bytes:
        number = address if isinstance(address, int) else int(IPv4Address(address))
        return head + number.to_bytes(4, "big")

    return build


def _ipv6(field: Field) -> Callable[[IPv6], bytes]:
    head = field.exact

    def build(address: IPv6) -> bytes:
        number = address if isinstance(address, int) else int(IPv6Address(address))
        return head + number.to_bytes(16, "big")

    return build


def _prefix(field: Field) -> Callable[[int, int], bytes]:
    def build(address: int, length: int) -> bytes:
        return prefix(field, address, length)

    return build


conj_id = _number(fields.CONJ_ID)
in_port = _number(fields.IN_PORT)
eth_src = _bits(fields.ETH_SRC)
eth_dst = _bits(fields.ETH_DST)
eth_type = _number(fields.ETH_TYPE)
vlan_vid = _bits(fields.VLAN_VID)
"""The VLAN id with VLAN_PRESENT added; 0 is a frame without a tag."""
vlan_pcp = _number(fields.VLAN_PCP)
ipv4_src = _ipv4(fields.IPV4_SRC)
ipv4_dst = _ipv4(fields.IPV4_DST)
ipv4_src_prefix = _prefix(fields.IPV4_SRC)
ipv4_dst_prefix = _prefix(fields.IPV4_DST)
ipv6_src = _ipv6(fields.IPV6_SRC)
ipv6_dst = _ipv6(fields.IPV6_DST)
ipv6_src_prefix = _prefix(fields.IPV6_SRC)
ipv6_dst_prefix = _prefix(fields.IPV6_DST)
ip_frag = _bits(fields.IP_FRAG)
ip_dscp = _number(fields.IP_DSCP)
ip_ecn = _number(fields.IP_ECN)
ip_ttl = _number(fields.IP_TTL)
ip_proto = _number(fields.IP_PROTO)
tcp_src = _bits(fields.TCP_SRC)
tcp_dst = _bits(fields.TCP_DST)
tcp_flags = _bits(fields.TCP_FLAGS)
udp_src = _bits(fields.UDP_SRC)
udp_dst = _bits(fields.UDP_DST)
sctp_src = _bits(fields.SCTP_SRC)
sctp_dst = _bits(fields.SCTP_DST)
icmp_type = _number(fields.ICMP_TYPE)
icmp_code = _number(fields.ICMP_CODE)
icmpv6_type = _number(fields.ICMPV6_TYPE)
icmpv6_code = _number(fields.ICMPV6_CODE)
nd_target = _ipv6(fields.ND_TARGET)
nd_sll = _number(fields.ND_SLL)
nd_tll = _number(fields.ND_TLL)
nd_reserved = _number(fields.ND_RESERVED)
nd_options_type = _number(fields.ND_OPTIONS_TYPE)
arp_op = _number(fields.ARP_OP)
arp_spa = _ipv4(fields.ARP_SPA)
arp_tpa = _ipv4(fields.ARP_TPA)
arp_tpa_prefix = _prefix(fields.ARP_TPA)
arp_sha = _number(fields.ARP_SHA)
arp_tha = _number(fields.ARP_THA)
tunnel_id = _bits(fields.TUNNEL_ID)
tun_src = _ipv4(fields.TUN_SRC)
tun_dst = _ipv4(fields.TUN_DST)
tun_ipv6_src = _ipv6(fields.TUN_IPV6_SRC)
tun_ipv6_dst = _ipv6(fields.TUN_IPV6_DST)
pkt_mark = _bits(fields.PKT_MARK)
ct_state = _bits(fields.CT_STATE)
ct_zone = _number(fields.CT_ZONE)
ct_mark = _bits(fields.CT_MARK)
ct_label = _bits(fields.CT_LABEL)
ct_nw_src = _ipv4(fields.CT_NW_SRC)
ct_nw_dst = _ipv4(fields.CT_NW_DST)
ct_nw_src_prefix = _prefix(fields.CT_NW_SRC)
ct_nw_dst_prefix = _prefix(fields.CT_NW_DST)
ct_ipv6_src = _ipv6(fields.CT_IPV6_SRC)
ct_ipv6_dst = _ipv6(fields.CT_IPV6_DST)
ct_ipv6_src_prefix = _prefix(fields.CT_IPV6_SRC)
ct_ipv6_dst_prefix = _prefix(fields.CT_IPV6_DST)
ct_nw_proto = _number(fields.CT_NW_PROTO)
ct_tp_src = _bits(fields.CT_TP_SRC)
ct_tp_dst = _bits(fields.CT_TP_DST)
metadata = _bits(fields.METADATA)

_REG = tuple(_bits(field) for field in fields.REG)
_XREG = tuple(_bits(field) for field in fields.XREG)
_XXREG = tuple(_bits(field) for field in fields.XXREG)


def reg(number: int, value: int, mask: int | None = None) -> bytes:
    """Register 0 to 15, of 32 bits."""
    return _REG[number](value, mask)


def xreg(number: int, value: int, mask: int | None = None) -> bytes:
    """Registers 2·`number` and 2·`number` + 1 as one of 64 bits. Read back as these two."""
    return _XREG[number](value, mask)


def xxreg(number: int, value: int, mask: int | None = None) -> bytes:
    """Registers 4·`number` to 4·`number` + 3 as one of 128 bits. Read back as these four."""
    return _XXREG[number](value, mask)


def vlan_absent() -> bytes:
    """A frame without an 802.1Q tag."""
    return exact(fields.VLAN_VID, 0)


class Entry(NamedTuple):
    """One entry of a match that was read. `mask` is None where all bits are compared."""

    field: Field
    value: int
    mask: int | None


def entries(data: bytes) -> Iterator[Entry]:
    """The entries of a match; fields that are not in `FIELDS` are passed over.

    Raises Malformed.
    """
    start, end = 0, len(data)
    while start < end:
        head = data[start : start + 4]
        body = start + 4 + head[-1]
        if len(head) < 4 or body > end:
            raise Malformed(f"a match entry at byte {start} of {end} is cut short: {data.hex()}")
        extra = 4 if head[:2] == b"\xff\xff" else 0
        entry = _read(head + data[start + 4 : start + 4 + extra], data[start + 4 + extra : body])
        if entry is not None:
            yield entry
        start = body


def _read(head: bytes, value: bytes) -> Entry | None:
    field = _BY_HEAD.get(head)
    if field is None:
        return None
    # Heads in _BY_HEAD name the length of their value, so that it is known to be right here.
    number = int.from_bytes(value[: field.n_bytes], "big")
    if len(value) == field.n_bytes:
        return Entry(field, number, None)
    return Entry(field, number, int.from_bytes(value[field.n_bytes :], "big"))


_BY_HEAD = {head: field for field in FIELDS for head in (field.exact, field.masked)}

_RANK = {
    head[:4]: rank for rank, field in enumerate(FIELDS) for head in (field.exact, field.masked)
}
_RANK[b""] = -1  # an entry with a mask of zeros
