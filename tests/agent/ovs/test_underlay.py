# SPDX-License-Identifier: Apache-2.0
"""Where the provider address is, and what the agent does about it, for every state of a machine
between a fresh one and one that is as it must be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import msgspec
import pytest

from isthmus.agent.ovs.links import Address, Belongings, Link, Route, addresses, read
from isthmus.agent.ovs.underlay import (
    BRIDGE,
    Ground,
    Steps,
    carrier,
    is_well,
    kept_from,
    kept_text,
    problem,
    refusal,
    steps,
)

PROVIDER = "192.0.2.1"
OWN = Address(PROVIDER, 24)
SECOND = Address("192.0.2.77", 24)
ROUTE = Route("", 0, gateway="192.0.2.254")
MAC = "02:00:00:00:00:01"
HAS, NOTHING = Belongings((OWN, SECOND), (ROUTE,)), Belongings()


def link(name: str, belongings: Belongings = NOTHING, *, leased: bool = False) -> Link:
    return Link(name, MAC, belongings, leased)


def ground(
    *links: Link,
    may_take: str = "eth0",
    bridges: Mapping[str, str] | None = None,
    datapath_type: str = "netdev",
    kept: Belongings = NOTHING,
) -> Ground:
    types = {"br-int": datapath_type, **(bridges or {})}
    return Ground(PROVIDER, datapath_type, may_take, {one.name: one for one in links}, types, kept)


MADE = {BRIDGE: "netdev"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ground(link("eth0", HAS)), Steps(make_bridge=MAC)),
        # The switch has not made its interface yet.
        (ground(link("eth0", HAS), bridges=MADE), Steps()),
        (ground(link("eth0", HAS), link(BRIDGE), bridges=MADE), Steps(keep=HAS)),
        # It was ended in the middle of moving them, or made the interface anew.
        (ground(link("eth0"), link(BRIDGE), bridges=MADE, kept=HAS), Steps(give=HAS)),
        (ground(link("eth0"), link(BRIDGE, HAS), bridges=MADE, kept=HAS), Steps()),
        # An address that somebody has taken away since is not given again.
        (
            ground(link("eth0"), link(BRIDGE, Belongings((OWN,))), bridges=MADE, kept=HAS),
            Steps(),
        ),
        # What was kept of another provider address is no help.
        (
            ground(link("eth0"), link(BRIDGE), bridges=MADE, kept=Belongings((SECOND,))),
            Steps(),
        ),
        # A bridge of the operator's own has it.
        (ground(link("eth0"), link("br-phy", HAS), bridges={"br-phy": "netdev"}), Steps()),
        # The kernel's datapath needs nothing of it; and without leave nothing is done.
        (ground(link("eth0", HAS), datapath_type="system"), Steps()),
        (ground(link("eth0", HAS), may_take=""), Steps()),
        (ground(link("eth0", HAS, leased=True)), Steps()),
        (ground(link("eth1", HAS)), Steps()),
    ],
)
def test_one_step_follows_the_other_until_the_address_is_on_the_bridge(
    found: Ground, expected: Steps
) -> None:
    assert steps(found) == expected


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        (ground(link("eth0", HAS), may_take=""), "underlay-no-bridge", "eth0, which is no bridge"),
        (
            # A bridge of the kernel's datapath is none of this switch's.
            ground(link("br9", HAS), may_take="", bridges={"br9": "system"}),
            *("underlay-no-bridge", "br9, which is no bridge"),
        ),
        (ground(link("eth0"), may_take=""), "provider-address", "no interface of this host"),
        (ground(link("eth0"), datapath_type="system"), "provider-address", "no interface"),
        (ground(link("eth1", HAS)), "underlay-interface", "there is no interface eth0"),
        (ground(link("eth0", HAS, leased=True)), "underlay-interface", "DHCP"),
        (ground(link("eth0", HAS), bridges={"eth0": "netdev"}), "underlay-interface", "a bridge"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(found: Ground, code: str, words: str) -> None:
    said = problem(found)
    assert said is not None
    assert said.code == code
    assert words in said.finding
    assert said.repair


@pytest.mark.parametrize(
    "found",
    [
        ground(link("eth0", HAS), datapath_type="system", may_take=""),
        ground(link("br-phy", HAS), may_take="", bridges={"br-phy": "netdev"}),
        ground(link("eth0"), link(BRIDGE, HAS), bridges=MADE, kept=HAS),
    ],
)
def test_nothing_is_said_where_nothing_is_wrong(found: Ground) -> None:
    assert problem(found) is None
    assert refusal(found) is None


@pytest.mark.parametrize(
    ("addresses", "bridges", "may_take", "kind", "expected"),
    [
        ({"br-phy": [PROVIDER]}, {"br-phy": "netdev"}, "", "netdev", True),
        ({"br-phy": [PROVIDER], "eth0": ["10.0.0.1"]}, {"br-phy": "netdev"}, "", "netdev", True),
        ({"br-phy": [PROVIDER], "eth0": [PROVIDER]}, {"br-phy": "netdev"}, "", "netdev", False),
        ({BRIDGE: [PROVIDER]}, MADE, "eth0", "netdev", True),
        ({BRIDGE: [PROVIDER], "eth0": ["192.0.2.77"]}, MADE, "eth0", "netdev", False),
        ({"eth0": [PROVIDER]}, {}, "", "netdev", False),
        ({"eth0": [PROVIDER]}, {}, "", "system", True),
        ({"eth0": ["10.0.0.1"]}, {}, "", "system", False),
        ({}, {}, "", "netdev", False),
    ],
)
def test_addresses_alone_show_that_all_is_well(
    addresses: dict[str, list[str]],
    bridges: dict[str, str],
    may_take: str,
    kind: str,
    expected: bool,
) -> None:
    assert is_well(PROVIDER, kind, may_take, addresses, bridges) is expected


def test_the_kernel_s_two_lists_of_addresses_agree() -> None:
    listed = {
        name: sorted(one.address for one in link.belongings.addresses)
        for name, link in read().items()
        if link.belongings.addresses
    }
    assert {name: sorted(found) for name, found in addresses().items()} == listed


IN_A_NAMESPACE = r"""
import subprocess
name = b"tap\xe9"
subprocess.run([b"ip", b"link", b"add", name, b"type", b"veth"], check=True)
subprocess.run([b"ip", b"addr", b"add", b"192.0.2.9/24", b"dev", name], check=True)
from isthmus.agent.ovs.links import addresses, read
print(ascii(addresses()), ascii([n for n, link in read().items() if link.belongings.addresses]))
"""


@pytest.mark.system
def test_an_interface_whose_name_is_not_utf_8_is_read_like_the_others() -> None:
    command = ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.strip() == r"{'tap\\xe9': ['192.0.2.9']} ['tap\\xe9']"


def test_of_an_address_on_both_the_bridge_has_it() -> None:
    both = ground(link("eth0", HAS), link(BRIDGE, HAS), bridges=MADE)
    assert carrier(both) == BRIDGE


def test_what_is_kept_is_read_again_and_what_cannot_be_read_is_nothing() -> None:
    whole = Belongings(
        (OWN, SECOND),
        (msgspec.structs.replace(ROUTE, source=PROVIDER, priority=7, table=100, scope=253),),
    )
    assert kept_from(kept_text(whole)) == whole
    for text in ("", "{", "[]", '{"addresses": 7}'):
        assert kept_from(text) == NOTHING
