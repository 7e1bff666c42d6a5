# SPDX-License-Identifier: Apache-2.0
"""What a controller offers."""

from __future__ import annotations

from isthmus.intent.kinds import servers, virtual_networks
from isthmus.intent.registry import CAPABILITIES, KINDS, REGISTRY, ROOTS, Registry


def test_a_registry_has_its_roots_and_all_below_them() -> None:
    some = Registry((servers.KIND, virtual_networks.KIND))
    assert some.offered == ("servers", "virtualNetworks")
    assert list(some.kinds) == [
        "servers",
        "servers/networkInterfaces",
        "virtualNetworks",
        "virtualNetworks/subnets",
        "virtualNetworks/virtualNetworkPeerings",
    ]
    assert some.root_by_word == {"servers": servers.KIND, "virtualnetworks": virtual_networks.KIND}
    assert some.capabilities == ("subnetHostRoutes",)


def test_every_kind_is_in_the_registry_of_this_software_once() -> None:
    assert list(REGISTRY.offered) == sorted(REGISTRY.offered)
    assert len(KINDS) == len({kind.model for kind in KINDS.values()})
    assert (
        REGISTRY.roots,
        REGISTRY.kinds,
        REGISTRY.capabilities,
    ) == (ROOTS, KINDS, CAPABILITIES)
    for kind in KINDS.values():
        assert all(child.name.rpartition("/")[0] == kind.name for child in kind.children)
