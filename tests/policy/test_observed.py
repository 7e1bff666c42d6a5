# SPDX-License-Identifier: Apache-2.0
"""What is believed of what hosts say: nothing that others could not compute with."""

from __future__ import annotations

import calendar
from functools import partial
from ipaddress import IPv4Address, IPv6Address

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.addresses import ipv4_number
from isthmus.policy.observed import LAST_S, LAST_US, MOST_COUNT, believable
from isthmus.policy.rows import (
    OBSERVED,
    Claim,
    Heartbeat,
    HostStatus,
    LearnedAddress,
    PortStatus,
    Row,
)
from isthmus.policy.values import Preference
from isthmus.wire.encapsulations import Encapsulation
from tests.switches.policy_rows import claim, port
from tests.texts import as_stored

SEGMENT = port("red", "a", 4).segment

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *("", " ", ",", "/", "\0", "\n", "\x1b[2J", "\u202egnp", "💯", "nan", "-1", "null"),
            *("x" * 3_000, "{}", "'; drop table", "%s%n", "../../etc/passwd"),
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from([-1, 0, 1, 1 << 31, 1 << 53, (1 << 63) - 1, -(1 << 63), 1_831_300_000_000]),
)
ADDRESSES = st.one_of(
    TEXTS,
    st.sampled_from(
        [
            *(
                "10.0.0.999",
                "1.2.3",
                "1.2.3.4.5",
                "::",
                "fe80::1%eth0",
                "::ffff:1.2.3.4",
                "0.0.0.0",
            ),
            *("224.0.0.1", "255.255.255.255", "192.0.2.1", "192.0.2.2", "010.0.0.1", "١.٢.٣.٤"),
        ]
    ),
)
NAMES = st.one_of(st.sampled_from(["red-a-4", "red-a-5", "h1", "h2", "h3"]), TEXTS)
SETS = st.lists(ADDRESSES, max_size=4).map(lambda found: tuple(sorted(set(found))))

ROWS: st.SearchStrategy[Row] = st.one_of(
    st.builds(
        partial(as_stored, HostStatus),
        host=NAMES,
        provider_addresses=SETS,
        encapsulations=st.one_of(TEXTS, st.sampled_from(["vxlan", ",vxlan,,nvgre", "vxlan,vxlan"])),
        version=TEXTS,
        switch_version=TEXTS,
        capabilities=SETS,
        instance=TEXTS,
    ),
    st.builds(
        partial(as_stored, Heartbeat),
        host=NAMES,
        at_s=NUMBERS,
        probe=NUMBERS,
        ports=NUMBERS,
        flows=NUMBERS,
        problems=SETS,
    ),
    st.builds(
        partial(as_stored, Claim),
        port=NAMES,
        host=NAMES,
        segment=st.one_of(st.just(SEGMENT), TEXTS),
        provider_address=ADDRESSES,
        state=st.one_of(st.sampled_from(["active", "standby"]), TEXTS),
        sequence=NUMBERS,
    ),
    st.builds(
        partial(as_stored, PortStatus),
        port=NAMES,
        host=NAMES,
        segment=st.one_of(st.just(SEGMENT), TEXTS),
        revision=TEXTS,
        state=st.one_of(st.sampled_from(["up", "error", "standby"]), TEXTS),
        code=TEXTS,
        detail=TEXTS,
        closed=SETS,
        changed_us=NUMBERS,
    ),
    st.builds(
        partial(as_stored, LearnedAddress),
        address=ADDRESSES,
        port=NAMES,
        host=NAMES,
        segment=st.one_of(st.just(SEGMENT), TEXTS),
        mac=st.one_of(st.sampled_from(["02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"]), TEXTS),
        sequence=NUMBERS,
    ),
)


@given(ROWS)
def test_what_is_believed_is_sound_and_believing_it_again_changes_nothing(row: Row) -> None:
    found = believable(row)
    if found is None:
        return
    assert isinstance(found, OBSERVED)
    assert found.key == row.key
    assert believable(found) is found
    if isinstance(found, HostStatus):
        assert all(ipv4_number(str(one)) for one in found.provider_addresses)
    if isinstance(found, Claim):
        assert ipv4_number(str(found.provider_address))
        assert found.state in ("active", "standby")
    for text in (getattr(found, name) for name in found.__struct_fields__ if name not in found.KEY):
        for one in text if isinstance(text, tuple) else (text,):
            assert not isinstance(one, str) or one.isprintable()


