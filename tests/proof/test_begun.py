# SPDX-License-Identifier: Apache-2.0
"""While ports have just begun to be followed: each flow that answers pass by matters, and mistakes
in them are noticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from itertools import permutations

import pytest

from isthmus.policy.rows import Rule, RuleSet
from isthmus.policy.values import Action
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Unknown
from isthmus.switches.ovs.pipeline import FlowKey, Stage
from isthmus.switches.ovs.resync import added
from tests.proof.checker import Checker
from tests.proof.clouds import ROUTER_MAC, Deployment, allow, cloud, port
from tests.proof.probes import Probe, between
from tests.proof.program import Flow, Slots, decoded
from tests.proof.random_clouds import PAIR_MAC
from tests.proof.recording import Recording
from tests.proof.slots import N_REGISTERS
from tests.texts import applied

STAGES = Stage.UNKNOWN, Stage.ANSWER, Stage.RETURN
SPOKEN = ((6, 80, 40000), (17, 53, 40000), (132, 5000, 5001), (47, 0, 0))
ECHOES = ((1, 0, 0), (1, 14, 0), (1, 16, 0), (1, 18, 0), (58, 129, 0))
SERVED = {6: "80-80", 17: "53-53", 132: "5000-5000"}


def begun_cloud() -> Deployment:
    """Some ask, some serve, one may neither be asked nor ask; on one host and across, routed."""
    lists = {"asks": ("red/a", 4), "serves": ("red/a", 5), "shut": ("red/b", 4)}
    ports = [
        port(segment, number, rule_sets=(f"interface * {name}",))
        for name, (segment, number) in lists.items()
    ]
    ports += [port("red/b", 5, rule_sets=("interface * serves",)), port("red/a", 6)]
    ports += [port("red/b", 6, rule_sets=("interface * asks",)), port("red/b", 7)]
    rules: tuple[RuleSet | Rule, ...] = (
        RuleSet(id="asks", in_default=Action.DENY, out_default=Action.ALLOW),
        RuleSet(id="serves", in_default=Action.DENY, out_default=Action.DENY),
        *(
            allow("serves", "in", 100 + number, protocol=number, destination_ports=ports_of)
            for number, ports_of in SERVED.items()
        ),
        *(allow("serves", "in", 200 + number, protocol=number) for number in (1, 47, 58)),
        RuleSet(id="shut", in_default=Action.DENY, out_default=Action.DENY),
        allow("shut", "out", 100, stateless=True),
    )
    hosts = ("h1", "h1", "h1", "h2", "h2", "h1", "h1")
    return cloud(ports, rules, hosts)


FOUND = begun_cloud()
NAMES = frozenset(one.id for one in FOUND.ports)


def answers() -> Iterator[Probe]:
    """From everybody to everybody, what answers and what does not."""
    for source, target in permutations(FOUND.ports, 2):
        for service in (*SPOKEN, *ECHOES):
            for frame in between(source, target, service, ROUTER_MAC):
                yield Probe(frame, port=source.id)


def checker() -> Checker:
    return Checker(FOUND.network(NAMES), FOUND.reference(NAMES))


def test_answers_pass_where_the_question_would() -> None:
    assert next(checker().disagreements(answers()), None) is None


def _met() -> set[FlowKey]:
    """The flows of h1 that any of these probes meet, of those that are about answers."""
    met: set[FlowKey] = set()

    def watch(_table: int, _packet: Slots, flow: Flow | None) -> None:
        if flow is not None and flow.key.table in STAGES:
            met.add(flow.key)

    found = checker()
    found.network.watches["h1"] = watch
    for probe in answers():
        found.compare(probe)
    return met


class Noticing:
    """Of a network in which some ports have just begun, whether these probes notice another flow on
    h1; only those are sent again that a change of it can matter to."""

    def __init__(self, begun: frozenset[str]) -> None:
        self._checker = Checker(FOUND.network(begun), FOUND.reference(begun))
        self._recording = Recording(self._checker, answers())

    def notices(self, key: FlowKey, flow: Flow | None) -> bool:
        program = self._checker.network.hosts["h1"].program
        numbers, before = self._recording.affected("h1", key, flow), program.flows[key]
        program.put(key, flow)
        try:
            probes = (self._recording.probes[number] for number in sorted(numbers))
            return next(self._checker.disagreements(probes), None) is not None
        finally:
            program.put(key, before)


@pytest.mark.timeout(600)
def test_each_flow_that_answers_meet_matters() -> None:
    met, all_begun = _met(), Noticing(NAMES)
    assert {key.table for key in met} == set(STAGES)
    unnoticed = [
        (Stage(key.table).name, key.priority, key.match.hex())
        for key in sorted(met)
        if not all_begun.notices(key, None)
    ]
    assert unnoticed == []


ASKING = frozenset(one.id for one in FOUND.ports if applied("interface * asks")[0] in one.rule_sets)
LONG_AGO = (frozenset[str](), ASKING, NAMES - ASKING)
"""Who has begun a moment ago, where others began long before."""


@pytest.mark.parametrize("begun", LONG_AGO, ids=["nobody", "who asks", "who is asked"])
def test_answers_pass_only_where_every_end_under_rules_has_just_begun(
    begun: frozenset[str],
) -> None:
    found = Checker(FOUND.network(begun), FOUND.reference(begun))
    assert next(found.disagreements(answers()), None) is None


@pytest.mark.timeout(600)
def test_who_has_not_just_begun_or_has_not_the_address_gets_no_answer() -> None:
    """Each condition on the ends of a packet matters: to ports of which some, or all, began long
    ago."""
    begun = [Noticing(names) for names in (*LONG_AGO, NAMES)]
    flows = checker().network.hosts["h1"].program.flows
    ends = [
        (key, condition)
        for key in sorted(flows)
        if (key.table, key.priority) == (Stage.UNKNOWN, Unknown.LOOKED_AT_AS_ANSWER)
        for condition in flows[key].conditions
        if condition.slot < N_REGISTERS
    ]
    assert {condition.slot for _, condition in ends} == {reg.SENDER.number, reg.RECEIVER.number}
    for key, condition in ends:
        wider = tuple(one for one in flows[key].conditions if one != condition)
        changed = flows[key]._replace(conditions=wider)
        assert any(one.notices(key, changed) for one in begun), (key, condition)


# -- addresses of which several entries of a port speak --------------------------------------------


INSIDE, BESIDE = "10.0.1.100", "10.0.1.99"
LISTED = [
    (),
    ("10.0.1.100/32",),
    ("10.0.1.96/28",),
    ("10.0.1.100/32", "10.0.1.96/28"),
    ("10.0.1.100/32", "10.0.1.96/28", "10.0.0.0/16"),
]


def paired_cloud(pairs: Iterable[str], *own: str) -> Deployment:
    """One that asks, from its pairs as well, and one that answers, on its host and on another."""
    listed = tuple(sorted(f"{pair} {PAIR_MAC}" for pair in pairs))
    asks = port("red/a", 4, *own, families="4", rule_sets=("interface * asks",), pairs=listed)
    others = (port("red/a", number, families="4") for number in (5, 6))
    rules = (RuleSet(id="asks", in_default=Action.DENY, out_default=Action.ALLOW),)
    return cloud((asks, *others), rules, ("h1", "h1", "h2"))


def to_pairs(found: Deployment) -> Iterator[Probe]:
    asks, *others = found.ports
    for source in others:
        for service in SPOKEN:
            for frame in between(source, asks, service, ROUTER_MAC):
                for text in (INSIDE, BESIDE, asks.addresses[0]):
                    its = frame.tuple._replace(destination=int(IPv4Address(text)))
                    yield Probe(frame._replace(tuple=its), port=source.id)


@pytest.mark.parametrize("pairs", LISTED)
def test_answers_reach_each_address_of_a_pair_that_has_just_begun(pairs: tuple[str, ...]) -> None:
    found = paired_cloud(pairs)
    network, reference = found.network(NAMES), found.reference(NAMES)
    assert next(Checker(network, reference).disagreements(to_pairs(found)), None) is None


@pytest.mark.parametrize(
    "before, after",
    [
        (before, after)
        for before, after in permutations(
            [*(paired_cloud(pairs) for pairs in LISTED[1:]), paired_cloud((), INSIDE)], 2
        )
    ],
)
def test_an_address_that_has_been_followed_gets_no_answer_when_what_is_around_it_changes(
    before: Deployment, after: Deployment
) -> None:
    network = before.network()
    for name, changes in before.change(network, after).items():
        for sent in added(changes):
            if sent.lasts_s:
                key = FlowKey(*sent[:3])
                network.hosts[name].program.put(key, decoded(key, sent.instructions))
    found = Checker(network, after.reference())
    assert next(found.disagreements(to_pairs(after)), None) is None
