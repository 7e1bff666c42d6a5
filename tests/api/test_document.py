# SPDX-License-Identifier: Apache-2.0
"""The server against its own OpenAPI document: requests are made from the document, right ones and
wrong ones, sent over HTTP, and every answer is held to it. What was stored is read and put back."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode, Response
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from isthmus.api.contract import ROUTES
from isthmus.api.openapi import document
from isthmus.intent.model import Json
from tests.api.conftest import BODY, Api
from tests.api.serving import serving

AnyCase = Case[Any]

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

RULE = {
    "type": "Inbound",
    "action": "Allow",
    "protocol": "TCP",
    "priority": "100",
    "sourceSecurityTags": [{"resourceRef": "/securityTags/t"}],
    "destinationAddressPrefix": "*",
    "sourcePortRange": "*",
    "destinationPortRange": "80",
}
POOL = {"startIpAddress": "192.168.0.5", "endIpAddress": "192.168.0.9"}
LOGICAL_SUBNET = {
    "addressPrefix": "192.168.0.0/24",
    "ipPools": [{"resourceId": "p", "properties": POOL}],
    "routes": [
        {
            "resourceId": "o",
            "properties": {"destination": "10.0.0.0/8", "nextHop": "192.168.0.9"},
        }
    ],
}
FURNITURE: dict[str, Json] = {
    "/securityTags/t": {},
    "/credentials/k": {"type": "X509Certificate", "value": "AB"},
    "/accessControlLists/a": {"aclRules": [{"resourceId": "r", "properties": RULE}]},
    "/networkInterfaces/n": {**BODY, "securityTags": [{"resourceRef": "/securityTags/t"}]},
    "/servers/h": {"networkInterfaces": [{"resourceId": "n"}]},
    "/virtualNetworks/z": {
        "addressSpace": {"addressPrefixes": ["10.200.0.0/16"]},
        "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
    },
    "/virtualNetworks/z/virtualNetworkPeerings/q": {
        "remoteVirtualNetwork": {"resourceRef": "/virtualNetworks/v"}
    },
    "/logicalNetworks/l": {"subnets": [{"resourceId": "s", "properties": LOGICAL_SUBNET}]},
}
"""What there is beside what `Api.furnish` makes."""

KNOWN: dict[str, tuple[str | int, ...]] = {
    "accessControlListId": ("a",),
    "aclRuleId": ("r",),
    "credentialId": ("k",),
    "ipConfigurationId": ("c",),
    "ipPoolId": ("p",),
    "logicalNetworkId": ("l", "u"),
    "macPoolId": ("m",),
    "networkInterfaceId": ("n",),
    "number": (7,),
    "routeId": ("o",),
    "securityTagId": ("t",),
    "serverId": ("h",),
    "subnetId": ("s",),
    "version": ("v1", "V7.1"),
    "virtualNetworkId": ("v", "w", "z"),
    "virtualNetworkPeeringId": ("q",),
}
"""Path parameters that lead to what there is, and to a network that can be made."""

REFERENCES = (
    "/logicalNetworks/u",  # what every virtual network needs: the first one is tried most often
    "/accessControlLists/a",
    "/credentials/k",
    "/logicalNetworks/l/subnets/s",
    "/securityTags/t",
    "/virtualNetworks/v/subnets/s",
    "/virtualNetworks/none",
    "/virtualNetworks/z",
)
ADDRESSES = ("192.168.0.6", "192.168.0.7", "192.168.0.200", "10.0.0.4", "10.0.0.77", "224.0.0.1")
PREFIXES = ("10.0.0.0/24", "10.0.8.0/21", "10.0.0.0/16", "fd00::/48", "fd00::/64")

schemathesis.openapi.format("resource-reference", st.sampled_from(REFERENCES))
schemathesis.openapi.format("ipv4", st.sampled_from(ADDRESSES))
schemathesis.openapi.format("cidr", st.sampled_from(PREFIXES))

SCHEMA = schemathesis.openapi.from_dict(document("1", ROUTES))
OPERATIONS: dict[str, APIOperation[Any, Any, Any, Any]] = {
    found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)
}


class Served:
    """A furnished server that other requests reach over HTTP; each finds it as it was at first, so
    that what fails once fails again."""

    def __init__(self) -> None:
        self.url = ""
        self.session = requests.Session()
        self._api = Api()
        self._api.furnish()
        for ref, properties in FURNITURE.items():
            reply = self._api.ask("PUT", f"/networking/v7.1{ref}", {"properties": properties})
            assert reply.status_code == 201, reply.text
        self.app = self._api.app
        self._furnished = self._api.north.view

    def reset(self) -> None:
        self._api.north.view = copy.deepcopy(self._furnished)

    def ask(self, case: AnyCase) -> Response:
        response = case.call(base_url=self.url, session=self.session)
        case.validate_response(response, checks=CHECKS)
        return response


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    made = Served()
    with serving(made.app, "127.0.0.1:0") as url, made.session:
        made.url = url
        yield made


def _led_to_what_there_is(case: AnyCase, draw: st.DataObject) -> None:
    for name in case.path_parameters:
        if name in KNOWN:
            case.path_parameters[name] = draw.draw(st.sampled_from(KNOWN[name]), name)
    # a body that says who it is says the same as the path
    if isinstance(case.body, dict):
        for name in ("resourceId", "etag"):
            case.body.pop(name, None)
    for name in ("If-Match", "If-None-Match"):
        case.headers.pop(name, None)


def _check_read_and_put_back(served: Served, case: AnyCase) -> None:
    read = OPERATIONS.get(case.operation.label.replace("PUT", "GET"))
    if read is None:  # it is an action, and stores nothing
        return
    parameters = dict(case.path_parameters)
    found = served.ask(read.Case(path_parameters=parameters))
    assert found.status_code == 200
    again = case.operation.Case(
        path_parameters=parameters, body=found.json(), media_type="application/json"
    )
    assert served.ask(again).status_code == 200


def _drive(served: Served, label: str, examples: int) -> None:
    operation = OPERATIONS[label]
    right, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @given(case=right | right | wrong, known=st.sampled_from((True, True, False)), data=st.data())
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(case: AnyCase, known: bool, data: st.DataObject) -> None:
        served.reset()
        if known:
            _led_to_what_there_is(case, data)
        stored = served.ask(case).status_code in (200, 201)
        if stored and operation.method.upper() == "PUT":
            _check_read_and_put_back(served, case)

    check()


def _short(label: str) -> str:
    return label.replace("/networking/{version}", "")


def test_every_path_of_the_document_can_lead_to_what_there_is() -> None:
    found = {name for label in OPERATIONS for name in re.findall(r"{(\w+)}", label)}
    assert found - KNOWN.keys() == {"id"}
    assert all(isinstance(one, Ok) for one in SCHEMA.get_all_operations())


@pytest.mark.parametrize("label", sorted(OPERATIONS), ids=_short)
def test_every_answer_is_as_the_document_says(served: Served, label: str) -> None:
    _drive(served, label, 6 if label.startswith("P") else 3)


@pytest.mark.long
@pytest.mark.parametrize("label", sorted(OPERATIONS), ids=_short)
def test_every_answer_of_many_is_as_the_document_says(served: Served, label: str) -> None:
    _drive(served, label, 300 if label.startswith("P") else 50)
