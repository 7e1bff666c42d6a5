# SPDX-License-Identifier: Apache-2.0
"""The match fields of Open vSwitch 3.1 that Isthmus uses: names, widths, headers.

A field has one header in a match and in a set-field action (`Field.exact`, `Field.masked`), and may
have another in the actions that Nicira defined (`Field.nicira`: move, load, output_reg, multipath,
ct, check_pkt_larger). Both are those that Open vSwitch itself writes on an OpenFlow 1.4 connection,
so that what is read back compares equal.

`FIELDS` is in the order in which Open vSwitch writes a match.

Sources: OpenFlow 1.4 section 7.2.2.7; ovs-fields(7); NXM as in Open vSwitch's nicira-ext.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

NXM_0, NXM_1, OPENFLOW_BASIC, PACKET_REGISTERS, EXPERIMENTER = 0, 1, 0x8000, 0x8001, 0xFFFF
"""OXM classes."""

ERICSSON = 0x1000
"""The class of two fields of neighbour discovery, as Open vSwitch has them."""

ONF = 0x4F4E4600
"""The ONF's experimenter id, which stands behind the header of its fields."""


class Form(Enum):
    """How a value is written for people, as ovs-ofctl reads it."""

    DECIMAL = "decimal"
    HEXADECIMAL = "hexadecimal"
    MAC = "mac"
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    PORT = "port"
    CT_STATE = "ct_state"
    TCP_FLAGS = "tcp_flags"
    FRAGMENT = "fragment"


