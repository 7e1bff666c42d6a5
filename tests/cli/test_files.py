# SPDX-License-Identifier: Apache-2.0
"""The order in which files of resources are applied."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import yaml

from isthmus.cli.files import requests

NETWORK = {"resourceRef": "/virtualNetworks/v"}
LIST = {"resourceRef": "/accessControlLists/a"}
SUBNET = {
    "resourceRef": "/VirtualNetworks/V/subnets/s",
    "properties": {"accessControlList": {"resourceRef": "/accesscontrollists/A"}},
}
INTERFACE = {
    "resourceRef": "/networkInterfaces/n",
    "properties": {
        "ipConfigurations": [
            {"properties": {"subnet": {"resourceRef": "/virtualNetworks/v/subnets/s"}}}
        ]
    },
}


def _order(folder: Path, *entries: object) -> list[str]:
    for number, entry in enumerate(entries):
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(entry))
    return [str(one["resourceRef"]).rpartition("/")[2] for one in requests([str(folder)])]


@pytest.mark.parametrize("entries", permutations([NETWORK, LIST, SUBNET, INTERFACE]))
def test_what_is_mentioned_comes_first(tmp_path: Path, entries: tuple[object, ...]) -> None:
    order = _order(tmp_path, *entries)
    assert sorted(order) == ["a", "n", "s", "v"]
    assert order.index("s") > max(order.index("v"), order.index("a"))
    assert order.index("n") > order.index("s")


def test_otherwise_as_written(tmp_path: Path) -> None:
    again = {**NETWORK, "tags": {"again": "1"}}
    assert _order(tmp_path, LIST, NETWORK, INTERFACE, again) == ["a", "v", "n", "v"]
    assert requests([str(tmp_path)])[3]["body"]["tags"] == {"again": "1"}


def test_a_circle_of_mentions_is_as_written(tmp_path: Path) -> None:
    def peering(name: str, other: str) -> object:
        properties = {"remoteVirtualNetwork": {"resourceRef": f"/virtualNetworks/{other}"}}
        return {
            "resourceRef": f"/virtualNetworks/{name}",
            "properties": {"virtualNetworkPeerings": [{"properties": properties}]},
        }

    assert sorted(_order(tmp_path, peering("v", "w"), peering("w", "v"))) == ["v", "w"]


def test_with_a_deletion_everything_is_as_written(tmp_path: Path) -> None:
    gone = {"resourceRef": "/virtualNetworks/v", "method": "DELETE"}
    assert _order(tmp_path, INTERFACE, gone, NETWORK) == ["n", "v", "v"]
