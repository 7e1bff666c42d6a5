# SPDX-License-Identifier: Apache-2.0
"""``monitoring/networkControllerStatistics`` and ``internalResourceInstances`` (MS-NCNBI section
B.20)."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.api.turns import AT_ONCE
from isthmus.intent.model import JsonObject
from tests.api.conftest import BODY, NIC, Api
from tests.api.memory_north import SilentHosts

PATH = "/monitoring/networkControllerStatistics"


class Hosts(SilentHosts):
    """Say of each resource what a test has them say."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}

    def configuration_state(self, kind: str, instance_id: str) -> JsonObject | None:
        status = self.said.get(instance_id)
        return None if status is None else {"status": status, "id": instance_id}


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def watched(hosts: Hosts) -> Api:
    api = Api(hosts)
    api.furnish()
    return api


def health(api: Api, resource_type: str = "VirtualNetwork") -> dict[str, int]:
    """Counts by word, without those that are 0 and without the total."""
    listed = api.get(PATH)["properties"]["healthStatistics"]
    (found,) = [dict(one) for one in listed if one.pop("resourceType") == resource_type]
    total = found.pop("totalResourceCount")
    assert total == sum(found.values())
    return {name: count for name, count in found.items() if count}


def usage(api: Api, resource_type: str) -> tuple[int, int]:
    listed = api.get(PATH)["properties"]["usageStatistics"]
    (found,) = [one for one in listed if one["resourceType"] == resource_type]
    return found["totalResourceCount"], found["inUseResourceCount"]


def interface(subnet: str, *addresses: str | None) -> dict[str, Any]:
    reference = {"resourceRef": subnet}
    return {
        "ipConfigurations": [
            {"resourceId": f"c{n}", "properties": {"subnet": reference, "privateIPAddress": one}}
            for n, one in enumerate(addresses)
        ]
    }


def test_the_statistics_of_nothing_are_answered_exactly(api: Api) -> None:
    nothing = {
        "healthyResourceCount": 0,
        "errorResourceCount": 0,
        "warningResourceCount": 0,
        "healthUnknownCount": 0,
    }
    for path in (PATH, PATH.upper(), f"{PATH}/"):
        assert api.get(path) == {
            "resourceRef": PATH,
            "resourceId": "networkControllerStatistics",
            "instanceId": "00000000-0000-0000-0000-000000000000",
            "properties": {
                "provisioningState": "Succeeded",
                "healthStatistics": [
                    {"resourceType": name, "totalResourceCount": 0, **nothing}
                    for name in ("VirtualNetwork", "Gateway", "LoadBalancerMux")
                ],
                "usageStatistics": [
                    {"resourceType": name, "totalResourceCount": 0, "inUseResourceCount": 0}
                    for name in (
                        "PublicIPUtilization",
                        "BackendIPUtilization",
                        "MacPoolUtilization",
                    )
                ],
            },
        }


@pytest.mark.parametrize(
    ("version", "has"), [("v1", False), ("v2", True), ("v3.2", True), ("v4", False)]
)
def test_versions_two_and_three_have_counters(api: Api, version: str, has: bool) -> None:
    properties = api.get(PATH, version)["properties"]
    assert properties.get("counters") == ([] if has else None)


def test_they_are_read_only_and_alone(api: Api) -> None:
    for method in ("PUT", "DELETE", "POST"):
        reply = api.ask(method, f"/networking/v1{PATH}", {})
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
    for path in ("/monitoring", f"{PATH}/x", "/monitoring/x"):
        assert api.ask("GET", f"/networking/v1{path}").status_code == 404


def test_a_network_is_as_well_as_its_worst_interface(watched: Api, hosts: Hosts) -> None:
    assert health(watched) == {"healthUnknownCount": 1}
    guids = [watched.put(f"{NIC}{n}", BODY).json()["instanceId"] for n in range(3)]
    assert health(watched) == {"healthUnknownCount": 1}
    for status, found in (
        ("InProgress", "healthUnknownCount"),
        ("Success", "healthyResourceCount"),
        ("Warning", "warningResourceCount"),
        ("Failure", "errorResourceCount"),
    ):
        hosts.said = {guids[0]: "Success" if status != "InProgress" else status, guids[1]: status}
        assert health(watched) == {found: 1}
    hosts.said = {guids[2]: "Failure"}
    watched.ask("DELETE", f"/networking/v1{NIC}2")
    assert health(watched) == {"healthUnknownCount": 1}


