# SPDX-License-Identifier: Apache-2.0
"""One change is proved by itself: what it can matter to is found in the flows that changed and in
the rows that did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random

import pytest

from isthmus.derive.engine import Change
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage
from isthmus.switches.ovs.registers import VSID
from isthmus.wire import oxm
from tests.proof.checker import Checker
from tests.proof.chosen import Chosen
from tests.proof.clouds import Deployment
from tests.proof.incremental import Checked, check_change
from tests.proof.large_cloud import changes, large_cloud
from tests.proof.mutations import KINDS, Edit, Flows, is_relevant
from tests.proof.network import Host, Network
from tests.proof.one_change import Measured, measured
from tests.proof.program import decoded
from tests.proof.slots import Refused, compared, conditions

_KINDS = [name for name, _, _ in changes(large_cloud(2, 4))]
_ByHost = Mapping[str, list[Change]]


def _all_measured(cloud: Deployment) -> Iterator[Measured]:
    network = cloud.network()
    for name, before, after in changes(cloud):
        yield measured(name, network, before, after)


def _others(found: Checked) -> list[str]:
    return [name for name in found.ports or () if not name.startswith("t1/")]


def test_a_change_is_checked_where_it_matters_and_nowhere_else() -> None:
    for one in _all_measured(large_cloud(3, 8)):
        assert one.checked.disagreements == (), one
        assert one.checked.ports, one
        assert not _others(one.checked), one
        assert one.checked.n_probes > 100, one


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_change_among_a_thousand_ports_in_a_hundred_networks_is_checked_at_its_own_cost() -> None:
    """Prints what each took; run pytest with -s to see it."""
    for one in _all_measured(large_cloud(100, 10)):
        print(one)
        assert one.checked.disagreements == ()
        assert not _others(one.checked)


# -- planted mistakes ------------------------------------------------------------------------------


def _changed(
    name: str, n_networks: int = 3, n_ports: int = 8
) -> tuple[Network, Deployment, Deployment, _ByHost]:
    """A network after a change, with the clouds before and after, and the flows that changed."""
    _, before, after = next(
        one for one in changes(large_cloud(n_networks, n_ports)) if one[0] == name
    )
    network = before.network()
    return network, before, after, before.change(network, after)


def _checked(network: Network, before: Deployment, after: Deployment, flows: _ByHost) -> Checked:
    return check_change(Checker(network, after.reference()), before, after, flows, Random(1))


@pytest.mark.parametrize("kind", _KINDS)
def test_a_change_that_no_flow_has_followed_is_noticed(kind: str) -> None:
    network, before, after, flows = _changed(kind)
    for name, its in flows.items():
        for key, old, _ in its:
            _put(network.hosts[name], key, old)
    assert _checked(network, before, after, {}).disagreements


@pytest.mark.parametrize("kind", _KINDS)
def test_a_change_that_one_host_has_not_followed_is_noticed(kind: str) -> None:
    network, before, after, flows = _changed(kind)
    # Where a port goes, its own host may keep what it likes: nobody is there to see it.
    names = [name for name in flows if kind != "a port goes" or name != "h3"]
    host = max(names, key=lambda name: len(flows[name]))
    for key, old, _ in flows[host]:
        _put(network.hosts[host], key, old)
    others = {name: its for name, its in flows.items() if name != host}
    assert _checked(network, before, after, others).disagreements


def _put(host: Host, key: object, value: object) -> None:
    assert isinstance(key, FlowKey)
    assert value is None or isinstance(value, Programmed)
    host.program.put(key, None if value is None else decoded(key, value.instructions))


def _without(key: FlowKey, *fields: oxm.Field) -> FlowKey:
    """As a compiler would write it that forgot to compare these."""
    entries = [one for one in oxm.entries(key.match) if one.field not in fields]
    match = oxm.match(
        *(
            oxm.exact(field, value) if mask is None else oxm.masked(field, value, mask)
            for field, value, mask in entries
        )
    )
    return key._replace(match=match)


def _compares(key: FlowKey, field: oxm.Field, value: int) -> bool:
    return any(one.field is field and one.value == value for one in oxm.entries(key.match))


def _replaced(host: Host, keys: list[FlowKey], *fields: oxm.Field) -> list[Change]:
    """Flows that no longer compare some fields."""
    found = []
    for key in keys:
        value, wrong = host.engine.rows(Programmed)[key], _without(key, *fields)
        _put(host, key, None)
        _put(host, wrong, value)
        found += [Change(key, value, None), Change(wrong, None, value)]
    assert found
    return found


def _admissions(network: Network, port: str) -> tuple[Host, list[FlowKey]]:
    """The flows that say from what a guest may speak."""
    name, ofport = network.place_of[port]
    host = network.hosts[name]
    keys = [key for key in host.program.flows if key.table == Stage.ADMISSION]
    return host, [key for key in keys if _compares(key, oxm.IN_PORT, ofport)]


@pytest.mark.parametrize("kind", ["a port comes", "a port moves", "a port gets rules"])
@pytest.mark.parametrize("field", [oxm.ETH_SRC, oxm.IPV4_SRC, oxm.IPV6_SRC], ids=str)
def test_a_mistake_in_the_flows_of_the_port_that_changed_is_noticed(
    kind: str, field: oxm.Field
) -> None:
    network, before, after, flows = _changed(kind)
    host, keys = _admissions(network, "t1/a-12")
    chosen = [key for key in keys if any(one.field is field for one in oxm.entries(key.match))]
    wrong = [*flows[host.name], *_replaced(host, chosen, field)]
    found = _checked(network, before, after, {**flows, host.name: wrong})
    assert "t1/a-12" in {one.probe.port for one in found.disagreements}


@pytest.mark.parametrize("field", [oxm.ETH_SRC, oxm.IPV4_SRC, oxm.IPV6_SRC], ids=str)
def test_a_mistake_in_flows_of_a_port_that_should_not_have_changed_is_noticed(
    field: oxm.Field,
) -> None:
    """With a rule of one tenant, a flow of a port of another becomes another."""
    network, before, after, flows = _changed("a rule allows less")
    host, keys = _admissions(network, "t2/b-13")
    chosen = [key for key in keys if any(one.field is field for one in oxm.entries(key.match))]
    wrong = [*flows[host.name], *_replaced(host, chosen, field)]
    found = _checked(network, before, after, {**flows, host.name: wrong})
    assert _others(found) == ["t2/b-13"]
    assert "t2/b-13" in {one.probe.port for one in found.disagreements}


def test_a_flow_that_is_taken_from_a_port_that_should_not_have_changed_is_missed() -> None:
    """What other hosts' packets to it need."""
    network, before, after, flows = _changed("a member joins a group")
    host = network.hosts[network.place_of["t0/a-14"][0]]
    mac = 0x02000000000E
    (key,) = (
        key
        for key in host.program.flows
        if (key.table, _compares(key, oxm.ETH_DST, mac)) == (Stage.FORWARD, True)
        and compared(conditions(key.match), VSID) == 10000
    )
    value = host.engine.rows(Programmed)[key]
    _put(host, key, None)
    wrong = [*flows[host.name], Change(key, value, None)]
    found = _checked(network, before, after, {**flows, host.name: wrong})
    assert "t0/a-14" in _others(found)
    assert found.disagreements


