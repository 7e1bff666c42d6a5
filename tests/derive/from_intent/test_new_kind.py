# SPDX-License-Identifier: Apache-2.0
"""A resource kind with a derivation joins by one file: this one.

A service address is an address of a virtual network that one of its interfaces answers for. All
that makes it a resource, and all that the network does with it, is declared here; requests,
answers, documents and derivation follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import pytest

from isthmus.api.openapi import document
from isthmus.api.resources import routes_of
from isthmus.derive.engine import Engine, Item, Read, unit
from isthmus.derive.from_intent.family import Family, reader
from isthmus.derive.from_intent.interfaces import InterfaceFact
from isthmus.derive.from_intent.names import name_of
from isthmus.derive.from_intent.program import FAMILIES, new_engine, put, readers_of
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.errors import Invalid, NotFound
from isthmus.intent.address_values import IpAddress
from isthmus.intent.docs import markdown
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, Rules, decode, required
from isthmus.intent.kind import Computed, Kind
from isthmus.intent.model import Json, Stored, View
from isthmus.intent.paths import resolve
from isthmus.intent.planning import Put
from isthmus.intent.references import Reference, key_of
from isthmus.intent.refusals import NotOffered
from isthmus.intent.registry import ROOTS, Registry
from isthmus.intent.resource import Resource
from isthmus.intent.strict import check_strict
from isthmus.intent.versions import LATEST
from isthmus.policy.rows import DESIRED
from tests.derive.from_intent.tenants import NETWORK, interface
from tests.intent.cloud import Cloud


class ServiceAddress(Resource, frozen=True, kw_only=True):
    """An address that an interface answers for."""

    address: Annotated[str, IpAddress(), required("The address.")]
    interface: Annotated[
        str,
        Reference(("networkInterfaces",)),
        Field("Who answers.", Rules(required="NobodyAnswers", extension="serviceAddresses")),
    ]
    health: Annotated[None, NotOffered("health checks"), Field("Not offered.")] = None

    def settled(self, draft: Draft) -> ServiceAddress:
        if self.address.endswith(".0"):
            raise Invalid(f"{self.address} is a network.", target=draft.at("address"))
        return self


def _state(stored: Stored, view: View) -> Json:
    return "Answered" if view.get(key_of(decode(stored, ServiceAddress).interface)) else "Lost"


KIND = Kind(
    name="serviceAddresses",
    model=ServiceAddress,
    computed=(Computed("state", _state, {"type": "string"}, "Whether anybody answers."),),
)


class ServiceFact(NamedTuple):
    ref: str
    name: str
    address: str
    interface: str


class Answering(NamedTuple):
    """The row that is derived: which MAC address answers for an address."""

    address: str
    mac: str
    origin: str


def service_fact(stored: Stored) -> ServiceFact:
    service = decode(stored, ServiceAddress)
    return ServiceFact(
        ref=stored.ref,
        name=name_of(stored),
        address=service.address,
        interface=key_of(service.interface),
    )


def service_address(service: ServiceFact, read: Read) -> Iterator[Item]:
    answers = read.get(InterfaceFact, service.interface)
    if answers is not None:
        row = Answering(service.address, answers.mac, service.ref)
        yield Item(Answering, service.name, row)


FAMILY = Family(
    readers=(reader(KIND, ServiceFact, service_fact),),
    units=(unit(ServiceFact, service_address),),
    tables=(Answering,),
)

REGISTRY = Registry((*ROOTS, KIND))
WITH_SERVICES = (*FAMILIES, FAMILY)
VIP: dict[str, Json] = {
    "address": "10.0.1.99",
    "interface": {"resourceRef": "/networkInterfaces/Web"},
}


@pytest.fixture
def cloud() -> Cloud:
    cloud = Cloud(REGISTRY)
    cloud.put("/logicalNetworks/Underlay", {"networkVirtualizationEnabled": "True"})
    cloud.put("/virtualNetworks/Shop", NETWORK)
    cloud.put("/networkInterfaces/Web", interface("10.0.1.4"))
    return cloud


def test_requests_for_it_are_planned_and_answered_like_all_others(cloud: Cloud) -> None:
    shown = cloud.put("/SERVICEaddresses/Vip", VIP)
    assert cloud.row("/serviceAddresses/vip").ref == "/serviceAddresses/Vip"
    assert (shown["address"], shown["state"]) == ("10.0.1.99", "Answered")
    assert cloud.refused("/serviceAddresses/x", {**VIP, "address": "10.0.1.0"}).target == (
        "properties.address"
    )
    assert cloud.refused("/serviceAddresses/x", {"address": "10.0.1.9"}).code == "NobodyAnswers"
    assert cloud.delete_refused("/networkInterfaces/Web").code == "NicInUse"
    assert cloud.delete("/serviceAddresses/vip") == 200
    assert cloud.delete("/networkInterfaces/Web") == 200


def test_refusals_and_strict_requests_know_it(cloud: Cloud) -> None:
    refused = cloud.refused("/serviceAddresses/x", {**VIP, "health": {"resourceRef": "/probes/a"}})
    assert refused.code == "OperationNotSupported"
    assert "serviceAddresses" in refused.message
    with pytest.raises(NotFound, match="serviceAddresses"):
        resolve("/noSuch/x", registry=REGISTRY)
    with pytest.raises(Invalid, match="did you mean address"):
        body = {"properties": {**VIP, "adress": "10.0.1.9"}}
        check_strict([Put(path="/serviceAddresses/x", body=body)], LATEST, REGISTRY)


def test_documents_name_it_and_its_capability() -> None:
    assert "serviceAddresses" in REGISTRY.capabilities
    assert "## serviceAddresses\n" in markdown(REGISTRY)
    api = document("1", routes_of(KIND, REGISTRY), REGISTRY)
    paths, components = api["paths"], api["components"]
    assert isinstance(paths, dict)
    assert isinstance(components, dict)
    assert len([path for path in paths if "/serviceAddresses" in path]) == 2
    assert "ServiceAddress" in components["schemas"]


def _derived(cloud: Cloud) -> Engine:
    engine = new_engine(Underlay(), WITH_SERVICES)
    for row in cloud.store.rows.values():
        put(engine, None, row, readers_of(WITH_SERVICES))
    engine.settle()
    assert not engine.failures
    return engine


def test_it_is_derived_with_what_it_reads_of_other_kinds(cloud: Cloud) -> None:
    cloud.put("/serviceAddresses/Vip", VIP)
    engine = _derived(cloud)
    assert dict(engine.rows(Answering)) == {
        "vip": Answering("10.0.1.99", "02:00:00:00:00:01", "/serviceAddresses/Vip")
    }
    before = cloud.row("/networkInterfaces/Web")
    cloud.put("/networkInterfaces/Web", interface("10.0.1.4", "020000000002"))
    put(engine, before, cloud.row("/networkInterfaces/Web"), readers_of(WITH_SERVICES))
    engine.settle()
    assert engine.rows(Answering) == _derived(cloud).rows(Answering)
    assert [row.mac for row in _rows(engine)] == ["02:00:00:00:00:02"]
    put(engine, cloud.row("/serviceAddresses/Vip"), None, readers_of(WITH_SERVICES))
    engine.settle()
    assert not _rows(engine)


def _rows(engine: Engine) -> list[Answering]:
    return list(engine.rows(Answering).values())


def test_the_others_do_not_know_it(cloud: Cloud) -> None:
    with pytest.raises(NotFound):
        resolve("/serviceAddresses/vip")
    cloud.put("/serviceAddresses/Vip", VIP)
    engine = new_engine(Underlay())
    put(engine, None, cloud.row("/serviceAddresses/Vip"))
    engine.settle()
    assert not engine.failures
    assert not any(engine.rows(table) for table in DESIRED)
