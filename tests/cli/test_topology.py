# SPDX-License-Identifier: Apache-2.0
"""The cloud as a tree: hosts with tunnels and ports, networks with subnets and ports, or one of
them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isthmus.cli.topology import Cloud, by_hosts, by_networks, lines, named
from isthmus.errors import NotFound
from tests.cli.conftest import HOST, Cli

SUBNET = "/virtualNetworks/shop/subnets/front"


def host(name: str, address: str, speaks: str, **more: Any) -> dict[str, Any]:
    said = {"host": name, "providerAddresses": [address], "encapsulations": speaks.split(",")}
    return {**HOST, **said, **more}


def interface(name: str, address: str, on: str = "", status: str = "Success") -> dict[str, Any]:
    properties: dict[str, Any] = {
        "ipConfigurations": [
            {"properties": {"privateIPAddress": address, "subnet": {"resourceRef": SUBNET}}}
        ],
        "configurationState": {"status": status, "detailedInfo": [{"message": "no flows"}]},
    }
    if on:
        properties["server"] = {"resourceRef": f"/servers/{on}"}
    return {"resourceId": name, "properties": properties}


CLOUD = Cloud(
    hosts=[
        host("h1", "172.31.0.1", "vxlan,nvgre"),
        host("h2", "172.31.0.2", "nvgre", alive=False, ageSeconds=90),
    ],
    interfaces=[
        interface("web1", "10.0.0.4", "H1"),
        interface("web2", "10.0.0.5", "h2", "Failure"),
        interface("spare", "10.0.0.6"),
    ],
    networks=[
        {
            "resourceId": "shop",
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "subnets": [
                    {
                        "resourceId": "front",
                        "resourceRef": SUBNET,
                        "properties": {"addressPrefix": "10.0.0.0/24"},
                    }
                ],
            },
        }
    ],
)


def test_hosts_have_their_tunnels_and_ports_and_what_is_bad_is_marked() -> None:
    assert list(lines(list(by_hosts(CLOUD)))) == [
        ("h1  alive  172.31.0.1  speaks vxlan, nvgre", False),
        ("├─ tunnel to h2  172.31.0.2  by NVGRE  silent for 90 s", True),
        ("└─ web1  10.0.0.4  shop/front  Success", False),
        ("h2  silent for 90 s  172.31.0.2  speaks nvgre", True),
        ("├─ tunnel to h1  172.31.0.1  by NVGRE", False),
        ("└─ web2  10.0.0.5  shop/front  Failure: no flows", True),
        ("on no host", False),
        ("└─ spare  10.0.0.6  shop/front  Success", False),
    ]


def test_networks_have_their_subnets_and_these_their_ports() -> None:
    assert [text for text, _ in lines(list(by_networks(CLOUD)))] == [
        "shop  10.0.0.0/16",
        "└─ front  10.0.0.0/24",
        "   ├─ web1  10.0.0.4  h1  Success",
        "   ├─ web2  10.0.0.5  h2  Failure: no flows",
        "   └─ spare  10.0.0.6  on no host  Success",
    ]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("H1", "h1  alive"),
        ("front", "front  10.0.0.0/24"),
        ("web2", "web2  10.0.0.5"),
        ("/virtualNetworks/shop/subnets/front", "front  10.0.0.0/24"),
        ("/networkInterfaces/web2/", "web2  10.0.0.5"),
        ("10.0.0.5", "web2  10.0.0.5"),
    ],
)
def test_any_of_them_can_be_asked_for_by_name(name: str, first: str) -> None:
    trees = [*by_hosts(CLOUD), *by_networks(CLOUD)]
    assert named(trees, name)[0].text.startswith(first)
    with pytest.raises(NotFound, match="called nobody"):
        named(trees, "nobody")


def test_the_command_shows_it_as_text_and_as_json(cli: Cli) -> None:
    code, out, _ = cli.run("show")
    assert code == 0
    assert out.splitlines()[0].startswith("h1  alive")
    code, out, _ = cli.run("show", "h1", "--json")
    assert json.loads(out)[0]["name"] == "h1"
    assert cli.run("show", "nobody")[0] == 1
