# SPDX-License-Identifier: Apache-2.0
"""Many requests as one change."""

from __future__ import annotations

import pytest

from isthmus.errors import IsthmusError
from isthmus.intent.model import Json, Outcome
from isthmus.intent.planning import Delete, Put, Request, plan_batch
from tests.intent.cloud import POOL, SUBNET, Cloud, child, interface, network, ref


def put(path: str, properties: Json = None) -> Put:
    return Put(path=path, body={"properties": properties})


def test_a_whole_cloud_comes_to_be_in_one_plan() -> None:
    cloud = Cloud()
    plan = plan_batch(
        cloud.store,
        cloud.ids,
        [
            put("/macPools/p", POOL),
            put("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": True}),
            put("/virtualNetworks/v", network("10.0.0.0/16")),
            put(SUBNET, {"addressPrefix": "10.0.1.0/24"}),
            put("/networkInterfaces/a", interface()),
            put("/networkInterfaces/b", interface()),
        ],
    )
    assert [outcome.status for outcome in plan.outcomes] == [201] * 6
    assert (plan.updates, plan.replaces, plan.deletes, plan.reads) == ((), (), (), {})
    cloud.store.apply(plan)
    assert len(plan.inserts) == len(cloud.store.rows) == 8
    addresses = [cloud.row(f"/networkInterfaces/{n}/ipConfigurations/ip").allocations for n in "ab"]
    assert not addresses[0] & addresses[1]


def test_later_requests_see_what_earlier_ones_did(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/old", interface(privateIPAddress="10.0.1.9"))
    plan = plan_batch(
        cloud.store,
        cloud.ids,
        [
            put(
                "/virtualNetworkManager/configuration",
                {"virtualSubnetIdRange": {"startId": 9000, "endId": 9009}},
            ),
            Delete(path="/networkInterfaces/old"),
            put("/networkInterfaces/new", interface(privateIPAddress="10.0.1.9")),
            put("/virtualNetworks/v/subnets/t", {"addressPrefix": "10.0.9.0/24"}),
            Delete(path="/virtualNetworks/v/subnets/t"),
            put("/virtualNetworks/v/subnets/u", {"addressPrefix": "10.0.9.0/24"}),
            Delete(path="/networkInterfaces/none"),
        ],
    )
    assert plan.outcomes[1:3] == (Outcome(200, ""), Outcome(201, "/networkinterfaces/new"))
    assert plan.outcomes[-1].status == 204
    cloud.store.apply(plan)
    made = cloud.get("/virtualNetworks/v/subnets/u")["properties"]
    assert isinstance(made, dict)
    assert made["virtualSubnetId"] in ("9000", "9001")
    assert "/virtualnetworks/v/subnets/t" not in cloud.store.rows


def test_what_is_deleted_and_made_again_is_replaced_with_a_new_identity(cloud: Cloud) -> None:
    before = cloud.row(SUBNET)
    plan = plan_batch(
        cloud.store,
        cloud.ids,
        [Delete(path=SUBNET), put(SUBNET, {"addressPrefix": "10.0.2.0/24"})],
    )
    assert [row.key for row in plan.replaces] == [before.key]
    assert plan.replaces[0].instance_id != before.instance_id
    assert plan.reads[before.key] == before.etag
    cloud.store.apply(plan)


def test_what_is_made_and_deleted_leaves_nothing(cloud: Cloud) -> None:
    plan = plan_batch(cloud.store, cloud.ids, [put("/servers/a"), Delete(path="/servers/a")])
    assert (plan.inserts, plan.updates, plan.deletes) == ((), (), ())


def test_a_network_and_its_interfaces_go_together(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n", interface())
    requests = [Delete(path="/networkInterfaces/n"), Delete(path="/virtualNetworks/v")]
    cloud.store.apply(plan_batch(cloud.store, cloud.ids, requests))
    assert not [key for key in cloud.store.rows if key.startswith(("/virtual", "/networkint"))]


def test_one_wrong_request_refuses_all_and_says_which(cloud: Cloud) -> None:
    requests = [
        put("/servers/a"),
        put("/networkInterfaces/n", interface("/virtualNetworks/x/subnets/y")),
    ]
    with pytest.raises(IsthmusError) as caught:
        plan_batch(cloud.store, cloud.ids, requests)
    assert caught.value.target == "[1].properties.ipConfigurations[0].properties.subnet"
    with pytest.raises(IsthmusError) as caught:
        plan_batch(
            cloud.store, cloud.ids, [put("/servers/a"), Delete(path=SUBNET), put("/nothing/b")]
        )
    assert caught.value.target == "[2]./nothing/b"


def test_addresses_given_in_a_batch_are_distinct_up_to_the_last(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/x", interface(privateIPAddress="10.0.1.6"))
    requests = [put("/networkInterfaces/fixed", interface(privateIPAddress="10.0.1.5"))]
    requests += [put(f"/networkInterfaces/n{n}", interface()) for n in range(251)]
    plan = plan_batch(cloud.store, cloud.ids, requests)
    cloud.store.apply(plan)
    held = cloud.store.held(f"ip {SUBNET.lower()}", 0, 2**32)
    assert held == 253
    assert cloud.refused("/networkInterfaces/one-more", interface()).code == "SubnetIsFull"
    # all of them are held, but one is given up by the same batch
    again: list[Request] = [
        Delete(path="/networkInterfaces/n7"),
        put("/networkInterfaces/one-more", interface()),
    ]
    cloud.store.apply(plan_batch(cloud.store, cloud.ids, again))
    assert cloud.store.held(f"ip {SUBNET.lower()}", 0, 2**32) == 253


def test_an_empty_batch_changes_nothing(cloud: Cloud) -> None:
    plan = plan_batch(cloud.store, cloud.ids, [])
    assert (plan.outcomes, plan.inserts) == ((), ())


def test_subnets_of_one_network_may_come_one_by_one(cloud: Cloud) -> None:
    requests = [
        put(f"/virtualNetworks/v/subnets/t{n}", {"addressPrefix": f"10.0.{n}.0/24"})
        for n in range(2, 9)
    ]
    plan = plan_batch(cloud.store, cloud.ids, requests)
    assert [row.key for row in plan.updates] == ["/virtualnetworks/v"]
    cloud.store.apply(plan)
    with pytest.raises(IsthmusError):
        wrong = [*requests, put("/virtualNetworks/v/subnets/z", {"addressPrefix": "10.0.4.0/25"})]
        plan_batch(cloud.store, cloud.ids, wrong)


def test_a_referred_resource_made_and_used_in_one_batch_is_in_use_in_it() -> None:
    cloud = Cloud()
    secret: Json = {"type": "X509Certificate", "value": "AB"}
    server: Json = {
        "connections": [
            {
                "managementAddresses": ["h"],
                "credential": ref("/credentials/c"),
                "credentialType": "X509Certificate",
            }
        ],
        "networkInterfaces": [child("p")],
    }
    requests: list[Request] = [
        put("/credentials/c", secret),
        put("/servers/h", server),
        Delete(path="/credentials/c"),
    ]
    with pytest.raises(IsthmusError) as caught:
        plan_batch(cloud.store, cloud.ids, requests)
    assert caught.value.code == "InUseCredentialCannotBeDeleted"
