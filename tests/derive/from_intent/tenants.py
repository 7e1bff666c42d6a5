# SPDX-License-Identifier: Apache-2.0
"""What the tests of derivation begin with: a tenant's network, and an engine over what is
stored."""

from __future__ import annotations

from isthmus.derive.engine import Engine
from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from tests.intent.cloud import Cloud

NETWORK = {
    "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
    "logicalNetwork": {"resourceRef": "/logicalNetworks/Underlay"},
    "dhcpOptions": {"dnsServers": ["10.0.0.53"]},
    "subnets": [
        {
            "resourceId": "Front",
            "properties": {
                "addressPrefix": "10.0.1.0/24",
                "routes": [{"destination": "198.51.100.0/24", "nextHop": "10.0.1.9"}],
            },
        }
    ],
}


def interface(address: str, mac: str = "020000000001", **more: object) -> dict[str, object]:
    config = {
        "subnet": {"resourceRef": "/virtualNetworks/Shop/subnets/Front"},
        "privateIPAddress": address,
        "privateIPAllocationMethod": "Static",
    }
    return {
        "privateMacAddress": mac,
        "privateMacAllocationMethod": "Static",
        "ipConfigurations": [{"resourceId": "c", "properties": config}],
        **more,
    }


def derived(cloud: Cloud, underlay: Underlay | None = None) -> Engine:
    engine = new_engine(underlay or Underlay())
    for row in cloud.store.rows.values():
        put(engine, None, row)
    engine.settle()
    assert not engine.failures
    return engine
