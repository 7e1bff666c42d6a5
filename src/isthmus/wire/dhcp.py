# SPDX-License-Identifier: Apache-2.0
"""DHCPv4 messages: what a client asks, read; what a server answers, built. What to answer is
decided elsewhere.

Standards: RFC 2131, RFC 2132, RFC 3046 (relay agent information), RFC 3396 (long options), RFC 3442
(classless static routes). Addresses that are 0.0.0.0 in the message are None in the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from struct import Struct

from isthmus.addresses import Mac, mac_bytes
from isthmus.wire.malformed import Malformed

SERVER_PORT, CLIENT_PORT = 67, 68

SMALLEST_BYTES = 300
"""RFC 1542 section 2.1: BOOTP messages are at least this long."""

_BOOTREQUEST, _BOOTREPLY = 1, 2
_ETHERNET = 1
_BROADCAST_FLAG = 0x8000
_MAGIC = b"\x63\x82\x53\x63"
_FIXED = Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
_LONGEST_OPTION = 255


class Kind(IntEnum):
    """RFC 2132 section 9.6: DHCP message types."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """RFC 2132 and the others named above."""

    PAD = 0
    SUBNET_MASK = 1
    ROUTER = 3
    DNS_SERVERS = 6
    HOST_NAME = 12
    DOMAIN_NAME = 15
    INTERFACE_MTU = 26
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_ID = 54
    PARAMETER_REQUEST_LIST = 55
    MESSAGE = 56
    MAX_MESSAGE_SIZE = 57
    RENEWAL_TIME = 58
    REBINDING_TIME = 59
    VENDOR_CLASS = 60
    CLIENT_ID = 61
    RELAY_AGENT_INFORMATION = 82
    CLASSLESS_STATIC_ROUTES = 121
    END = 255


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    kind: Kind
    xid: int
    chaddr: Mac
    broadcast: bool
    """The client cannot receive unicast yet (RFC 2131 section 4.1)."""
    secs: int = 0
    ciaddr: IPv4Address | None = None
    giaddr: IPv4Address | None = None
    requested_address: IPv4Address | None = None
    server_id: IPv4Address | None = None
    parameters: tuple[int, ...] = ()
    """The options that the client asks for, most wanted first."""
    client_id: bytes | None = None
    host_name: bytes | None = None
    vendor_class: bytes | None = None
    max_message_size: int | None = None
    relay_agent_information: bytes | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """RFC 3442. A next hop of 0.0.0.0 means that the destination is on the link."""

    destination: IPv4Network
    next_hop: IPv4Address


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answers. `None` and empty tuples are left out of the message."""

    kind: Kind
    xid: int
    chaddr: Mac
    server_id: IPv4Address
    broadcast: bool = False
    ciaddr: IPv4Address | None = None
    yiaddr: IPv4Address | None = None
    siaddr: IPv4Address | None = None
    giaddr: IPv4Address | None = None
    lease_s: int | None = None
    renewal_s: int | None = None
    rebinding_s: int | None = None
    subnet_mask: IPv4Address | None = None
    routers: tuple[IPv4Address, ...] = ()
    dns_servers: tuple[IPv4Address, ...] = ()
    host_name: bytes | None = None
    domain_name: bytes | None = None
    mtu_bytes: int | None = None
    routes: tuple[Route, ...] = ()
    message: str | None = None
    client_id: bytes | None = None
    """RFC 6842: a server echoes it."""
    relay_agent_information: bytes | None = None
    """RFC 3046 section 2.2: a server echoes it."""


def parse(data: bytes) -> Request:
    """Read what a client sent, the payload of a UDP datagram to port 67. Raises Malformed."""
    if len(data) < _FIXED.size:
        raise Malformed(f"a DHCP message of {len(data)} bytes")
    # fmt: off
    (op, hardware, hardware_length, _, xid, secs, flags, ciaddr, _, _, giaddr,
     chaddr, sname, file, magic) = _FIXED.unpack_from(data)
    # fmt: on
    if op != _BOOTREQUEST or magic != _MAGIC:
        raise Malformed(f"not a DHCP client's message: op {op}, magic cookie {magic.hex()}")
    if (hardware, hardware_length) != (_ETHERNET, 6):
        raise Malformed(f"a DHCP client on hardware {hardware}, {hardware_length} bytes of address")
    options = _options(data[_FIXED.size :], file, sname)
    return Request(
        kind=_kind(options),
        xid=xid,
        chaddr=Mac(int.from_bytes(chaddr[:6], "big")),
        broadcast=bool(flags & _BROADCAST_FLAG),
        secs=secs,
        ciaddr=_address(ciaddr),
        giaddr=_address(giaddr),
        requested_address=_address_option(options, Option.REQUESTED_ADDRESS),
        server_id=_address_option(options, Option.SERVER_ID),
        parameters=tuple(options.get(Option.PARAMETER_REQUEST_LIST, b"")),
        client_id=options.get(Option.CLIENT_ID),
        host_name=options.get(Option.HOST_NAME),
        vendor_class=options.get(Option.VENDOR_CLASS),
        max_message_size=_number_option(options, Option.MAX_MESSAGE_SIZE, 2),
        relay_agent_information=options.get(Option.RELAY_AGENT_INFORMATION),
    )


