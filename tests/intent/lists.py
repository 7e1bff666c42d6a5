# SPDX-License-Identifier: Apache-2.0
"""An access control list with rules, as tests write, read and see it refused."""

from __future__ import annotations

import pytest

from isthmus.errors import IsthmusError
from isthmus.intent.model import Json
from isthmus.intent.versions import VERSIONS, Version
from tests.intent.cloud import Answer, Cloud, child

LIST = "/accessControlLists/a"
RULE = f"{LIST}/aclRules/r"
AT_RULE = "properties.aclRules[0].properties"

WRITTEN: dict[str, Json] = {
    "type": "Inbound",
    "action": "Allow",
    "protocol": "TCP",
    "priority": "100",
    "sourceAddressPrefix": "*",
    "destinationAddressPrefix": "10.0.1.0/24",
    "sourcePortRange": "0-65535",
    "destinationPortRange": "80",
}


def rule(**changed: Json) -> dict[str, Json]:
    """Properties of a rule; None takes one away."""
    return {name: v for name, v in {**WRITTEN, **changed}.items() if v is not None}


def rules(*properties: dict[str, Json]) -> dict[str, Json]:
    """Properties of a list with rules."""
    return {"aclRules": [child(f"r{n}", **each) for n, each in enumerate(properties)]}


def no_ports(protocol: str, **changed: Json) -> dict[str, Json]:
    return rule(protocol=protocol, sourcePortRange="*", destinationPortRange="*", **changed)


def properties(cloud: Cloud, path: str, version: Version = VERSIONS[-1]) -> Answer:
    found = cloud.get(path, version)["properties"]
    assert isinstance(found, dict)
    return found


def refused_rule(cloud: Cloud, **changed: Json) -> IsthmusError:
    return cloud.refused(LIST, rules(rule(**changed)))


def refused_at(cloud: Cloud, version: Version, path: str, written: Json) -> IsthmusError:
    """The error of a PUT by a client of an older version."""
    with pytest.raises(IsthmusError) as caught:
        cloud.put(path, written, version=version)
    return caught.value
