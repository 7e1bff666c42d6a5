# SPDX-License-Identifier: Apache-2.0
"""The network between the hosts: one namespace with one bridge, a cable to each host, and room for
strangers.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.addresses import Mac
from isthmus_lab import links, namespaces

_BRIDGE = "fabric"


@dataclass(frozen=True, slots=True)
class Underlay:
    """A switch that learns and forwards, without any source check: what an operator should not
    have.
    """

    namespace: str

    def create(self) -> None:
        namespaces.create(self.namespace)
        links.prepare(self.namespace)
        with links.links_of(self.namespace) as here:
            here.add_bridge(_BRIDGE)
            here.set_up(_BRIDGE)

    def attach(
        self, port: str, namespace: str, nic: str, *, mtu_bytes: int = 1500, mac: Mac | None = None
    ) -> None:
        """A cable from the bridge's `port` to `nic` in `namespace`. Capture on `port` to see all
        that passes.
        """
        with links.links_of(self.namespace) as here:
            here.add_veth(port, namespace, nic, mtu_bytes=mtu_bytes, mac=mac)
            here.set_master(port, _BRIDGE)


@dataclass(frozen=True, slots=True)
class Stranger:
    """A machine on the underlay that belongs to nobody: it can send whatever frames it likes."""

    namespace: str
    provider_address: str
    mac: Mac
    nic: str = "eth0"

    def create(self, underlay: Underlay, port: str) -> None:
        namespaces.create(self.namespace)
        links.prepare(self.namespace)
        underlay.attach(port, self.namespace, self.nic, mac=self.mac)
        with links.links_of(self.namespace) as here:
            here.add_address(self.nic, self.provider_address, 24)
