# SPDX-License-Identifier: Apache-2.0
"""What refusals say: what is there, what is not by its name, and a value as its sender wrote it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.api.conftest import Api

NEWEST = "/networking/V6.1"
PYTHON = re.compile(r"\b(True|False|None)\b|\{'|\['|\bdict\b|\bobject at 0x|<[a-z_.]+ ")
"""What only Python writes like that."""


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("diagnostics", "ConnectivityCheckResults"),
        ("diagnostics/", "ConnectivityCheckResults"),
        ("diagnostics/slbState", "ConnectivityCheckResults"),
        ("monitoring", "networkControllerStatistics"),
        ("monitoring/other", "networkControllerStatistics"),
        ("operations", "x-ms-request-id"),
        ("operationResults", "x-ms-request-id"),
        ("operations/a/b", "x-ms-request-id"),
        ("isthmus", "explain"),
    ],
)
def test_what_is_below_something_is_told_and_not_that_it_is_not_there(
    api: Api, path: str, told: str
) -> None:
    reply = api.ask("GET", f"{NEWEST}/{path}")
    assert reply.status_code == 404
    message = reply.json()["error"]["message"]
    assert told in message
    assert "no '" not in message


@pytest.mark.parametrize(
    ("ref", "properties", "name"),
    [
        ("virtualNetworks/v/subnets/s", {"encryptionEnabled": "True"}, "encryptionEnabled"),
        ("servers/h", {"auditingEnabled": "Firewall"}, "auditingEnabled"),
        ("loadBalancers/l", {}, "loadBalancers"),
        ("multisite/configuration", {}, "multisite"),
        ("publicIPAddresses/p", {}, "publicIPAddresses"),
    ],
)
def test_what_an_advertised_version_has_and_we_have_not_is_refused_by_name(
    furnished: Api, ref: str, properties: dict[str, Any], name: str
) -> None:
    if ref.startswith("virtualNetworks"):
        properties = {"addressPrefix": "10.0.0.0/24", **properties}
    reply = furnished.ask("PUT", f"{NEWEST}/{ref}", {"properties": properties})
    assert reply.status_code in (400, 404)
    error = reply.json()["error"]
    assert name in error["message"] + str(error.get("target"))


VALUES: list[Any] = [True, None, 1.5, [], {}, [None], [True], {"a": None}, {"a": [False]}, "x", -1]


@pytest.mark.parametrize("value", VALUES, ids=json.dumps)
def test_a_value_is_repeated_as_it_was_written(furnished: Api, value: Any) -> None:
    whole = furnished.ask("PUT", f"{NEWEST}/macPools/x", value)
    assert not PYTHON.search(whole.text), whole.text
    for ref, names in (
        ("macPools/x", ("startMacAddress", "endMacAddress")),
        ("virtualNetworks/x", ("addressSpace", "logicalNetwork", "subnets")),
        ("logicalNetworks/x", ("networkVirtualizationEnabled", "subnets")),
        ("accessControlLists/x", ("aclRules", "inboundDefaultAction", "securityTags")),
        ("networkInterfaces/x", ("ipConfigurations", "privateMacAddress", "portSettings")),
        ("servers/x", ("connections", "networkInterfaces")),
        ("credentials/x", ("type", "userName", "value")),
        ("securityTags/x", ("type",)),
    ):
        for name in names:
            reply = furnished.ask("PUT", f"{NEWEST}/{ref}", {"properties": {name: value}})
            assert reply.status_code < 500
            if reply.status_code >= 400:
                assert not PYTHON.search(reply.text), reply.text
    check = furnished.ask(
        "PUT", f"{NEWEST}/diagnostics/ConnectivityCheck", {"properties": {"protocol": value}}
    )
    assert not PYTHON.search(check.text), check.text
    batch = furnished.ask("POST", f"{NEWEST}/batch", {"requests": [value]})
    assert not PYTHON.search(batch.text), batch.text
