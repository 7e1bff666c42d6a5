# SPDX-License-Identifier: Apache-2.0
"""A port in error: what its host reports, what its flows let pass and what the trace says agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import permutations

import msgspec
import pytest

from isthmus.addresses import parse_mac
from isthmus.agent.ovs.host import OvsHost
from isthmus.policy.rows import Port, PortStatus, Row, Rule, RuleSet
from isthmus.policy.values import Action, PortState
from isthmus.reach.trace import DELIVERED, Question, Trace, trace
from isthmus.reach.world import World
from isthmus.switches.ovs.domains import HIGHEST_ZONE, ZONES
from isthmus.switches.ovs.filters import FILTER_NUMBERS
from isthmus.switches.ovs.pipeline import MOST_GROUPS, FlowKey, Programmed, flow
from isthmus.switches.ovs.profiles import HIGHEST_NUMBER, PROFILE_NUMBERS
from isthmus.wire import oxm
from tests.agent.ovs.hosts import host, learn, plug
from tests.proof.connections import Connections, Tuple
from tests.proof.frames import Frame, answer, frame_of
from tests.proof.interpreter import Run
from tests.proof.network import Delivered
from tests.proof.probes import Service
from tests.proof.program import Program, decoded
from tests.reach.cloud import port, red, rule, rule_set
from tests.switches.policy_rows import claim

UDP = 17
SERVICES: tuple[Service, ...] = ((6, 49152, 80), (UDP, 49152, 53), (1, 8, 0))


@dataclass
class ProgrammedHost:
    """Ports on one host, as it has programmed them."""

    state: OvsHost
    ports: tuple[Port, ...]
    rows: tuple[Row, ...]

    def statuses(self) -> dict[str, PortStatus]:
        found = ((one.id, self.state.wanted_status(one.id, 1)) for one in self.ports)
        return {name: status for name, status in found if status is not None}

    def traced(self, question: Question) -> Trace:
        return trace(World((*self.rows, *self.statuses().values())), question)

    def program(self) -> Program:
        """Its flows when the times in which ports had just begun to be followed are over."""
        rows = self.state.engine.rows(Programmed).items()
        lasting = [(key, value) for key, value in rows if not value.lasts_s]
        return Program(decoded(key, value.instructions) for key, value in lasting)  # type: ignore[arg-type]  # keys are FlowKeys

    def differences(self) -> Iterator[str]:
        """Between all ports: where the flows do other than the trace says."""
        program = self.program()
        for here, there in permutations(self.ports, 2):
            for protocol, source, destination in SERVICES:
                question = Question(here.id, there.id, protocol, destination, source)
                found = self.traced(question)
                told = found.verdict == DELIVERED, _is_answered(found)
                did = self._passes(program, here, there, (protocol, source, destination))
                if protocol != UDP:
                    # This model of tracking takes any segment for the first of a connection.
                    told, did = (told[0], True), (did[0], True)
                if told != did:
                    yield f"{question}: told {told}, did {did}: {found.steps}"

    def _passes(
        self, program: Program, here: Port, there: Port, service: Service
    ) -> tuple[bool, bool]:
        """Whether a packet arrives, and what answers it."""
        connections = Connections()
        sent = Frame(parse_mac(here.mac), parse_mac(there.mac), _tuple(here, there, service))
        arrived = self._deliver(program, connections, here, sent)
        if not arrived:
            return False, False
        back = answer(arrived[0].frame, parse_mac(there.mac))
        assert back is not None
        return True, bool(self._deliver(program, connections, there, back))

    def _deliver(
        self, program: Program, connections: Connections, of: Port, frame: Frame
    ) -> list[Delivered]:
        ofport = self.ports.index(of) + 1
        run = Run(program, connections).start({**frame.fields(), oxm.IN_PORT: ofport})
        return [
            Delivered(self.ports[sent.ofport - 1].id, frame_of(sent.packet))
            for sent in run
            if sent.punted is None
        ]


def _is_answered(found: Trace) -> bool:
    steps = (step.reason for step in found.steps)
    return found.verdict == DELIVERED and "answer dropped" not in steps


def _tuple(here: Port, there: Port, service: Service) -> Tuple:
    protocol, *ends = service
    source, destination = (int(ip_address(one.addresses[0])) for one in (here, there))
    return Tuple(4, source, destination, protocol, *ends)


RULES: dict[str, tuple[RuleSet | Rule, ...]] = {
    "connections": (
        rule_set(in_default=Action.DENY),
        rule("in", "allow", protocol=-1, source_groups=("app",)),
        rule("out", "deny", direction="out", ports="81-81"),
    ),
    "packets": (
        rule_set(in_default=Action.DENY, out_default=Action.DENY),
        rule("in", "allow", protocol=-1, stateless=True, source_groups=("app",)),
        rule("out", "allow", direction="out", protocol=-1, stateless=True),
    ),
    "everything": (rule_set(), rule("in", "allow", source_groups=("app",))),
}
UNDER = port("a", 5, rules=("interface * web",), groups=("app",), more=("10.0.1.105",))
PORTS = (port("a", 4, groups=("app",)), UNDER, port("a", 6, groups=("app",)))


def cloud(rules: str, taken: str = "") -> ProgrammedHost:
    """`taken`: a space of numbers that is full."""
    rows = (*red(), *PORTS, *(claim(one, "h1") for one in PORTS), *RULES[rules])
    state = host("h1")
    if taken:
        highest = {
            PROFILE_NUMBERS: HIGHEST_NUMBER,
            FILTER_NUMBERS: HIGHEST_NUMBER,
            ZONES: HIGHEST_ZONE,
        }
        numbers = range(1, highest[taken] + 1) if taken in highest else range(MOST_GROUPS)
        state.remember(json.dumps({taken: {f"taken {n}": n for n in numbers}}))
    learn(state, *rows)
    plug(state, *PORTS)
    return ProgrammedHost(state, PORTS, rows)


def refused(rules: str, unit: str, name: str) -> ProgrammedHost:
    """The switch does not take a flow that a call of a unit gives."""
    found = cloud(rules)
    for key in found.state.engine.rows(Programmed):
        assert isinstance(key, FlowKey)
        giver = found.state.engine.giver(Programmed, key)
        if giver is not None and (giver[0], str(giver[1])) == (unit, name):
            value = found.state.engine.rows(Programmed)[key]
            found.state.refused([(flow(key, value), "BAD")])
            found.state.settle()
            return found
    raise AssertionError(f"{unit} {name} gives nothing")


LISTS = {"connections": "1 {} web", "packets": "plain 1 {} web"}


@pytest.mark.parametrize("rules", ["connections", "packets"])
@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_refused_list_closes_its_direction_alone_and_the_trace_says_so(
    rules: str, direction: str
) -> None:
    found = refused(rules, "rule_flows", LISTS[rules].format(direction))
    assert found.statuses()[UNDER.id].closed == (f"{direction} web",)
    assert list(found.differences()) == []
    into, out = Question(PORTS[0].id, UNDER.id), Question(UNDER.id, PORTS[0].id)
    closed = found.traced(into if direction == "in" else out)
    word = "inbound" if direction == "in" else "outbound"
    assert closed.last.text == (
        f"{word}: web, of its interface, is closed: h1 says: the switch refuses a flow: BAD; until"
        f" then no {word} connection under web passes"
    )
    assert closed.last.reason == "PolicyConfigurationFailure"
    back = found.traced(out if direction == "in" else into)
    assert back.verdict == DELIVERED
    first = next(step for step in back.steps if step.reason)
    assert (first.where, first.passes) == (UNDER.id, True)


@pytest.mark.parametrize("rules", RULES)
def test_without_an_error_they_agree(rules: str) -> None:
    found = cloud(rules)
    assert {status.state for status in found.statuses().values()} == {"up"}
    assert list(found.differences()) == []


@pytest.mark.parametrize("rules", ["connections", "packets"])
@pytest.mark.parametrize(
    ("space", "closed"),
    [
        (PROFILE_NUMBERS, ("address 10.0.1.105", "address 10.0.1.5", "address IPv6")),
        (FILTER_NUMBERS, ("address 10.0.1.105", "address 10.0.1.5", "address IPv6")),
        ("group 1", ("in web",)),
        (ZONES, ("port",)),
    ],
)
def test_a_space_of_numbers_that_is_full_closes_what_the_trace_says(
    rules: str, space: str, closed: tuple[str, ...]
) -> None:
    found = cloud(rules, space)
    assert found.statuses()[UNDER.id].closed == closed
    assert list(found.differences()) == []


def test_groups_of_rules_that_let_everything_pass_anyway_need_no_room() -> None:
    found = cloud("everything", "group 1")
    assert found.statuses()[UNDER.id].state == "up"
    assert list(found.differences()) == []


def test_a_refused_port_is_closed_whole_and_what_else_is_refused_is_named_alone() -> None:
    found = refused("connections", "local_flows", UNDER.id)
    assert found.statuses()[UNDER.id].closed == ("port",)
    assert list(found.differences()) == []
    found = refused("connections", "place", UNDER.id)
    status = found.statuses()[UNDER.id]
    assert (status.state, status.closed) == ("error", ())
    named = [step.text for step in found.traced(Question(UNDER.id, PORTS[0].id)).steps]
    assert "h1 says: the switch refuses a flow: BAD" in named


def test_an_error_of_one_address_leaves_the_other_alone() -> None:
    """Where it has a filter of its own."""
    status = PortStatus(
        port=UNDER.id,
        host="h1",
        segment=UNDER.segment,
        state=PortState.ERROR,
        code="PolicyConfigurationFailure",
        detail="no room; until then nothing passes from or to 10.0.1.105",
        closed=("address 10.0.1.105",),
    )
    found = cloud("everything")
    world = World((*found.rows, status))
    shut, still = (trace(world, Question(PORTS[0].id, f"10.0.1.{n}")) for n in (105, 5))
    assert (shut.last.where, shut.last.reason) == (UNDER.id, "PolicyConfigurationFailure")
    assert still.verdict == DELIVERED
    mended = msgspec.structs.replace(status, state=PortState.UP)
    assert trace(World((*found.rows, mended)), Question(PORTS[0].id, "10.0.1.105")).verdict == (
        DELIVERED
    )