def test_each_network_is_counted_by_its_own_interfaces(watched: Api, hosts: Hosts) -> None:
    other = watched.get("/virtualNetworks/v")
    other["resourceId"] = "w"
    del other["etag"]
    assert watched.ask("PUT", "/networking/v1/virtualNetworks/w", other).status_code == 201
    for network, status in (("v", "Failure"), ("w", "Success")):
        body = interface(f"/virtualNetworks/{network}/subnets/s", None)
        hosts.said[watched.put(f"/networkInterfaces/{network}", body).json()["instanceId"]] = status
    assert health(watched) == {"healthyResourceCount": 1, "errorResourceCount": 1}
    # what is said of a network itself counts too
    hosts.said[watched.get("/virtualNetworks/w")["instanceId"]] = "Warning"
    assert health(watched) == {"warningResourceCount": 1, "errorResourceCount": 1}
    assert health(watched, "Gateway") == health(watched, "LoadBalancerMux") == {}


def test_mac_addresses_in_use_are_counted(watched: Api) -> None:
    assert usage(watched, "MacPoolUtilization") == (65536, 0)
    watched.put("/networkInterfaces/dynamic", {})
    watched.put("/networkInterfaces/inside", {"privateMacAddress": "02000000FFFF"})
    watched.put("/networkInterfaces/outside", {"privateMacAddress": "060000000000"})
    assert usage(watched, "MacPoolUtilization") == (65536, 2)
    more = {"startMacAddress": "04-00-00-00-00-00", "endMacAddress": "04-00-00-00-00-09"}
    watched.put("/macPools/n", more)
    assert usage(watched, "MacPoolUtilization") == (65546, 2)


def test_what_pools_have_in_common_is_counted_once(watched: Api) -> None:
    watched.put("/networkInterfaces/first", {"privateMacAddress": "020000000000"})
    watched.put("/networkInterfaces/last", {"privateMacAddress": "02000000FFFF"})
    for name, first, last in (
        ("inside", "02-00-00-00-10-00", "02-00-00-00-20-00"),
        ("end", "02-00-00-00-FF-F0", "02-00-00-01-00-0F"),
        ("same", "02-00-00-00-00-00", "02-00-00-00-FF-FF"),
    ):
        watched.put(f"/macPools/{name}", {"startMacAddress": first, "endMacAddress": last})
    assert usage(watched, "MacPoolUtilization") == (65536 + 16, 2)


def test_addresses_that_interfaces_can_have_and_have_are_counted(watched: Api) -> None:
    # a /24 less its ends and the router's
    assert usage(watched, "BackendIPUtilization") == (253, 0)
    watched.put(NIC, interface("/virtualNetworks/v/subnets/s", None, "10.0.0.99"))
    assert usage(watched, "BackendIPUtilization") == (253, 2)
    pool = {"startIpAddress": "10.9.0.10", "endIpAddress": "10.9.0.19"}
    logical = {
        "subnets": [
            {
                "resourceId": "s",
                "properties": {
                    "addressPrefix": "10.9.0.0/24",
                    "ipPools": [{"resourceId": "p", "properties": pool}],
                },
            }
        ]
    }
    watched.put("/logicalNetworks/k", logical)
    watched.put("/networkInterfaces/inside", interface("/logicalNetworks/k/subnets/s", None))
    outside = interface("/logicalNetworks/k/subnets/s", "10.9.0.200")
    watched.put("/networkInterfaces/outside", outside)
    assert usage(watched, "BackendIPUtilization") == (263, 3)
    # of IPv6 there is no end
    six = {
        "addressSpace": {"addressPrefixes": ["fd00::/48"]},
        "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
        "subnets": [{"resourceId": "s", "properties": {"addressPrefix": "fd00::/64"}}],
    }
    assert watched.put("/virtualNetworks/six", six).status_code == 201
    watched.put("/networkInterfaces/six", interface("/virtualNetworks/six/subnets/s", None))
    assert usage(watched, "BackendIPUtilization") == (263, 3)


def test_every_resource_is_mapped_from_its_instance_id(furnished: Api) -> None:
    for k in range(AT_ONCE + 1):
        furnished.put(f"/securityTags/t{k:03d}", {})
    furnished.put(NIC, BODY)
    listed = furnished.get("/internalResourceInstances/")
    assert listed["nextLink"] == ""
    rows = furnished.north.view.rows.values()
    found = {one["instanceId"]: one["properties"]["resourceReference"] for one in listed["value"]}
    assert found == {row.instance_id: row.ref for row in rows}
    for one in (listed["value"][0], listed["value"][-1]):
        assert furnished.get(one["resourceRef"]) == one
    for method in ("PUT", "DELETE"):
        for path in ("", "/x"):
            reply = furnished.ask(method, f"/networking/v1/internalResourceInstances{path}", {})
            assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