def _header(oxm_class: int, number: int, length: int, *, masked: bool = False) -> int:
    """OpenFlow 1.4 section 7.2.2.3: class 16 bits, field 7 bits, hasmask, length of what follows 8
    bits.
    """
    return oxm_class << 16 | number << 9 | masked << 8 | length


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One field. Compared by identity: there is one object for each."""

    name: str
    """As ovs-ofctl reads and writes it in actions, for example ``NXM_OF_ETH_SRC``."""
    text: str
    """As ovs-ofctl reads it in a match."""
    bits: int
    oxm_class: int
    number: int
    form: Form
    nicira: int
    """The header in actions that Nicira defined, without a mask."""
    exact: bytes = field(init=False)
    masked: bytes = field(init=False)
    n_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        n_bytes = (self.bits + 7) // 8
        extra = ONF.to_bytes(4, "big") if self.oxm_class == EXPERIMENTER else b""
        for name, length, masked in (("exact", n_bytes, False), ("masked", 2 * n_bytes, True)):
            head = _header(self.oxm_class, self.number, length + len(extra), masked=masked)
            object.__setattr__(self, name, head.to_bytes(4, "big") + extra)
        object.__setattr__(self, "n_bytes", n_bytes)

    @property
    def ones(self) -> int:
        """A mask that has these bits is no mask: the field is compared as a whole."""
        return _FEWER_ONES.get(self.text, (1 << 8 * self.n_bytes) - 1)

    def __repr__(self) -> str:
        return self.name


_FEWER_ONES = {"ip_frag": 3, "vlan_vid": 0x1FFF}
"""Of fields narrower than their bytes, those of which Open vSwitch looks at no more than their own
bits.
"""

_D, _H = Form.DECIMAL, Form.HEXADECIMAL


def _nxm(name: str, text: str, bits: int, number: int, form: Form, oxm_class: int = NXM_1) -> Field:
    """A field that Nicira defined and OpenFlow 1.4 has not."""
    nicira = _header(oxm_class, number, (bits + 7) // 8)
    return Field(name, text, bits, oxm_class, number, form, nicira)


def _oxm(
    text: str, bits: int, number: int, form: Form, nxm: tuple[str, int, int] | None = None
) -> Field:
    """A field of OpenFlow 1.4; `nxm` is the name, class and number that Nicira's actions know it
    by.
    """
    length = (bits + 7) // 8
    if nxm is None:
        nicira = _header(OPENFLOW_BASIC, number, length)
        return Field(f"OXM_OF_{text.upper()}", text, bits, OPENFLOW_BASIC, number, form, nicira)
    name, nxm_class, nxm_number = nxm
    nicira = _header(nxm_class, nxm_number, length)
    return Field(name, text, bits, OPENFLOW_BASIC, number, form, nicira)


CONJ_ID = _nxm("NXM_NX_CONJ_ID", "conj_id", 32, 37, _D)
IN_PORT = _oxm("in_port", 32, 0, Form.PORT)
IN_PORT_NXM = _nxm("NXM_OF_IN_PORT", "in_port", 16, 0, Form.PORT, NXM_0)
"""The 16-bit in_port: the one that load and move accept."""
ETH_SRC = _oxm("eth_src", 48, 4, Form.MAC, ("NXM_OF_ETH_SRC", NXM_0, 2))
ETH_DST = _oxm("eth_dst", 48, 3, Form.MAC, ("NXM_OF_ETH_DST", NXM_0, 1))
ETH_TYPE = _oxm("eth_type", 16, 5, _H, ("NXM_OF_ETH_TYPE", NXM_0, 3))
VLAN_VID = _oxm("vlan_vid", 16, 6, _H)
VLAN_PCP = _oxm("vlan_pcp", 3, 7, _D)
VLAN_TCI = _nxm("NXM_OF_VLAN_TCI", "vlan_tci", 16, 4, _H, NXM_0)
"""For move and load; a match on it is read back as vlan_vid and vlan_pcp."""
IPV4_SRC = _oxm("nw_src", 32, 11, Form.IPV4, ("NXM_OF_IP_SRC", NXM_0, 7))
IPV4_DST = _oxm("nw_dst", 32, 12, Form.IPV4, ("NXM_OF_IP_DST", NXM_0, 8))
IPV6_SRC = _oxm("ipv6_src", 128, 26, Form.IPV6, ("NXM_NX_IPV6_SRC", NXM_1, 19))
IPV6_DST = _oxm("ipv6_dst", 128, 27, Form.IPV6, ("NXM_NX_IPV6_DST", NXM_1, 20))
IP_FRAG = _nxm("NXM_NX_IP_FRAG", "ip_frag", 2, 26, Form.FRAGMENT)
IP_DSCP = _oxm("ip_dscp", 6, 8, _D)
IP_ECN = _oxm("ip_ecn", 2, 9, _D, ("NXM_NX_IP_ECN", NXM_1, 28))
IP_TTL = _nxm("NXM_NX_IP_TTL", "nw_ttl", 8, 29, _D)
IP_PROTO = _oxm("nw_proto", 8, 10, _D, ("NXM_OF_IP_PROTO", NXM_0, 6))
TCP_SRC = _oxm("tcp_src", 16, 13, _D, ("NXM_OF_TCP_SRC", NXM_0, 9))
TCP_DST = _oxm("tcp_dst", 16, 14, _D, ("NXM_OF_TCP_DST", NXM_0, 10))
TCP_FLAGS = Field(
    *("NXM_NX_TCP_FLAGS", "tcp_flags", 12, EXPERIMENTER, 42, Form.TCP_FLAGS),
    nicira=_header(NXM_1, 34, 2),
)
UDP_SRC = _oxm("udp_src", 16, 15, _D, ("NXM_OF_UDP_SRC", NXM_0, 11))
UDP_DST = _oxm("udp_dst", 16, 16, _D, ("NXM_OF_UDP_DST", NXM_0, 12))
SCTP_SRC = _oxm("sctp_src", 16, 17, _D)
SCTP_DST = _oxm("sctp_dst", 16, 18, _D)
ICMP_TYPE = _oxm("icmp_type", 8, 19, _D, ("NXM_OF_ICMP_TYPE", NXM_0, 13))
ICMP_CODE = _oxm("icmp_code", 8, 20, _D, ("NXM_OF_ICMP_CODE", NXM_0, 14))
ICMPV6_TYPE = _oxm("icmpv6_type", 8, 29, _D, ("NXM_NX_ICMPV6_TYPE", NXM_1, 21))
ICMPV6_CODE = _oxm("icmpv6_code", 8, 30, _D, ("NXM_NX_ICMPV6_CODE", NXM_1, 22))
ND_TARGET = _oxm("nd_target", 128, 31, Form.IPV6, ("NXM_NX_ND_TARGET", NXM_1, 23))
ND_SLL = _oxm("nd_sll", 48, 32, Form.MAC, ("NXM_NX_ND_SLL", NXM_1, 24))
ND_TLL = _oxm("nd_tll", 48, 33, Form.MAC, ("NXM_NX_ND_TLL", NXM_1, 25))
ND_RESERVED = _nxm("ERICOXM_OF_ICMPV6_ND_RESERVED", "nd_reserved", 32, 1, _H, ERICSSON)
"""Flags of a neighbour advertisement (RFC 4861 section 4.4)."""
ND_OPTIONS_TYPE = _nxm("ERICOXM_OF_ICMPV6_ND_OPTIONS_TYPE", "nd_options_type", 8, 2, _D, ERICSSON)
ARP_OP = _oxm("arp_op", 16, 21, _D, ("NXM_OF_ARP_OP", NXM_0, 15))
ARP_SPA = _oxm("arp_spa", 32, 22, Form.IPV4, ("NXM_OF_ARP_SPA", NXM_0, 16))
ARP_TPA = _oxm("arp_tpa", 32, 23, Form.IPV4, ("NXM_OF_ARP_TPA", NXM_0, 17))
ARP_SHA = _oxm("arp_sha", 48, 24, Form.MAC, ("NXM_NX_ARP_SHA", NXM_1, 17))
ARP_THA = _oxm("arp_tha", 48, 25, Form.MAC, ("NXM_NX_ARP_THA", NXM_1, 18))
TUNNEL_ID = _oxm("tun_id", 64, 38, _H, ("NXM_NX_TUN_ID", NXM_1, 16))
TUN_SRC = _nxm("NXM_NX_TUN_IPV4_SRC", "tun_src", 32, 31, Form.IPV4)
TUN_DST = _nxm("NXM_NX_TUN_IPV4_DST", "tun_dst", 32, 32, Form.IPV4)
TUN_IPV6_SRC = _nxm("NXM_NX_TUN_IPV6_SRC", "tun_ipv6_src", 128, 109, Form.IPV6)
TUN_IPV6_DST = _nxm("NXM_NX_TUN_IPV6_DST", "tun_ipv6_dst", 128, 110, Form.IPV6)
REG = tuple(_nxm(f"NXM_NX_REG{n}", f"reg{n}", 32, n, _H) for n in range(16))
XREG = tuple(
    Field(
        *(f"OXM_OF_PKT_REG{n}", f"xreg{n}", 64, PACKET_REGISTERS, n, _H),
        nicira=_header(PACKET_REGISTERS, n, 8),
    )
    for n in range(8)
)
"""XREG[n] is REG[2n] (upper half) and REG[2n + 1]; a match on it is read back as these two."""
XXREG = tuple(_nxm(f"NXM_NX_XXREG{n}", f"xxreg{n}", 128, 111 + n, _H) for n in range(4))
"""XXREG[n] is REG[4n] (uppermost) to REG[4n + 3]; a match on it is read back as these four."""
PKT_MARK = _nxm("NXM_NX_PKT_MARK", "pkt_mark", 32, 33, _H)
CT_STATE = _nxm("NXM_NX_CT_STATE", "ct_state", 32, 105, Form.CT_STATE)
CT_ZONE = _nxm("NXM_NX_CT_ZONE", "ct_zone", 16, 106, _H)
CT_MARK = _nxm("NXM_NX_CT_MARK", "ct_mark", 32, 107, _H)
CT_LABEL = _nxm("NXM_NX_CT_LABEL", "ct_label", 128, 108, _H)
CT_NW_SRC = _nxm("NXM_NX_CT_NW_SRC", "ct_nw_src", 32, 120, Form.IPV4)
CT_IPV6_SRC = _nxm("NXM_NX_CT_IPV6_SRC", "ct_ipv6_src", 128, 122, Form.IPV6)
CT_NW_DST = _nxm("NXM_NX_CT_NW_DST", "ct_nw_dst", 32, 121, Form.IPV4)
CT_IPV6_DST = _nxm("NXM_NX_CT_IPV6_DST", "ct_ipv6_dst", 128, 123, Form.IPV6)
CT_NW_PROTO = _nxm("NXM_NX_CT_NW_PROTO", "ct_nw_proto", 8, 119, _D)
CT_TP_SRC = _nxm("NXM_NX_CT_TP_SRC", "ct_tp_src", 16, 124, _D)
CT_TP_DST = _nxm("NXM_NX_CT_TP_DST", "ct_tp_dst", 16, 125, _D)
METADATA = _oxm("metadata", 64, 2, _H)

# fmt: off
FIELDS: tuple[Field, ...] = (
    CONJ_ID, IN_PORT, IN_PORT_NXM,
    ETH_SRC, ETH_DST, ETH_TYPE, VLAN_VID, VLAN_PCP, VLAN_TCI,
    IPV4_SRC, IPV4_DST, IPV6_SRC, IPV6_DST, IP_FRAG, IP_DSCP, IP_ECN, IP_TTL, IP_PROTO,
    TCP_SRC, TCP_DST, TCP_FLAGS, UDP_SRC, UDP_DST, SCTP_SRC, SCTP_DST,
    ICMP_TYPE, ICMP_CODE, ICMPV6_TYPE, ICMPV6_CODE, ND_TARGET, ND_SLL, ND_TLL,
    ND_RESERVED, ND_OPTIONS_TYPE,
    ARP_OP, ARP_SPA, ARP_TPA, ARP_SHA, ARP_THA,
    TUNNEL_ID, TUN_SRC, TUN_DST, TUN_IPV6_SRC, TUN_IPV6_DST,
    *REG, *XREG, *XXREG, PKT_MARK,
    CT_STATE, CT_ZONE, CT_MARK, CT_LABEL,
    CT_NW_SRC, CT_IPV6_SRC, CT_NW_DST, CT_IPV6_DST, CT_NW_PROTO, CT_TP_SRC, CT_TP_DST,
    METADATA,
)
# fmt: on
"""In the order in which Open vSwitch writes a match."""
