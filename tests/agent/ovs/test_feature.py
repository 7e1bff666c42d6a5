# SPDX-License-Identifier: Apache-2.0
"""A feature of one file (`experiments`) joins the pipeline of a host, and nothing else is touched:
its units run, its packets reach it, what it says is closed closes, and its drops have its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import msgspec
import pytest

from isthmus.agent.ovs.decisions import counted, counting_stages
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.packets import PacketAnswers
from isthmus.agent.ovs.questions import missing_flows
from isthmus.agent.ovs.watching import Watches
from isthmus.errors import Unavailable
from isthmus.host.facts import Identity, Problem
from isthmus.policy.questions import Watch
from isthmus.policy.rows import RuleSet
from isthmus.switches.ovs.feature import Feature, given_to
from isthmus.switches.ovs.features import FEATURES
from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_packets import PacketIn
from isthmus.wire.openflow_replies import InstalledFlow
from tests.agent.ovs import experiments
from tests.agent.ovs.hosts import learn, plug
from tests.agent.ovs.test_refused import given_by
from tests.flow_texts import named_flow
from tests.switches.policy_rows import BOTH, host_rows, network_rows, port, provider_address

WEB, DB = port("red", "a", 4), port("red", "b", 5)
WITH_IT = (*FEATURES, experiments.FEATURE)


def running(features: Sequence[Feature] = WITH_IT) -> OvsHost:
    """WEB at OpenFlow port 1, DB at 2."""
    state = OvsHost(Identity("h1", IPv4Address(provider_address("h1")), BOTH), features=features)
    learn(state, *host_rows(), *network_rows("red"), WEB, DB)
    plug(state, WEB, DB)
    state.settle(whole=True)
    return state


def flows(state: OvsHost) -> list[Flow]:
    return sorted(given_by(state, "experiment_flows"), key=lambda one: one.match)


class Sent:
    """A switch that keeps what is sent out of it."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.packets: list[tuple[bytes, bytes]] = []
        self._is_away = is_away

    def send_packet_out(self, packet: bytes, actions: Iterable[bytes]) -> None:
        if self._is_away:
            raise Unavailable("the switch is away")
        self.packets.append((packet, b"".join(actions)))


def packet_in(userdata: bytes, in_port: int = 1, cookie: int = 0) -> PacketIn:
    return PacketIn(bytes(60), in_port, Stage.ADMISSION, cookie, 1, userdata, {})


def test_its_flows_are_programmed_beside_those_of_all_others() -> None:
    without, state = running(FEATURES), running()
    added = {one.match for one in state.changes().adds}
    before = {one.match for one in without.changes().adds}
    assert before < added
    assert added - before == {one.match for one in flows(state)}
    assert [named_flow(one) for one in flows(state)][:2] == [
        "table=ADMISSION,priority=310,ip,in_port=1,nw_proto=253"
        " actions=controller(max_len=64,userdata=f0.20.65.78.70.65.72.69.6d.65.6e.74.73)",
        "table=ADMISSION,priority=310,ip,in_port=1,nw_proto=254 actions=drop",
    ]
    plug(state, DB)
    assert [one.match for one in state.changes().deletes if one.match in added - before]


def test_its_packet_reaches_it_and_that_of_nobody_goes_nowhere() -> None:
    state, sent = running(), Sent()
    answers = PacketAnswers(state, sent, {})
    assert not answers.take(packet_in(experiments.QUESTION, in_port=2))
    assert sent.packets == [(experiments.ANSWER, act.output(2))]
    answers.take(packet_in(experiments.QUESTION, in_port=9))
    answers.take(packet_in(b"of nobody"))
    PacketAnswers(state, Sent(is_away=True), {}).take(packet_in(experiments.QUESTION))
    assert len(sent.packets) == 1


def test_what_it_cannot_read_is_counted_and_the_half_in_the_agent_is_found_by_name() -> None:
    def unreadable(packet: PacketIn) -> None:
        taken.append(packet)
        raise Malformed("of a guest")

    taken: list[PacketIn] = []
    other = replace(experiments.FEATURE, packets={experiments.QUESTION: given_to("x")})
    answers = PacketAnswers(running((*FEATURES, other)), Sent(), {"x": unreadable})
    assert not answers.take(packet_in(experiments.QUESTION))
    assert (len(taken), answers.counters.malformed) == (1, 1)


def test_two_features_cannot_have_the_same_packets() -> None:
    state = running()
    state.features = (*state.features, experiments.FEATURE)
    with pytest.raises(AssertionError, match="experiments"):
        PacketAnswers(state, Sent(), {})


def test_a_refused_flow_of_it_closes_what_it_says_is_told_and_is_tried_again() -> None:
    state = running()
    whole = flows(state)
    assert state.refused([(whole[0], "BAD")])
    assert list(state.refusals.of_port(WEB.id)) == ["BAD"]
    state.settle()
    assert [one.match for one in flows(state)] == [one.match for one in whole[2:]]
    told = "experiments are not kept from it: the switch refuses a flow: BAD"
    assert [(one.port, one.detail) for one in state.engine.rows(Problem).values()] == [
        (WEB.id, told)
    ]
    learn(state, RuleSet(id="other"))  # policy has changed
    assert flows(state) == whole
    assert not state.engine.rows(Problem)


def test_what_it_drops_is_told_and_counted_under_its_name() -> None:
    state = running()
    watches = Watches(state)
    watches.ask(Watch(name="w", seconds=10), 0.0)
    state.settle()
    dropping = flows(state)[1]
    watches.take(packet_in(b"\x04", cookie=dropping.cookie), 7)
    (said,) = watches.answers(1.0)
    (verdict,) = msgspec.json.decode(said.result)["verdicts"]
    assert (verdict["decision"], verdict["stage"]) == ("experiments", "ADMISSION")
    assert Stage.ADMISSION in counting_stages(state)
    found = counted([InstalledFlow(*dropping[:5], n_packets=3, n_bytes=180, age_s=1)], state).rules
    assert {one.text: numbers for one, numbers in found.items()} == {"experiments": (3, 180)}


def test_its_flows_are_among_those_that_are_shown_of_a_port() -> None:
    state = running()
    lacking = missing_flows(WEB.id, state, [])
    assert set(flows(state)[:2]) <= set(lacking)
    assert not set(flows(state)[2:]) & set(lacking)
