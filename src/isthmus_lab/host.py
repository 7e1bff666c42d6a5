# SPDX-License-Identifier: Apache-2.0
"""A hypervisor of the lab: a namespace with its own Open vSwitch and a provider address on the
underlay.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from isthmus_lab import links, namespaces
from isthmus_lab.state import HostSpec
from isthmus_lab.switch import UNDERLAY_NIC, Switch, finish
from isthmus_lab.underlay import Underlay


@dataclass(frozen=True, slots=True)
class Host:
    spec: HostSpec
    namespace: str
    switch: Switch

    @property
    def name(self) -> str:
        return self.spec.name

    def create(self, underlay: Underlay) -> None:
        """The namespace and its cable; nothing runs in it yet."""
        namespaces.create(self.namespace)
        links.prepare(self.namespace)
        underlay.attach(self.name, self.namespace, UNDERLAY_NIC, mtu_bytes=self.spec.mtu_bytes)

    def remove_link(self, name: str) -> None:
        with links.links_of(self.namespace) as here:
            here.delete(name)


def start_switches(hosts: Sequence[Host], underlay: IPv4Network) -> None:
    """Start the switches of all hosts, side by side, and connect them. Raises Unavailable."""
    switches = [host.switch for host in hosts]
    finish([(switch.start_database(), switch) for switch in switches])
    finish([(_start_configuration(host), host.switch) for host in hosts])
    finish([(switch.start_forwarding(), switch) for switch in switches])
    bridged = [host for host in hosts if not host.spec.plain]
    for host in hosts:
        if host.spec.plain:
            with links.links_of(host.namespace) as here:
                address = host.spec.provider_address
                here.add_address(UNDERLAY_NIC, address, underlay.prefixlen)
    for host in bridged:
        host.switch.set_provider_address(
            host.spec.provider_address, underlay.prefixlen, str(underlay)
        )
    for host in bridged:
        others = {peer.spec.provider_address: peer.spec.provider_mac for peer in bridged}
        del others[host.spec.provider_address]
        host.switch.set_neighbours(others)


def _start_configuration(host: Host) -> subprocess.Popen[bytes]:
    if host.spec.plain:
        return host.switch.start_unconfigured()
    return host.switch.start_configuration(host.spec.provider_mac)
