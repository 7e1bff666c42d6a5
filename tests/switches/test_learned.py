# SPDX-License-Identifier: Apache-2.0
"""Address pairs in use, for any ports, pairs, claims and announcements: who has an address, and
where its packets go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from random import Random
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.addresses import mac_text, parse_mac
from isthmus.derive.engine import Engine
from isthmus.host.facts import LocalPort
from isthmus.policy.addresses import allows
from isthmus.policy.rows import Claim, LearnedAddress, Port, Row
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage, flow
from tests.flow_texts import named_flow
from tests.switches.policy_rows import (
    claim,
    compiled,
    host_rows,
    local,
    network_rows,
    new_engine,
    port,
    provider_address,
    put,
)
from tests.texts import pairs

PLACES = {"db": ("a", 4), "web": ("a", 5), "db web": ("a", 6), "red": ("b", 4)}
"""Of ports, by name: segment and number."""
ADDRESSES = ("10.0.1.100", "10.0.1.111", "10.0.2.100", "fd00::100")
VIRTUAL_MAC = "00:00:5e:00:01:07"
PREFIXES = ("10.0.1.96/28", "10.0.1.100/32", "10.0.0.0/16", "fd00::/64", "fd00::100/128")
MOSTLY = ("10.0.0.0/16", "fd00::/64", *PREFIXES)


class Drawn(NamedTuple):
    ports: tuple[Port, ...]
    claims: tuple[Claim, ...]
    learned: tuple[LearnedAddress, ...]

    @property
    def rows(self) -> list[Row | LocalPort]:
        here = (one for one in self.claims if one.host == "h1")
        by_id = {one.id: one for one in self.ports}
        plugged = (local(by_id[one.port], number) for number, one in enumerate(here, 3))
        base = (*host_rows(), *network_rows("red"))
        return [*base, *self.ports, *self.claims, *self.learned, *plugged]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    ports, claims = [], []
    for name, place in PLACES.items():
        plain = msgspec.structs.replace(port("red", *place), id=name)
        macs = st.sampled_from((plain.mac, VIRTUAL_MAC))
        drawn_pairs = st.lists(st.tuples(st.sampled_from(MOSTLY), macs), min_size=1, max_size=3)
        given_it = pairs(*{f"{prefix} {mac}" for prefix, mac in draw(drawn_pairs)})
        ports.append(msgspec.structs.replace(plain, pairs=given_it))
        where = draw(st.sampled_from(("h1", "h2", "h3", "")))
        if where:
            claims.append(claim(plain, where))
    rows = st.builds(
        _learned,
        st.sampled_from((*ADDRESSES, "10.0.1.100", "10.0.1.100")),
        st.sampled_from(ports),
        # Mostly what its host would say.
        st.sampled_from((None, None, None, None, "h1", "h2", "h3")),
        st.sampled_from(("", "", "", "red/b")),
        st.sampled_from((VIRTUAL_MAC, VIRTUAL_MAC, "", "02:00:00:00:00:99")),
        st.integers(0, 2),
        st.just({one.port: one.host for one in claims}),
    )
    learned = draw(st.lists(rows, max_size=8, unique_by=lambda row: row.key))
    return Drawn(tuple(ports), tuple(claims), tuple(learned))


def _learned(
    address: str,
    of: Port,
    host: str | None,
    segment: str,
    mac: str,
    sequence: int,
    at: Mapping[str, str],
) -> LearnedAddress:
    return LearnedAddress(
        address=address,
        port=of.id,
        host=host or at.get(of.id, "h1"),
        segment=segment or of.segment,
        mac=mac or of.mac,
        sequence=sequence,
    )


def believed(found: Drawn, row: LearnedAddress) -> bool:
    """Said by the host that has the port, of a pair that the port was given."""
    of = next(one for one in found.ports if one.id == row.port)
    at = {one.port: one.host for one in found.claims}
    is_given = any(
        mac_text(pair.mac) == row.mac
        and ip_address(row.address).version == pair.network.version
        and ip_address(row.address) in pair.network
        for pair in of.pairs
    )
    return is_given and at.get(row.port) == row.host and row.segment == of.segment


def winners(found: Drawn) -> dict[tuple[str, str], LearnedAddress]:
    """By segment and address."""
    best: dict[tuple[str, str], LearnedAddress] = {}
    by_port = sorted(found.learned, key=lambda row: row.port, reverse=True)
    for row in sorted(by_port, key=lambda row: row.sequence):
        if believed(found, row):
            best[row.segment, row.address] = row
    return best


def flows_of(engine: Engine, stage: Stage) -> Iterator[str]:
    for key, value in engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        if (key.table, key.priority) == (stage, 90):
            yield named_flow(flow(key, value))


VSIDS = {"red/a": 5001, "red/b": 5002}


@given(drawn())
@settings(deadline=None)
def test_an_address_leads_to_the_one_that_has_it_and_to_nobody_without_one(found: Drawn) -> None:
    engine = compiled("h1", found.rows)
    neighbours = sorted(flows_of(engine, Stage.NEIGHBOUR))
    assert len(neighbours) == len(winners(found))
    for (segment, address), row in winners(found).items():
        number = int(ip_address(address))
        its = f"{'TARGET' if '.' in address else 'TARGET6'}={number:#x},"
        mine = [
            text
            for text in neighbours
            if f"VSID={VSIDS[segment]:#x}" in text and its in text.replace(" ", ",")
        ]
        assert len(mine) == 1, (neighbours, its)
        assert f"load:{parse_mac(row.mac):#x}->" in mine[0]


@given(drawn())
@settings(deadline=None)
def test_frames_for_its_mac_address_go_where_its_port_is(found: Drawn) -> None:
    engine = compiled("h1", found.rows)
    by_id = {one.id: one for one in found.ports}
    at = {one.port: one.host for one in found.claims}
    own = {one.iface_id: one.ofport for one in found.rows if isinstance(one, LocalPort)}
    ends: dict[tuple[str, str], set[str]] = {}
    for row in winners(found).values():
        if row.mac != by_id[row.port].mac:
            place = (
                f"load:{own[row.port]:#x}->OUT,"
                if at[row.port] == "h1"
                else f"load:{int(ip_address(provider_address(row.host))):#x}->PEER,"
            )
            ends.setdefault((row.segment, row.mac), set()).add(place)
    forwarding = sorted(flows_of(engine, Stage.FORWARD))
    seen = set()
    for (segment, mac), places in ends.items():
        mine = [t for t in forwarding if f"VSID={VSIDS[segment]:#x}" in t and f"eth_dst={mac}" in t]
        assert mine
        # One MAC address for two addresses of two ports: one of both has it.
        assert all(any(place in text for place in places) for text in mine), (mine, places)
        seen |= set(mine)
    assert seen == set(forwarding)


@given(drawn(), drawn(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_however_it_came_about_the_program_is_that_of_what_there_is(
    before: Drawn, after: Drawn, chance: Random
) -> None:
    engine, numbers = new_engine("h1"), Numbers()
    held = {_key(row): row for row in before.rows}
    put(engine, *_shuffled(before.rows, chance))
    numbers.follow(engine, release=False)
    coming = {_key(row): row for row in after.rows}
    steps: list[tuple[tuple[type, object], Row | LocalPort | None]] = [
        *((key, None) for key in held if key not in coming),
        *((key, row) for key, row in coming.items() if held.get(key) != row),
    ]
    chance.shuffle(steps)
    for (table, key), row in steps:
        engine.put(table, key, row)
        if chance.random() < 0.3:
            numbers.follow(engine, release=False)
    numbers.follow(engine, release=False)
    again = compiled("h1", after.rows, Numbers(numbers.text()))
    assert engine.rows(Programmed) == again.rows(Programmed)


def _key(row: Row | LocalPort) -> tuple[type, object]:
    return type(row), row.iface_id if isinstance(row, LocalPort) else row.key


def _shuffled(rows: Sequence[Row | LocalPort], chance: Random) -> list[Row | LocalPort]:
    found = list(rows)
    chance.shuffle(found)
    return found


@given(st.sampled_from(PREFIXES), st.integers(0, 2**32 - 1), st.booleans())
def test_a_pair_allows_its_addresses_with_its_mac_address_and_no_other(
    prefix: str, number: int, is_own: bool
) -> None:
    network = ip_network(prefix)
    address = network[number % network.num_addresses]
    one = msgspec.structs.replace(port("red", "a", 4), pairs=pairs(f"{prefix} {VIRTUAL_MAC}"))
    mac = VIRTUAL_MAC if is_own else one.mac
    assert allows(one, str(address), mac) is is_own
    before = int(network.network_address) - 1
    outside = ip_address(before) if network.version == 4 else network.network_address - 1
    assert not allows(one, str(outside), VIRTUAL_MAC)
    assert not allows(one, "::1" if network.version == 4 else "10.0.1.100", VIRTUAL_MAC)
