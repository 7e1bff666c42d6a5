# SPDX-License-Identifier: Apache-2.0
"""In use is in use, however it is bound: what something else relies upon is not deleted, in
whatever way it is to be deleted.

The references are those of the declarations, so that a new one cannot come without its proof here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from isthmus.errors import IsthmusError
from isthmus.intent.fields import Part
from isthmus.intent.model import Json
from isthmus.intent.planning import Delete, Request, plan_batch, plan_delete
from isthmus.intent.references import Reference
from isthmus.intent.registry import KINDS
from isthmus.intent.specs import Nested, fields_of
from isthmus.intent.values import Many, ValueType
from tests.intent.cloud import POOL, SUBNET, Cloud, child, interface, network, ref

RULE: dict[str, Json] = {
    "type": "Inbound",
    "action": "Allow",
    "protocol": "All",
    "priority": "100",
    "sourceAddressPrefix": "*",
    "destinationAddressPrefix": "*",
    "sourcePortRange": "*",
    "destinationPortRange": "*",
}
CONNECTION: Json = {
    "managementAddresses": ["h"],
    "credential": ref("/credentials/c"),
    "credentialType": "X509Certificate",
}
LOGICAL = "/logicalNetworks/L/subnets/s"


class Use(NamedTuple):
    """A resource that relies on `used`: where it is, and its properties."""

    used: str
    path: str
    properties: dict[str, Json]


REFERENCES: dict[str, Use] = {
    "accessControlLists securityTags → securityTags": Use(
        "/securityTags/t", "/accessControlLists/b", {"securityTags": [ref("/securityTags/t")]}
    ),
    "accessControlLists/aclRules sourceSecurityTags → securityTags": Use(
        "/securityTags/t",
        "/accessControlLists/a/aclRules/r",
        {**RULE, "sourceAddressPrefix": None, "sourceSecurityTags": [ref("/securityTags/t")]},
    ),
    "accessControlLists/aclRules destinationSecurityTags → securityTags": Use(
        "/securityTags/t",
        "/accessControlLists/a/aclRules/r",
        {
            **RULE,
            "destinationAddressPrefix": None,
            "destinationSecurityTags": [ref("/securityTags/t")],
        },
    ),
    "securityTags accessControlList → accessControlLists": Use(
        "/accessControlLists/a",
        "/securityTags/t",
        {"accessControlList": ref("/accessControlLists/a")},
    ),
    "networkInterfaces securityTags → securityTags": Use(
        "/securityTags/t", "/networkInterfaces/n", {"securityTags": [ref("/securityTags/t")]}
    ),
    "networkInterfaces allowedServers → servers": Use(
        "/servers/h", "/networkInterfaces/n", {"allowedServers": [ref("/servers/h")]}
    ),
    "networkInterfaces/ipConfigurations subnet → virtualNetworks/subnets": Use(
        SUBNET, "/networkInterfaces/n", interface()
    ),
    "networkInterfaces/ipConfigurations subnet → logicalNetworks/subnets": Use(
        LOGICAL, "/networkInterfaces/n", interface(LOGICAL)
    ),
    "networkInterfaces/ipConfigurations accessControlList → accessControlLists": Use(
        "/accessControlLists/a",
        "/networkInterfaces/n",
        interface(accessControlList=ref("/accessControlLists/a")),
    ),
    "servers connections[].credential → credentials": Use(
        "/credentials/c", "/servers/g", {"connections": [CONNECTION]}
    ),
    "servers/networkInterfaces logicalSubnets → logicalNetworks/subnets": Use(
        LOGICAL, "/servers/g", {"networkInterfaces": [child("n", logicalSubnets=[ref(LOGICAL)])]}
    ),
    "virtualNetworks logicalNetwork → logicalNetworks": Use(
        "/logicalNetworks/L",
        "/virtualNetworks/w",
        {**network("10.0.0.0/16"), "logicalNetwork": ref("/logicalNetworks/L")},
    ),
    "virtualNetworks/subnets accessControlList → accessControlLists": Use(
        "/accessControlLists/a",
        SUBNET,
        {"addressPrefix": "10.0.1.0/24", "accessControlList": ref("/accessControlLists/a")},
    ),
    "virtualNetworks/subnets dualStackSubnet → virtualNetworks/subnets": Use(
        SUBNET,
        "/virtualNetworks/v/subnets/six",
        {"addressPrefix": "fd00::/64", "dualStackSubnet": ref(SUBNET)},
    ),
}
"""Every reference that the declarations have, as somebody makes it."""

OTHERWISE: dict[str, Use] = {
    "an address of a pool of MAC addresses": Use("/macPools/default", "/networkInterfaces/n", {}),
    "an address of a pool of addresses": Use(
        f"{LOGICAL}/ipPools/p", "/networkInterfaces/n", interface(LOGICAL)
    ),
    "a list that tags alone have": Use(
        "/accessControlLists/b", "/accessControlLists/b", {"securityTags": [ref("/securityTags/t")]}
    ),
}
"""What relies on something and does not name it."""

MAY_VANISH = {"virtualNetworks/virtualNetworkPeerings remoteVirtualNetwork → virtualNetworks"}
"""MS-NCNBI section C: a peering whose other side is deleted is Disconnected."""


def declared() -> Iterator[tuple[str, bool]]:
    """Every reference between kinds, and whether it holds what it names."""
    for kind in KINDS.values():
        for path, found in _references(kind.model, ""):
            for named in found.kinds:
                yield f"{kind.name} {path} → {named}", found.requires


def _references(model: type[Part], prefix: str) -> Iterator[tuple[str, Reference]]:
    for spec in fields_of(model):
        inner: ValueType = spec.type
        suffix = "."
        if isinstance(inner, Many):
            inner, suffix = inner.item, "[]."
        if isinstance(inner, Reference):
            yield f"{prefix}{spec.wire}", inner
        elif isinstance(inner, Nested):
            yield from _references(inner.model, f"{prefix}{spec.wire}{suffix}")


def ground() -> Cloud:
    cloud = Cloud()
    cloud.put("/macPools/default", POOL)
    cloud.put("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": True})
    pool = child("p", startIpAddress="10.9.0.10", endIpAddress="10.9.0.19")
    subnet = child("s", addressPrefix="10.9.0.0/24", ipPools=[pool])
    cloud.put("/logicalNetworks/L", {"networkVirtualizationEnabled": True, "subnets": [subnet]})
    prefixes = ("10.0.0.0/16", "fd00::/48")
    cloud.put("/virtualNetworks/v", network(*prefixes, subnets={"s": "10.0.1.0/24"}))
    for path in ("/accessControlLists/a", "/accessControlLists/b", "/securityTags/t", "/servers/h"):
        cloud.put(path)
    cloud.put("/credentials/c", {"type": "X509Certificate", "value": "AB"})
    return cloud


def test_every_reference_is_here() -> None:
    found = dict(declared())
    assert {name for name, holds in found.items() if not holds} == MAY_VANISH
    assert found.keys() - MAY_VANISH == REFERENCES.keys()


@pytest.mark.parametrize("name", [*REFERENCES, *OTHERWISE])
def test_what_is_in_use_is_not_deleted_in_any_way(name: str) -> None:
    use = {**REFERENCES, **OTHERWISE}[name]
    cloud = ground()
    cloud.put(use.path, use.properties)
    kind = KINDS[cloud.row(use.used).kind]
    error = cloud.delete_refused(use.used)
    assert (error.code, error.status) == (kind.in_use_code, 409)
    assert error.target == cloud.row(use.used).ref
    for requests in _ways(cloud, use.used):
        with pytest.raises(IsthmusError) as caught:
            plan_batch(cloud.store, cloud.ids, requests)
        assert caught.value.status == 409
    # and is once nothing relies on it any more
    for row in [cloud.row(use.path), cloud.row(use.used)]:
        if row.kind == "accessControlLists":
            cloud.put(row.ref)
    if use.path == SUBNET:
        cloud.put(SUBNET, {"addressPrefix": "10.0.1.0/24"})
    elif use.path != use.used:
        cloud.delete(use.path)
    assert cloud.delete(use.used) == 200


def _ways(cloud: Cloud, used: str) -> Iterator[Sequence[Request]]:
    yield (Delete(path=used),)
    parent = cloud.row(used).parent
    own = used.lower().split("/")[1:3]
    if parent is not None and not any(
        row.key.split("/")[1:3] == own and used.lower() in row.requires
        for row in cloud.store.rows.values()
    ):
        yield (Delete(path=parent),)


@pytest.mark.parametrize("used", [SUBNET, LOGICAL, f"{LOGICAL}/ipPools/p"])
def test_nor_by_a_put_of_its_parent_without_it(used: str) -> None:
    cloud = ground()
    cloud.put("/networkInterfaces/n", interface(used.partition("/ipPools")[0]))
    parent = cloud.row(used).parent
    assert parent is not None
    properties = cloud.get(parent)["properties"]
    assert isinstance(properties, dict)
    collection = used.split("/")[-2]
    error = cloud.refused(parent, {**properties, collection: []})
    assert (error.code, error.status) == (KINDS[cloud.row(used).kind].in_use_code, 409)


class Switches:
    """A port of the interface ``n`` on the switch of ``h``."""

    def __init__(self, cloud: Cloud) -> None:
        self._server = cloud.row("/servers/h").instance_id

    def located(self, kind: str, instance_id: str) -> Sequence[str]:
        here = kind == "servers" and instance_id == self._server
        return ["/networkInterfaces/n"] if here else ()


def test_a_server_with_ports_on_its_switch_is_in_use() -> None:
    cloud = ground()
    cloud.put("/networkInterfaces/n", interface())
    cloud.put("/servers/g")
    switches = Switches(cloud)
    for in_batch in (False, True):
        with pytest.raises(IsthmusError) as caught:
            if in_batch:
                going = [Delete(path="/servers/h")]
                plan_batch(cloud.store, cloud.ids, going, places=switches)
            else:
                plan_delete(cloud.store, cloud.ids, "/servers/H", places=switches)
        assert (caught.value.code, caught.value.status) == ("InUseServerCannotBeDeleted", 409)
        assert "/networkInterfaces/n" in caught.value.message
        assert "isthmus host remove h" in caught.value.message
    for free in ("/servers/g", "/networkInterfaces/n"):
        assert plan_delete(cloud.store, cloud.ids, free, places=switches).status == 200
