# SPDX-License-Identifier: Apache-2.0
"""The address space of a stored virtual network."""

from __future__ import annotations

from isthmus.intent.kinds.address_spaces import prefixes_of
from tests.intent.cloud import Cloud, network


def test_the_prefixes_of_a_network_are_read_whatever_else_it_has(cloud: Cloud) -> None:
    body = {**network("10.0.0.0/8", "fd00::/48"), "dhcpOptions": {"dnsServers": ["10.0.0.9"]}}
    cloud.put("/virtualNetworks/w", body)
    assert prefixes_of(cloud.row("/virtualNetworks/w")) == ("10.0.0.0/8", "fd00::/48")
