# SPDX-License-Identifier: Apache-2.0
"""The host's own IPv4 addresses and routes (rtnetlink(7)): what the kernel has, and how an
interface's are taken to another one.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from isthmus.errors import Unavailable

if TYPE_CHECKING:
    from pyroute2 import IPRoute

_KERNEL = 2
"""RTPROT_KERNEL: routes that come and go with an address."""
_LOCAL_TABLE = 255
_PERMANENT = 0x80
"""IFA_F_PERMANENT: an address without a lease."""
_SIOCETHTOOL, _ETHTOOL_SGRO = 0x8946, 0x2C
_SIOCGIFCONF, _CONF_BYTES = 0x8912, 4096
_IFREQ = struct.Struct("16s4x4s16x")
"""struct ifreq with a struct sockaddr_in."""


class Address(msgspec.Struct, frozen=True):
    address: str
    prefix_length: int


class Route(msgspec.Struct, frozen=True):
    """A route of an interface that no address brings along. An empty `destination` is the default
    route; an empty `gateway` a route on the link."""

    destination: str
    prefix_length: int
    gateway: str = ""
    source: str = ""
    priority: int = 0
    table: int = 254
    scope: int = 0


class Belongings(msgspec.Struct, frozen=True):
    """What an interface has that a bridge needs in its place."""

    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()


class Link(NamedTuple):
    name: str
    mac: str
    belongings: Belongings
    leased: bool
    """One of its addresses has a lifetime: a DHCP client looks after it."""


def read() -> dict[str, Link]:
    """All interfaces, by name. Raises Unavailable."""
    with _netlink() as netlink:
        addresses: dict[int, list[Address]] = {}
        leased: set[int] = set()
        for found in netlink.get_addr(family=socket.AF_INET):
            index = int(found["index"])
            # IFA_LOCAL is the interface's own; of a point-to-point link IFA_ADDRESS is the peer's.
            address = str(found.get("local") or found.get("address"))
            addresses.setdefault(index, []).append(Address(address, int(found["prefixlen"])))
            if not int(found.get("flags") or found["flags"]) & _PERMANENT:
                leased.add(index)
        routes: dict[int, list[Route]] = {}
        for found in netlink.get_routes(family=socket.AF_INET):
            index = found.get("oif")
            if index is None or found["proto"] == _KERNEL:
                continue
            route = Route(
                destination=str(found.get("dst") or ""),
                prefix_length=int(found["dst_len"]),
                gateway=str(found.get("gateway") or ""),
                source=str(found.get("prefsrc") or ""),
                priority=int(found.get("priority") or 0),
                table=int(found.get("table") or found["table"]),
                scope=int(found["scope"]),
            )
            if route.table != _LOCAL_TABLE:
                routes.setdefault(int(index), []).append(route)
        links = {}
        for found in netlink.get_links():
            index, name = int(found["index"]), name_of(found.get("ifname") or "")
            belongings = Belongings(tuple(addresses.get(index, ())), tuple(routes.get(index, ())))
            mac = str(found.get("address") or "")
            links[name] = Link(name, mac, belongings, index in leased)
        return links


def addresses() -> dict[str, list[str]]:
    """The IPv4 addresses of interfaces, by name: a fraction of the cost of `read`
    (netdevice(7), SIOCGIFCONF)."""
    found: dict[str, list[str]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        size = _CONF_BYTES
        while True:
            buffer = array.array("B", bytes(size))
            request = struct.pack("iP", size, buffer.buffer_info()[0])
            used: int = struct.unpack("iP", fcntl.ioctl(control, _SIOCGIFCONF, request))[0]
            if used + _IFREQ.size <= size:
                break  # else there may be more
            size *= 2
    for label, address in _IFREQ.iter_unpack(buffer.tobytes()[:used]):
        # An address may have a label of its own: the interface's name, a colon, and more.
        name = name_of(label.rstrip(b"\0")).partition(":")[0]
        found.setdefault(name, []).append(socket.inet_ntoa(address))
    return found


def name_of(name: bytes | str) -> str:
    """An interface's name as text. The kernel takes any byte but those of ``/``, ``:`` and space
    (net/core/dev.c, dev_valid_name), so it need not be UTF-8: what is not becomes ``\\xe9``."""
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else name


def give(name: str, belongings: Belongings) -> None:
    """Have an interface be up with these addresses and routes. Doing it twice is doing it once.
    Raises Unavailable."""
    with _netlink() as netlink:
        index = _index(netlink, name)
        # IPv6 stays where it is (`agent.ovs.underlay`): here it would be answered a second time.
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        netlink.link("set", index=index, state="up")
        for address in belongings.addresses:
            netlink.addr(
                "replace", index=index, address=address.address, prefixlen=address.prefix_length
            )
        # Those on the link first: gateways are reached by them.
        for route in sorted(belongings.routes, key=lambda one: bool(one.gateway)):
            netlink.route("replace", oif=index, **_arguments(route))


def take(name: str, belongings: Belongings) -> None:
    """Take addresses from an interface, with the routes that they brought; absent is success.
    From then on the kernel hears no IPv4 there. Raises Unavailable."""
    with _netlink() as netlink:
        index = _index(netlink, name)
        for address in belongings.addresses:
            with _ignoring(errno.EADDRNOTAVAIL):
                netlink.addr(
                    "del", index=index, address=address.address, prefixlen=address.prefix_length
                )


def quieten(name: str) -> None:
    """Let the kernel take no IPv4 packet from an interface whose addresses are on a bridge over it:
    it sees each frame as well as the switch, and would answer twice. Raises Unavailable."""
    settings = Path(f"/proc/sys/net/ipv4/conf/{name}")
    try:
        # linux/Documentation/networking/ip-sysctl.rst: a source that is not reached by this
        # interface is not believed, and no ARP request is answered.
        (settings / "rp_filter").write_text("1")
        (settings / "arp_ignore").write_text("8")
    except OSError as error:
        raise Unavailable(f"{settings} cannot be written: {error.strerror}") from error
    # Segments that the kernel has joined would be longer than what the switch reads.
    value = array.array("I", [_ETHTOOL_SGRO, 0])
    address, _ = value.buffer_info()
    with (
        contextlib.suppress(OSError),  # an interface that never joins any
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control,
    ):
        fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP", name.encode(), address))


def _arguments(route: Route) -> dict[str, object]:
    destination = f"{route.destination}/{route.prefix_length}" if route.destination else "default"
    arguments: dict[str, object] = {
        "dst": destination,
        "table": route.table,
        "scope": route.scope,
    }
    if route.gateway:
        arguments["gateway"] = route.gateway
    if route.source:
        arguments["prefsrc"] = route.source
    if route.priority:
        arguments["priority"] = route.priority
    return arguments


@contextlib.contextmanager
def _netlink() -> Iterator[IPRoute]:
    from pyroute2 import IPRoute, NetlinkError  # here: it takes a third of an agent's imports

    try:
        with IPRoute() as netlink:
            yield netlink
    except (NetlinkError, OSError) as error:
        raise Unavailable(f"the kernel refuses a change of addresses: {error}") from error


@contextlib.contextmanager
def _ignoring(code: int) -> Iterator[None]:
    from pyroute2 import NetlinkError

    try:
        yield
    except NetlinkError as error:
        if error.code != code:
            raise


def _index(netlink: IPRoute, name: str) -> int:
    found: list[int] = netlink.link_lookup(ifname=name)
    if not found:
        raise Unavailable(f"there is no interface {name}")
    return found[0]
