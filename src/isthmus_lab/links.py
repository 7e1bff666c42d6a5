# SPDX-License-Identifier: Apache-2.0
"""The links of a namespace by netlink: veth pairs, bridges, addresses, and checksum offload by
ioctl.

Whoever makes a veth pair here gets it between two namespaces at once: nothing ever shows in the
machine's own.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2 import IPRoute

from isthmus.addresses import Mac, mac_text
from isthmus_lab.namespaces import NETNS_DIRECTORY, entered, set_sysctl

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
"""linux/ethtool.h. Without checksums the kernel takes scatter-gather and segmentation offload away
as well.
"""


class Links:
    """The links of one namespace. Open it with `links_of`."""

    def __init__(self, namespace: str, route: IPRoute) -> None:
        self._namespace = namespace
        self._route = route

    def index(self, name: str) -> int | None:
        found: list[int] = self._route.link_lookup(ifname=name)
        return found[0] if found else None

    def add_bridge(self, name: str, mac: Mac | None = None) -> None:
        """A Linux bridge that forwards at once: no spanning tree, no delay, no multicast
        snooping.
        """
        self._route.link(
            "add",
            ifname=name,
            kind="bridge",
            br_stp_state=0,
            br_forward_delay=0,
            br_mcast_snooping=0,
        )
        if mac is not None:
            self._route.link("set", index=self._known(name), address=mac_text(mac))

    def add_veth(
        self,
        name: str,
        peer_namespace: str,
        peer: str,
        *,
        mtu_bytes: int = 1500,
        mac: Mac | None = None,
    ) -> None:
        """A veth pair: `name` here, `peer` (with `mac`) there, offload off at both ends, both
        up.
        """
        descriptor = os.open(NETNS_DIRECTORY / peer_namespace, os.O_RDONLY | os.O_CLOEXEC)
        other: dict[str, object] = {"ifname": peer, "net_ns_fd": descriptor, "mtu": mtu_bytes}
        if mac is not None:
            other["address"] = mac_text(mac)
        try:
            self._route.link("add", ifname=name, kind="veth", mtu=mtu_bytes, peer=other)
        finally:
            os.close(descriptor)
        disable_offload(self._namespace, name)
        disable_offload(peer_namespace, peer)
        self.set_up(name)
        with links_of(peer_namespace) as there:
            there.set_up(peer)

    def set_up(self, name: str) -> None:
        self._route.link("set", index=self._known(name), state="up")

    def set_master(self, name: str, bridge: str | None) -> None:
        """Make `name` a member of `bridge`, or of none."""
        master = 0 if bridge is None else self._known(bridge)
        self._route.link("set", index=self._known(name), master=master)

    def add_address(self, name: str, address: str, prefix_length: int) -> None:
        self._route.addr(
            "replace", index=self._known(name), address=address, prefixlen=prefix_length
        )

    def set_mtu(self, name: str, mtu_bytes: int) -> None:
        self._route.link("set", index=self._known(name), mtu=mtu_bytes)

    def addresses(self, name: str) -> list[str]:
        """IPv4 addresses of `name`."""
        entries = self._route.get_addr(index=self._known(name), family=socket.AF_INET)
        return [str(entry.get("address")) for entry in entries]

    def delete(self, name: str) -> None:
        """Remove the link; a veth takes its peer along. Absent is success."""
        index = self.index(name)
        if index is not None:
            self._route.link("del", index=index)

    def _known(self, name: str) -> int:
        index = self.index(name)
        if index is None:
            raise LookupError(f"no link {name} in namespace {self._namespace}")
        return index


@contextmanager
def links_of(namespace: str) -> Iterator[Links]:
    with entered(namespace):
        route = IPRoute()
    with route:
        yield Links(namespace, route)


def prepare(namespace: str) -> None:
    """What every namespace of the lab begins with: loopback up, no IPv6.

    Router solicitations and neighbour discovery of a link would put packets among the ones that
    are looked for.
    """
    set_sysctl(namespace, "ipv6/conf/all/disable_ipv6", "1")
    set_sysctl(namespace, "ipv6/conf/default/disable_ipv6", "1")
    with links_of(namespace) as links:
        links.set_up("lo")


def disable_offload(namespace: str, interface: str) -> None:
    """Have checksums computed before a frame leaves `interface`.

    A userspace switch passes frames on as it finds them; what the kernel left for hardware to fill
    in stays empty, and TCP and UDP die while ICMP works.
    """
    value = array.array("I", [_ETHTOOL_STXCSUM, 0])
    address, _ = value.buffer_info()
    with entered(namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP", interface.encode(), address))