def _options(options: bytes, file: bytes, sname: bytes) -> Mapping[int, bytes]:
    """The options by code; those given in several parts are put together (RFC 3396 section 5)."""
    found: dict[int, bytes] = {}
    _collect(options, found)
    # RFC 2131 section 4.1: "the options in the 'options' field are interpreted first", then 'file',
    # then 'sname'.
    overload = _number_option(found, Option.OVERLOAD, 1) or 0
    if overload not in range(4):
        raise Malformed(f"a DHCP message with option overload {overload}")
    if overload & 1:
        _collect(file, found)
    if overload & 2:
        _collect(sname, found)
    return found


def _collect(data: bytes, found: dict[int, bytes]) -> None:
    start, end = 0, len(data)
    while start < end:
        code = data[start]
        if code == Option.END:
            return
        start += 1
        if code == Option.PAD:
            continue
        if start == end or start + 1 + data[start] > end:
            raise Malformed(f"DHCP option {code} is cut short")
        stop = start + 1 + data[start]
        found[code] = found.get(code, b"") + data[start + 1 : stop]
        start = stop


def _kind(options: Mapping[int, bytes]) -> Kind:
    number = _number_option(options, Option.MESSAGE_TYPE, 1)
    if number is None or number not in Kind._value2member_map_:
        raise Malformed(f"a DHCP message of type {number}")
    return Kind(number)


def _number_option(options: Mapping[int, bytes], option: Option, length: int) -> int | None:
    value = options.get(option)
    if value is None:
        return None
    if len(value) != length:
        raise Malformed(f"DHCP option {option} is {len(value)} bytes long, not {length}")
    return int.from_bytes(value, "big")


def _address_option(options: Mapping[int, bytes], option: Option) -> IPv4Address | None:
    number = _number_option(options, option, 4)
    return IPv4Address(number) if number else None


def _address(packed: bytes) -> IPv4Address | None:
    return IPv4Address(packed) if any(packed) else None


def build(reply: Reply) -> bytes:
    """The payload of a UDP datagram from port 67, at least 300 bytes long."""
    fixed = _FIXED.pack(
        *(_BOOTREPLY, _ETHERNET, 6, 0, reply.xid, 0, _BROADCAST_FLAG if reply.broadcast else 0),
        *(_packed(reply.ciaddr), _packed(reply.yiaddr), _packed(reply.siaddr)),
        *(_packed(reply.giaddr), mac_bytes(reply.chaddr), b"", b"", _MAGIC),
    )
    options = b"".join(_encoded(code, value) for code, value in _reply_options(reply))
    return (fixed + options + bytes([Option.END])).ljust(SMALLEST_BYTES, b"\x00")


def _packed(address: IPv4Address | None) -> bytes:
    return address.packed if address is not None else bytes(4)


def _encoded(code: int, value: bytes) -> bytes:
    """RFC 3396 section 4: what is longer than 255 bytes is sent in parts, one behind the other."""
    starts = range(0, max(len(value), 1), _LONGEST_OPTION)
    parts = [value[start : start + _LONGEST_OPTION] for start in starts]
    return b"".join(bytes([code, len(part)]) + part for part in parts)


def _reply_options(reply: Reply) -> Iterator[tuple[int, bytes]]:
    yield Option.MESSAGE_TYPE, bytes([reply.kind])
    yield Option.SERVER_ID, reply.server_id.packed
    for option, seconds in (
        (Option.LEASE_TIME, reply.lease_s),
        (Option.RENEWAL_TIME, reply.renewal_s),
        (Option.REBINDING_TIME, reply.rebinding_s),
    ):
        if seconds is not None:
            yield option, seconds.to_bytes(4, "big")
    if reply.subnet_mask is not None:
        # RFC 2132 section 3.3: "the subnet mask option MUST be first" of it and the router option.
        yield Option.SUBNET_MASK, reply.subnet_mask.packed
    # RFC 3442: clients that understand this option ignore the router option, so that it must hold
    # the default route.
    if reply.routes:
        yield Option.CLASSLESS_STATIC_ROUTES, b"".join(map(_route, reply.routes))
    for option, addresses in (
        (Option.ROUTER, reply.routers),
        (Option.DNS_SERVERS, reply.dns_servers),
    ):
        if addresses:
            yield option, b"".join(address.packed for address in addresses)
    if reply.mtu_bytes is not None:
        yield Option.INTERFACE_MTU, reply.mtu_bytes.to_bytes(2, "big")
    for option, text in (
        (Option.HOST_NAME, reply.host_name),
        (Option.DOMAIN_NAME, reply.domain_name),
        (Option.MESSAGE, reply.message.encode() if reply.message is not None else None),
        (Option.CLIENT_ID, reply.client_id),
        # RFC 3046 section 2.1: it "SHOULD be the last option" but for the end.
        (Option.RELAY_AGENT_INFORMATION, reply.relay_agent_information),
    ):
        if text is not None:
            yield option, text


def _route(route: Route) -> bytes:
    """RFC 3442: the prefix length, the bytes of the prefix that are significant, the next hop."""
    length = route.destination.prefixlen
    significant = route.destination.network_address.packed[: (length + 7) // 8]
    return bytes([length]) + significant + route.next_hop.packed
