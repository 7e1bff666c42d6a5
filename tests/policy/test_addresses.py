# SPDX-License-Identifier: Apache-2.0
"""Which address of a port leads, whose rules hold for an address, and what its pairs allow."""

from __future__ import annotations

import msgspec
import pytest

from isthmus.policy.addresses import allows, family_of, leading, of_family, ruled_as
from isthmus.policy.rows import Port
from tests.switches.policy_rows import port
from tests.texts import pairs

MAC, OTHER = "02:00:00:00:00:aa", "02:00:00:00:00:bb"
WEB: Port = msgspec.structs.replace(
    port("red", "a", 4),
    addresses=("10.0.1.3", "10.0.1.4", "fd00::2", "fd00::4"),
    dhcp_address="10.0.1.4",
    pairs=pairs(f"10.0.1.96/28 {MAC}", f"fd00::100/128 {MAC}", f"10.0.1.99/32 {OTHER}"),
)
FOUR = msgspec.structs.replace(WEB, addresses=("10.0.1.3",), dhcp_address="")


def test_the_address_that_dhcp_gives_leads_and_else_the_first() -> None:
    assert of_family(WEB, 4) == ("10.0.1.4", "10.0.1.3")
    assert of_family(WEB, 6) == ("fd00::2", "fd00::4")
    assert (leading(WEB, 4), leading(WEB, 6)) == ("10.0.1.4", "fd00::2")
    assert (leading(FOUR, 4), leading(FOUR, 6)) == ("10.0.1.3", "")


def test_what_is_no_address_of_the_port_is_under_the_rules_of_the_one_that_leads() -> None:
    assert ruled_as(WEB, "10.0.1.3") == "10.0.1.3"
    assert ruled_as(WEB, "10.0.1.97") == "10.0.1.4"
    assert ruled_as(WEB, "fd00::99") == "fd00::2"
    assert ruled_as(FOUR, "fd00::99") == ""
    assert (family_of("10.0.1.3"), family_of("fd00::99")) == (4, 6)


@pytest.mark.parametrize(
    ("address", "mac", "is_allowed"),
    [
        ("10.0.1.96", MAC, True),
        ("10.0.1.111", MAC, True),
        ("10.0.1.112", MAC, False),
        ("10.0.1.98", OTHER, False),
        ("10.0.1.99", OTHER, True),
        ("fd00::100", MAC, True),
        ("fd00::101", MAC, False),
        ("10.0.1.4", MAC, False),
    ],
)
def test_a_pair_allows_its_addresses_with_its_mac_address_alone(
    address: str, mac: str, is_allowed: bool
) -> None:
    assert allows(WEB, address, mac) is is_allowed
