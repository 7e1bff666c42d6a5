# SPDX-License-Identifier: Apache-2.0
"""From intent, as requests leave it in the store, to policy."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.derive.engine import Engine
from isthmus.derive.intent_units import ROUTER_MAC, Underlay, new_engine, put
from isthmus.errors import IsthmusError
from isthmus.intent.model import Stored
from isthmus.policy.rows import (
    DESIRED,
    Host,
    PhysicalNetwork,
    Port,
    Router,
    RouterPort,
    Row,
    Rule,
    Segment,
    Subnet,
)
from isthmus.wire.encapsulations import ENCAPSULATIONS, Encapsulation
from tests.intent.cloud import Cloud
from tests.texts import ports, routes

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


@pytest.fixture
def tenant() -> Cloud:
    cloud = Cloud()
    cloud.put("/logicalNetworks/Underlay", {"networkVirtualizationEnabled": "True"})
    cloud.put("/virtualNetworks/Shop", NETWORK)
    return cloud


def _interface(address: str, mac: str = "020000000001", **more: object) -> dict[str, object]:
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


def _derived(cloud: Cloud, underlay: Underlay | None = None) -> Engine:
    engine = new_engine(underlay or Underlay())
    for row in cloud.store.rows.values():
        put(engine, None, row)
    engine.settle()
    assert not engine.failures
    return engine


def _rows(engine: Engine) -> dict[tuple[type, object], Row]:
    return {(table, key): row for table in DESIRED for key, row in engine.rows(table).items()}


def test_a_virtual_subnet_is_a_segment_a_subnet_and_a_leg_of_the_network_s_router(
    tenant: Cloud,
) -> None:
    engine = _derived(tenant)
    vsid = next(iter(engine.rows(Segment).values())).vsid
    ref = "/virtualNetworks/Shop/subnets/Front"
    assert list(engine.rows(Segment).values()) == [
        Segment(id="shop/front", physical_network="underlay", vsid=vsid, mtu_bytes=1450, origin=ref)
    ]
    assert vsid >= 4096
    assert list(engine.rows(Subnet).values()) == [
        Subnet(
            segment="shop/front",
            prefix="10.0.1.0/24",
            gateway="10.0.1.1",
            dns=("10.0.0.53",),
            host_routes=routes("198.51.100.0/24 10.0.1.9"),
            origin=ref,
        )
    ]
    assert list(engine.rows(RouterPort).values()) == [
        RouterPort(router="shop", segment="shop/front", addresses=("10.0.1.1/24",), origin=ref)
    ]
    (router,) = engine.rows(Router).values()
    assert (router.id, router.mac, router.origin) == (
        "shop",
        ROUTER_MAC,
        "/virtualNetworks/Shop",
    )
    assert router.rdid >= 1
    (physical,) = engine.rows(PhysicalNetwork).values()
    assert physical.mtu_bytes == 1500


def test_the_mtu_leaves_room_for_the_largest_encapsulation_in_use(tenant: Cloud) -> None:
    for transports, mtu in (((Encapsulation.NVGRE,), 8958), (ENCAPSULATIONS, 8950)):
        (segment,) = _derived(tenant, Underlay(9000, transports)).rows(Segment).values()
        assert segment.mtu_bytes == mtu


def test_an_interface_is_a_port_with_the_etag_as_its_revision(tenant: Cloud) -> None:
    tenant.put("/networkInterfaces/Web", _interface("10.0.1.4"))
    row = tenant.row("/networkInterfaces/Web")
    assert list(_derived(tenant).rows(Port).values()) == [
        Port(
            id="web",
            segment="shop/front",
            mac="02:00:00:00:00:01",
            addresses=("10.0.1.4",),
            dhcp_address="10.0.1.4",
            profile_id=row.instance_id,
            revision=row.etag,
            origin="/networkInterfaces/Web",
        )
    ]


def test_dhcp_gives_the_primary_address_of_several(tenant: Cloud) -> None:
    body = _interface("10.0.1.9")
    second = _interface("10.0.1.4")["ipConfigurations"]
    assert isinstance(second, list)
    second[0]["resourceId"] = "d"
    second[0]["properties"]["isPrimary"] = True
    configs = body["ipConfigurations"]
    assert isinstance(configs, list)
    tenant.put("/networkInterfaces/Web", {**body, "ipConfigurations": configs + second})
    (port,) = _derived(tenant).rows(Port).values()
    assert port.addresses == ("10.0.1.4", "10.0.1.9")
    assert port.dhcp_address == "10.0.1.4"


def test_an_interface_without_an_address_in_a_virtual_subnet_is_no_port(tenant: Cloud) -> None:
    tenant.put("/networkInterfaces/Loose", {"privateMacAddress": "020000000009"})
    assert dict(_derived(tenant).rows(Port)) == {}


def test_a_server_is_a_host_named_in_lower_case(tenant: Cloud) -> None:
    tenant.put("/servers/H1", {})
    assert list(_derived(tenant).rows(Host).values()) == [
        Host(id="h1", certificate_name="h1", origin="/servers/H1")
    ]


def test_a_change_of_one_interface_runs_two_units_however_many_there_are(tenant: Cloud) -> None:
    calls = []
    for n_interfaces in (2, 40):
        for number in range(n_interfaces):
            tenant.put(
                f"/networkInterfaces/n{number}",
                _interface(f"10.0.1.{number + 10}", f"0200000001{number:02x}"),
            )
        engine = _derived(tenant)
        before, old = engine.calls, dict(tenant.store.rows)
        tenant.put("/networkInterfaces/n1", _interface("10.0.1.200", "020000000101"))
        for key, row in tenant.store.rows.items():
            if old.get(key) != row:
                put(engine, old.get(key), row)
        engine.settle()
        calls.append(engine.calls - before)
    assert calls[0] == calls[1] <= 2


SUBNETS = ("Front", "Front Back")
NICS = ("n", "n 1", "n 1 (b)", "Front", "{Shop}")

_requests = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.integers(0, 4),
            st.integers(2, 9),
            st.sampled_from(SUBNETS),
        ),
        st.tuples(st.just("delete"), st.integers(0, 4), st.just(0), st.just("")),
        st.tuples(st.just("network"), st.integers(0, 3), st.just(0), st.just("")),
    ),
    max_size=15,
)


@given(_requests)
@settings(max_examples=60, deadline=None)
def test_policy_changed_request_by_request_is_the_one_made_from_nothing(
    requests: list[tuple[str, int, int, str]],
) -> None:
    cloud = Cloud()
    engine = new_engine(Underlay())
    seen: dict[str, Stored] = {}
    cloud.put("/logicalNetworks/Underlay", {"networkVirtualizationEnabled": "True"})
    for verb, number, address, subnet in [("network", 3, 0, ""), *requests]:
        # refused requests change nothing; which ones are is not the point here
        with suppress(IsthmusError):
            _request(cloud, verb, number, address, subnet)
        for key in seen.keys() | cloud.store.rows.keys():
            old, new = seen.get(key), cloud.store.rows.get(key)
            if old != new:
                put(engine, old, new)
        engine.settle()
        seen = dict(cloud.store.rows)
    assert _rows(engine) == _rows(_derived(cloud))


def _request(cloud: Cloud, verb: str, number: int, address: int, subnet: str) -> None:
    if verb == "network":
        subnets = [
            {"resourceId": name, "properties": {"addressPrefix": prefix}}
            for bit, (name, prefix) in enumerate(
                zip(SUBNETS, ("10.0.1.0/24", "10.0.2.0/24"), strict=True)
            )
            if number & 1 << bit
        ]
        cloud.put("/virtualNetworks/Shop", {**NETWORK, "subnets": subnets})
    elif verb == "delete":
        cloud.delete(f"/networkInterfaces/{NICS[number]}")
    else:
        config = {
            "subnet": {"resourceRef": f"/virtualNetworks/Shop/subnets/{subnet}"},
            "privateIPAddress": f"10.0.{1 + SUBNETS.index(subnet)}.{address}",
            "privateIPAllocationMethod": "Static",
        }
        cloud.put(
            f"/networkInterfaces/{NICS[number]}",
            {
                "privateMacAddress": f"0200000000{number:02x}",
                "ipConfigurations": [{"resourceId": "c", "properties": config}],
            },
        )


def test_networks_that_are_peered_have_legs_in_each_other_s_routers(tenant: Cloud) -> None:
    def legs() -> set[tuple[str, str, str]]:
        found = _derived(tenant).rows(RouterPort).values()
        return {(leg.router, leg.segment, leg.kind) for leg in found if leg.kind == "peer"}

    def prefixes() -> list[tuple[str, ...]]:
        return [router.prefixes for router in _derived(tenant).rows(Router).values()]

    store = {
        "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
        "logicalNetwork": {"resourceRef": "/logicalNetworks/Underlay"},
        "subnets": [{"resourceId": "s", "properties": {"addressPrefix": "10.1.0.0/24"}}],
    }
    ours = "/virtualNetworks/Shop/virtualNetworkPeerings/p"
    theirs = "/virtualNetworks/Store/virtualNetworkPeerings/p"
    tenant.put("/virtualNetworks/Store", store)
    tenant.put(ours, {"remoteVirtualNetwork": {"resourceRef": "/VirtualNetworks/STORE"}})
    assert legs() == set()
    tenant.put(theirs, {"remoteVirtualNetwork": {"resourceRef": "/virtualNetworks/Shop"}})
    both = {("store", "shop/front", "peer"), ("shop", "store/s", "peer")}
    assert legs() == both
    assert prefixes() == [("10.0.0.0/16", "10.1.0.0/16")] * 2
    # Another network of the same name is not the one that Shop's owner has trusted.
    tenant.delete("/virtualNetworks/Store")
    tenant.put("/virtualNetworks/Store", store)
    tenant.put(theirs, {"remoteVirtualNetwork": {"resourceRef": "/virtualNetworks/Shop"}})
    assert legs() == set()
    assert sorted(prefixes()) == [("10.0.0.0/16",), ("10.1.0.0/16",)]
    tenant.delete(ours)
    tenant.put(ours, {"remoteVirtualNetwork": {"resourceRef": "/virtualNetworks/Store"}})
    assert legs() == both


@pytest.mark.parametrize("action", ["Allow", "Deny"])
@pytest.mark.parametrize(
    ("source", "destination", "derived"),
    [
        ("*", "*", ("", "")),
        ("0-65535", "1-65535", ("", "")),
        ("0-65535", "80", ("", "80-80")),
        ("1-65535", "80-90", ("", "80-90")),
        ("1024-65535", "*", ("1024-65535", "")),
        ("0", "*", ("0-0", "")),
    ],
)
def test_a_rule_of_all_protocols_keeps_its_ports_but_for_the_whole_range(
    action: str, source: str, destination: str, derived: tuple[str, str]
) -> None:
    cloud = Cloud()
    rule = {
        **{"type": "Inbound", "action": action, "protocol": "All", "priority": "101"},
        **{"sourceAddressPrefix": "*", "destinationAddressPrefix": "*"},
        **{"sourcePortRange": source, "destinationPortRange": destination},
    }
    cloud.put("/accessControlLists/a", {"aclRules": [{"resourceId": "r", "properties": rule}]})
    (row,) = _derived(cloud).rows(Rule).values()
    assert (row.protocol, row.action) == (-1, action.lower())
    assert (row.source_ports, row.destination_ports) == tuple(map(ports, derived))
