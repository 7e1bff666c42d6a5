# SPDX-License-Identifier: Apache-2.0
"""macPools: where dynamic MAC addresses come from (MS-NCNBI section B.9)."""

from __future__ import annotations

from tests.intent.cloud import Cloud


def test_a_mac_pool_is_a_fixed_range_of_unicast_addresses(cloud: Cloud) -> None:
    made = cloud.put(
        "/macPools/p", {"startMacAddress": "02:00:00:00:00:00", "endMacAddress": "0200.0000.00ff"}
    )
    assert made["startMacAddress"] == "02-00-00-00-00-00"
    assert made["usage"] == {"numberOfMacAddresses": 256, "numberofMacAddressesAllocated": 0}
    for first, last, code in (
        ("02-00-00-00-00-00", "02-00-00-00-01-FF", "InvalidMacAddressForMacPool"),
        ("02-00-00-00-00-10", "02-00-00-00-00-00", "InvalidMacAddressForMacPool"),
        ("01-00-00-00-00-00", "01-00-00-00-00-FF", "MacPoolContainsMulticastAddresses"),
        ("02-00-00-00-00-00", "04-00-00-00-00-00", "MacPoolContainsMulticastAddresses"),
        ("02-00-00-00-00-00", "zz", "InvalidMacAddressForMacPool"),
    ):
        body = {"startMacAddress": first, "endMacAddress": last}
        path = "/macPools/p" if last.endswith("01-FF") else "/macPools/new"
        assert cloud.refused(path, body).code == code


def test_a_used_mac_pool_cannot_go(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n")
    cloud.put("/networkInterfaces/n")
    assert cloud.delete_refused("/macPools/default").status == 409
    cloud.delete("/networkInterfaces/n")
    assert cloud.delete("/macPools/default") == 200


def test_the_pools_are_used_one_after_the_other() -> None:
    cloud = Cloud()
    for name, last in (("a", "02-00-00-00-00-00"), ("b", "04-00-00-00-00-00")):
        cloud.put(f"/macPools/{name}", {"startMacAddress": last, "endMacAddress": last})
    given = [cloud.put(f"/networkInterfaces/{n}")["privateMacAddress"] for n in range(2)]
    assert given == ["020000000000", "040000000000"]
    assert cloud.refused("/networkInterfaces/x").code == "PrivateMacAddressMissing"
    assert cloud.row("/networkInterfaces/1").requires == {"/macpools/b"}
