# SPDX-License-Identifier: Apache-2.0
"""Compiled flows and the reference agree, on random policies."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.policy.rows import Port, Rule, RuleSet
from tests.proof.checker import Checker
from tests.proof.clouds import HOSTS, ROUTER_MAC, Cloud, port
from tests.proof.probes import Probe, between, injections, lies, services

SETS, GROUPS = ("s1", "s2", "s3"), ("g1", "g2")
_MENU = [
    *(("red/a", number) for number in (4, 5, 6)),
    *(("red/b", number) for number in (4, 5)),
    *(("blue/a", number) for number in (4, 5)),
    *(("blue/b", number) for number in (4,)),
    *(("lone/a", number) for number in (4, 5)),
]

_actions = st.sampled_from(("allow", "deny"))
_some_groups = st.lists(st.sampled_from(GROUPS), max_size=2, unique=True).map(
    lambda names: tuple(sorted(names))
)
_services = st.sampled_from(
    (
        {"protocol": -1},
        {"protocol": 6, "destination_ports": "80-80"},
        {"protocol": 6, "destination_ports": "1000-2001"},
        {"protocol": 17, "source_ports": "1024-65535"},
        {"protocol": 6, "source_ports": "0-1023", "destination_ports": "22-23"},
        {"protocol": 1, "family": 4},
        {"protocol": 1, "family": 4, "icmp_type": 8},
        {"protocol": 58, "family": 6, "icmp_type": 128, "icmp_code": 0},
        {"protocol": 132},
    )
)
_ends = st.sampled_from(
    ("", "", "VIRTUALNETWORK", "INTERNET", "AZURELOADBALANCER", "10.0.1.0/24", "10.0.1.4/32")
    + ("fd00:0:0:1::/64", "fd00:0:0:1::4/128")
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    service = draw(_services)
    source, destination = draw(_ends), draw(_ends)
    families = {6 if ":" in end else 4 for end in (source, destination) if ":" in end or "/" in end}
    if service.get("family"):
        families.add(service["family"])
    if len(families) > 1:
        source = destination = ""
        families = {service["family"]} if service.get("family") else set()
    source_groups, destination_groups = draw(
        st.sampled_from((((), ()), (("g1",), ()), ((), ("g1",)), (("g1", "g2"), ())))
    )
    values = {**service, "family": families.pop() if families else 0}
    return Rule(
        rule_set=draw(st.sampled_from(SETS)),
        id=draw(st.sampled_from(("r1", "r2", "r3"))),
        direction=draw(st.sampled_from(("in", "out"))),
        priority=draw(st.sampled_from((100, 200, 300))),
        action=draw(_actions),
        source=source,
        destination=destination,
        source_groups=source_groups,
        destination_groups=destination_groups,
        **values,
    )


@st.composite
def ports(draw: st.DrawFn, segment: str, number: int) -> Port:
    more = draw(st.sampled_from(((), ("10.0.1.40",), ("fd00:0:0:1::40", "10.0.1.41"))))
    if number != 4 or not segment.endswith("a"):
        more = ()
    plain = port(segment, number, *more, families=draw(st.sampled_from(("46", "4", "6"))))
    levels, names = ("interface", "subnet"), st.sampled_from(SETS)
    entries = st.tuples(st.sampled_from(levels), st.sampled_from(("*", *plain.addresses)), names)
    rule_sets = draw(st.lists(entries.map(" ".join), max_size=3, unique=True))
    return port(
        segment,
        number,
        *more,
        addresses=plain.addresses,
        rule_sets=tuple(sorted(rule_sets)),
        groups=draw(_some_groups),
    )


@st.composite
def clouds(draw: st.DrawFn) -> Cloud:
    chosen = draw(st.lists(st.sampled_from(_MENU), min_size=2, max_size=7, unique=True))
    found = tuple(draw(ports(*one)) for one in chosen)
    places = tuple((one.id, draw(st.sampled_from(HOSTS))) for one in found)
    sets = [
        RuleSet(id=name, in_default=draw(_actions), out_default=draw(_actions)) for name in SETS
    ]
    some = draw(st.lists(rules(), max_size=6, unique_by=lambda rule: rule.key))
    return Cloud(found, (*sets, *some), places)


def some_probes(cloud: Cloud, random: Random, *, per_pair: int = 6) -> Iterator[Probe]:
    """For every ordered pair of ports: services at the edges of rules, lies, and tunnels."""
    written = [row for row in cloud.rules if isinstance(row, Rule)]
    by_family = {family: services(written, family) for family in (4, 6)}
    for source, target in permutations(cloud.ports, 2):
        honest = [
            frame
            for family in (4, 6)
            for service in by_family[family]
            for frame in between(source, target, service, ROUTER_MAC)
            if frame.tuple.family == family
        ]
        if not honest:
            continue
        for frame in random.sample(honest, min(per_pair, len(honest))):
            yield Probe(frame, port=source.id)
        one = random.choice(honest)
        for lie in lies(source, target, one):
            yield Probe(lie, port=source.id)
        yield from random.sample(list(injections(cloud, one)), 4)


@given(clouds(), st.integers(0, 1 << 16))
@settings(max_examples=60, deadline=None)
def test_flows_let_through_what_the_policy_says_and_nothing_else(cloud: Cloud, seed: int) -> None:
    checker = Checker(cloud.network(), cloud.reference())
    found = next(checker.disagreements(some_probes(cloud, Random(seed))), None)
    assert found is None, found
