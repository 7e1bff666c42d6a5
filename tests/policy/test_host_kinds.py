# SPDX-License-Identifier: Apache-2.0
"""An operator is told of a host in the words of its kind."""

from __future__ import annotations

from isthmus.policy.host_kinds import KINDS, OTHER, kind_of, plugging
from isthmus.policy.rows import Host


def test_the_kind_of_a_host_that_says_none_is_known() -> None:
    assert kind_of(Host(id="h1", certificate_name="h1").kind) is KINDS["ovs"]
    assert kind_of("newer") is OTHER
    assert kind_of(None) is OTHER


def test_how_a_port_is_plugged_is_said_for_each_kind_once() -> None:
    ovs = "an interface with external_ids:iface-id=web"
    assert plugging(["ovs"], ("web",), into=False) == ovs
    assert plugging((), ("web",), into=False) == ovs
    both = plugging(["x", "ovs", "y"], ("web", "id"), into=True)
    assert both == (
        "an interface with external_ids:iface-id=web or id into a host's integration bridge or"
        " an interface with the name web or id into a host's switch"
    )
