# SPDX-License-Identifier: Apache-2.0
"""One change is proved by itself: what it can matter to is found in the flows that changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import NamedTuple

import pytest
from msgspec.structs import replace as changed

from isthmus.derive.engine import Change
from isthmus.policy.rows import Port, Rule
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Register, Stage
from isthmus.wire import oxm
from tests.proof.checker import Checker
from tests.proof.clouds import Cloud
from tests.proof.incremental import Checked, check_change
from tests.proof.large_cloud import large_cloud
from tests.proof.network import Network
from tests.proof.program import decoded


class Measured(NamedTuple):
    """One change. `compiled_s` is what the engines took to follow it."""

    name: str
    n_flows: int
    checked: Checked
    compiled_s: float
    checked_s: float

    def __str__(self) -> str:
        ports = "all" if self.checked.ports is None else len(self.checked.ports)
        return (
            f"{self.name}: {self.n_flows} flows changed, {ports} ports, {self.checked.n_probes}"
            f" probes, compiled in {self.compiled_s:.2f} s, checked in {self.checked_s:.2f} s"
        )


def measured(name: str, network: Network, before: Cloud, after: Cloud) -> Measured:
    """Changes a network from one cloud to another, and checks the change."""
    start = time.perf_counter()
    flows = before.change(network, after)
    compiled = time.perf_counter()
    checker = Checker(network, after.reference())
    found = check_change(checker, before, after, flows, Random(1))
    end = time.perf_counter()
    n_flows = sum(map(len, flows.values()))
    return Measured(name, n_flows, found, compiled - start, end - compiled)


def _port(cloud: Cloud, name: str) -> Port:
    return next(port for port in cloud.ports if port.id == name)


def changes(cloud: Cloud) -> Iterator[tuple[str, Cloud]]:
    """One resource each, of the network t3."""
    member = _port(cloud, "t3/a-12")
    yield "a member leaves its group", cloud.with_port(changed(member, groups=()))
    yield "a port has no rules any more", cloud.with_port(changed(member, rule_sets=()))
    yield "a port goes", cloud.without_port(member.id)
    yield "a port moves", cloud.moved(member.id, "h1")
    rule = next(r for r in cloud.rules if isinstance(r, Rule) and r.rule_set == "web3")
    yield "a rule goes", cloud.without(rule)
    wider = replace(
        cloud,
        rules=tuple(
            changed(row, destination_ports="80-90") if row is rule else row for row in cloud.rules
        ),
    )
    yield "a rule allows more", wider


def _all_measured(cloud: Cloud) -> list[Measured]:
    network = cloud.network()
    found = []
    for name, after in changes(cloud):
        found.append(measured(name, network, cloud, after))
        after.change(network, cloud)
    return found


def _others(one: Measured) -> list[str]:
    return [name for name in one.checked.ports or () if not name.startswith("t3/")]


def test_a_change_is_checked_where_it_matters_and_nowhere_else() -> None:
    for one in _all_measured(large_cloud(6, 4)):
        assert one.checked.disagreements == ()
        assert one.checked.ports
        assert not _others(one)
        assert one.checked.n_probes > 20


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_change_among_a_thousand_ports_in_a_hundred_networks_is_checked_at_its_own_cost() -> None:
    """Prints what each took; run pytest with -s to see it."""
    for one in _all_measured(large_cloud(100, 10)):
        print(one)
        assert one.checked.disagreements == ()
        assert not _others(one)


def _without_segment(key: FlowKey) -> FlowKey:
    """As a compiler would write it that forgot to say in which segment a MAC address is."""
    entries = [one for one in oxm.entries(key.match) if one.field is not oxm.REG[Register.VSID]]
    match = oxm.match(*(oxm.exact(field, value) for field, value, _ in entries))
    return key._replace(match=match)


def test_a_change_that_reaches_further_than_it_should_is_looked_at_where_it_does() -> None:
    """With a new port comes a flow that takes what is meant for it in every network. That is found,
    though nothing else of the other networks has changed."""
    after = large_cloud(3, 3)
    before = after.without_port("t1/a-11")
    network = before.network()
    flows = before.change(network, after)
    host = network.hosts["h2"]
    wrong: dict[str, list[Change]] = {}
    for name, its in flows.items():
        wrong[name] = []
        for key, old, new in its:
            assert isinstance(key, FlowKey)
            if name == host.name and key.table == Stage.FORWARD and new is not None:
                assert isinstance(new, Programmed)
                host.program.put(key, None)
                key = _without_segment(key)
                host.program.put(key, decoded(key, new.instructions))
            wrong[name].append(Change(key, old, new))
    found = check_change(Checker(network, after.reference()), before, after, wrong, Random(1))
    assert found.ports is None
    assert {one.probe.port[:2] for one in found.disagreements} >= {"t0", "t2"}