def test_what_a_sound_host_says_is_believed_as_it_is() -> None:
    rows = (
        HostStatus(
            host="h1",
            provider_addresses=(IPv4Address("192.0.2.1"),),
            encapsulations=Preference(
                (
                    Encapsulation.NVGRE,
                    Encapsulation.VXLAN,
                )
            ),
        ),
        Heartbeat(host="h1", at_s=1_700_000_000, probe=7, problems=("eth0: no carrier",)),
        claim(port("red", "a", 4), "h1", "active", 3),
        PortStatus(port="p", host="h1", segment=SEGMENT, changed_us=1_700_000_000_000_000),
        LearnedAddress(
            address="fd00::9", port="p", host="h1", segment=SEGMENT, mac="02:00:00:00:00:01"
        ),
        port("red", "a", 4),
    )
    assert [believable(row) is row for row in rows] == [True] * len(rows)


@pytest.mark.parametrize(
    "address",
    [
        *("FD00::100", "fd00:0::100", "fd00:0:0:0:0:0:0:100", "fd00::0100", "fd00::100%x"),
        *("fe80::1%eth0", " fd00::100", "010.0.1.100", "10.0.1.100 ", "10.0.1.100/32", ""),
    ],
)
def test_an_address_in_use_is_believed_in_one_spelling_only(address: str) -> None:
    """Another spelling would be another holder, that nobody compares with the first."""
    sound = LearnedAddress(
        address="fd00::100", port="p", host="h1", segment=SEGMENT, mac="02:00:00:00:00:01"
    )
    assert believable(sound) is sound
    assert believable(msgspec.structs.replace(sound, address=address)) is None


@pytest.mark.parametrize(
    "mac", ["02:00:00:00:00:0A", "02-00-00-00-00-0a", "02000000000a", " 02:00:00:00:00:0a"]
)
def test_a_mac_address_is_believed_in_one_spelling_only(mac: str) -> None:
    row = LearnedAddress(address="10.0.1.100", port="p", host="h1", segment=SEGMENT, mac=mac)
    assert believable(row) is None


def test_a_time_is_brought_into_the_calendar_and_a_set_to_its_bounds() -> None:
    """Each bound for itself, at both sides of it."""
    assert calendar.timegm((9999, 12, 31, 23, 59, 59)) == LAST_S
    for at_s, told in ((LAST_S, LAST_S), (LAST_S + 1, LAST_S), (1 << 62, LAST_S), (-1, 0), (0, 0)):
        found = believable(Heartbeat(host="h1", at_s=at_s))
        assert found is not None
        assert found.at_s == told
    for most in (999, 1000, 1001, 3000):
        problems = tuple(sorted(f"p{number:06}" for number in range(most)))
        found = believable(Heartbeat(host="h1", at_s=1, problems=problems))
        assert found is not None
        assert found.problems == problems[:1000]
    for most in (999, 1000, 1001, 3000):
        status = believable(HostStatus(host="h1", version="x" * most))
        assert status is not None
        assert len(status.version) == min(most, 1000)


def test_a_time_in_the_year_60000_becomes_one_that_a_calendar_has() -> None:
    row = PortStatus(port="p", host="h1", segment=SEGMENT, changed_us=1_831_300_000_000_000_000)
    assert believable(row).changed_us == LAST_US  # type: ignore[union-attr]  # its state is known


def test_a_claim_that_nobody_could_follow_or_overtake_is_none() -> None:
    sound = claim(port("red", "a", 4), "h1", "active", 3)
    for change in (
        {"sequence": (1 << 63) - 1},
        {"sequence": MOST_COUNT + 1},
        {"sequence": -1},
        {"state": "Active"},
        {"provider_address": "192.0.2"},
        {"provider_address": IPv4Address("224.0.0.1")},
        {"provider_address": IPv6Address("::1")},
    ):
        assert believable(msgspec.structs.replace(sound, **change)) is None, change