def test_a_change_that_reaches_further_than_it_should_is_looked_at_where_it_does() -> None:
    """With a new port comes a flow that takes what is meant for it in every network. That is found,
    though nothing else of the other networks has changed."""
    network, before, after, flows = _changed("a port comes")
    host = network.hosts[network.place_of["t1/a-12"][0]]
    new = [key for key, _, value in flows[host.name] if value is not None]
    keys = [key for key in new if isinstance(key, FlowKey) and key.table == Stage.FORWARD]
    wrong = _replaced(host, keys, VSID.field)
    found = _checked(network, before, after, {**flows, host.name: [*flows[host.name], *wrong]})
    assert found.ports is None
    assert {one.probe.port[:2] for one in found.disagreements} >= {"t0", "t2"}


# -- many mistakes ---------------------------------------------------------------------------------


def _edited(host: Host, flows: Flows, edits: tuple[Edit, ...]) -> list[Change]:
    """Makes the edits. Raises Refused, and has done nothing then."""
    for _, after, instructions in edits:
        if after is not None:
            decoded(after, instructions)
    found = []
    for before, after, instructions in edits:
        if before is not None:
            _put(host, before, None)
            found.append(Change(before, Programmed(flows[before], 0), None))
        if after is not None:
            _put(host, after, Programmed(instructions, 0))
            found.append(Change(after, None, Programmed(instructions, 0)))
    return found


def _places(flows: _ByHost) -> list[tuple[str, FlowKey]]:
    """Where there are flows now that have changed."""
    return [
        (name, change.key)
        for name, its in flows.items()
        for change in its
        if isinstance(change.key, FlowKey)
        and isinstance(change.new, Programmed)
        and is_relevant(change.key, change.new.instructions)
    ]


@contextmanager
def _mutated(
    network: Network, places: list[tuple[str, FlowKey]], random: Random
) -> Iterator[tuple[str, list[Change]]]:
    """One of these flows is a little wrong."""
    while True:
        name, key = random.choice(places)
        host = network.hosts[name]
        its: Flows = {
            key: value.instructions  # type: ignore[misc]  # keys are FlowKeys
            for key, value in host.engine.rows(Programmed).items()
        }
        edits = KINDS[random.choice(sorted(KINDS))](key, its, sorted(its), random)
        try:
            wrong = _edited(host, its, edits)
        except Refused:
            continue
        if wrong:
            break
    yield name, wrong
    for one in wrong:
        _put(host, one.key, None)
    for one in wrong:
        _put(host, one.key, host.engine.rows(Programmed).get(one.key))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_all_probes_notice_of_a_mistake_the_chosen_probes_notice() -> None:
    """Of those that are made in flows that changed; almost always, for the probes of one change are
    chosen by chance. Prints how many; run pytest with -s to see it."""
    found: Counter[str] = Counter()
    random = Random(7)
    for kind in _KINDS:
        network, before, after, flows = _changed(kind, 2, 4)
        checker = Checker(network, after.reference())
        places = _places(flows)
        for _ in range(10 if places else 0):
            with _mutated(network, places, random) as (name, wrong):
                its = {**flows, name: [*flows[name], *wrong]}
                if check_change(checker, before, after, its, random).disagreements:
                    found["noticed"] += 1
                    continue
                probes = Chosen(before, after, random, of_each=1000).probes(None)
                seen = next(checker.disagreements(probes), None)
                found["noticed by all probes only" if seen else "noticed by none"] += 1
    print("", *(f"{number:5} {what}" for what, number in sorted(found.items())), sep="\n")
    assert found["noticed"] > 50
    assert found["noticed by all probes only"] <= found["noticed"] / 50 + 1
