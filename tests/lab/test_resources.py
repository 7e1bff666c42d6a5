# SPDX-License-Identifier: Apache-2.0
"""What the lab and the demonstration put over REST is what the controller's intent takes."""

from __future__ import annotations

from isthmus.intent.planning import Put, plan_batch
from isthmus.intent.render import render
from isthmus_lab import resources
from isthmus_lab.demo.building import interfaces
from isthmus_lab.demo.cloud import ADDRESS_SPACE, DNS, HOSTS, PLACES, SUBNETS, TENANTS
from tests.intent.memory import CountingIds, MemoryStore


def test_the_demonstrations_resources_are_accepted_and_read_back() -> None:
    store = MemoryStore()
    wanted = resources.fabric("172.31.0.0/24", HOSTS)
    for tenant in TENANTS:
        body = resources.virtual_network(ADDRESS_SPACE, list(SUBNETS.items()), DNS)
        wanted.append((f"/virtualNetworks/{tenant}", body))
        wanted += interfaces(tenant)

    puts = [Put(path=reference, body=body) for reference, body in wanted]
    store.apply(plan_batch(store, CountingIds(), puts))

    macs = set()
    for tenant in TENANTS:
        for name, place in PLACES.items():
            row = store.get(f"/networkinterfaces/{tenant}-{name}")
            assert row is not None
            interface = render(row, store)
            assert resources.address_of(interface) == place.address
            assert resources.configuration_of(interface) == "not reported"
            macs.add(resources.mac_of(interface))
    assert len(macs) == 2 * len(PLACES)


def test_what_hosts_report_is_told_with_its_reason() -> None:
    detail = {
        "source": "VirtualSwitch",
        "code": "PortBlocked",
        "message": "no common encapsulation",
    }
    state = {"status": "Failure", "detailedInfo": [detail]}
    interface = {"properties": {"configurationState": state}}
    expected = "Failure PortBlocked: no common encapsulation"
    assert resources.configuration_of(interface) == expected
