# SPDX-License-Identifier: Apache-2.0
"""What a host shows of what it allows while somebody watches, and to whom it concerns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from isthmus.addresses import Mac
from isthmus.agent.ovs.decisions import decisions
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.noted import CHANGED, Noted
from isthmus.agent.ovs.watching import (
    MOST_HELD,
    RATE_PPS,
    TELL_AGAIN_US,
    UNSHOWN_EVERY_S,
    Watches,
)
from isthmus.errors import Invalid
from isthmus.host.facts import THIS
from isthmus.policy.rows import Rule, RuleSet
from isthmus.policy.values import Action, Direction
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.allowed import note
from isthmus.switches.ovs.facts import Interest, Watching, WatchingAllowed
from isthmus.switches.ovs.feature import Decision
from isthmus.switches.ovs.pipeline import (
    ALLOWED,
    ALLOWED_METER,
    PASSED,
    WATCH_METER,
    FlowKey,
    Programmed,
    Stage,
    flow,
    unit_of_cookie,
)
from isthmus.switches.ovs.placing import Register
from isthmus.wire import oxm
from isthmus.wire.conversation import Conversation
from isthmus.wire.openflow_packets import PacketIn
from isthmus.wire.openflow_text import flow_text
from isthmus_lab import packets
from tests.agent.ovs.hosts import host, plug
from tests.agent.ovs.test_refused import SET, WEB, running
from tests.agent.ovs.test_watching import ask, packet, read, told, verdicts
from tests.switches.policy_rows import claim, network_rows, port
from tests.texts import applied, as_stored

SENDER = msgspec.structs.replace(
    port("red", "a", 7), rule_sets=applied("interface * out", "subnet * plain")
)
RECEIVER = msgspec.structs.replace(WEB, rule_sets=applied("interface * web", "subnet * lan"))
PEER = port("red", "b", 9)
OTHER_TENANT = port("blue", "b", 9)
SETS = (
    SET,
    RuleSet(id="out", out_default=Action.DENY, in_default=Action.ALLOW),
    RuleSet(id="lan", in_default=Action.ALLOW, origin="/accessControlLists/lan"),
    RuleSet(id="plain", out_default=Action.DENY, in_default=Action.ALLOW),
)
RULES = tuple(
    as_stored(
        Rule, rule_set=name, id=f"{name}{n}", direction=way, priority=n, action=action, **more
    )
    for name, way, n, action, more in (
        ("web", "in", 1, "deny", {"protocol": 6, "destination_ports": "22-22"}),
        ("web", "in", 2, "allow", {"protocol": 6, "destination_ports": "443-443"}),
        ("web", "in", 3, "allow", {"protocol": 17}),
        ("lan", "in", 1, "deny", {"protocol": 6, "destination_ports": "25-25"}),
        ("out", "out", 1, "allow", {"protocol": 6}),
        ("plain", "out", 1, "allow", {"protocol": 6, "stateless": True}),
        ("plain", "out", 2, "allow", {"protocol": 17}),
    )
)
BY_ID = {rule.id: rule for rule in RULES}
HERE = SENDER.addresses[0], RECEIVER.addresses[0]


def busy() -> OvsHost:
    """SENDER at OpenFlow port 1, RECEIVER at 2, PEER on another host."""
    rows = (SENDER, RECEIVER, PEER, claim(PEER, "h2"), *SETS, *RULES)
    state = host("h1", *network_rows("red"), *network_rows("blue"), *rows)
    plug(state, SENDER, RECEIVER)
    state.settle(whole=True)
    state.changes()
    return state


def ask_flows(
    watches: Watches, name: str = "w", verdict: str = "allowed", now_s: float = 0.0, **more: Any
) -> None:
    question = {"name": name, "seconds": 10, "verdict": verdict, **more}
    watches.ask(read(msgspec.json.encode(question).decode()), now_s)


def shown(
    ends: tuple[str, str] = HERE,
    *,
    in_port: int = 1,
    out: int = 2,
    notes: tuple[int, int, int, int] = (0, 0, 0, 0),
    ports: tuple[int, int] = (49152, 443),
    userdata: bytes = ALLOWED,
    domain: int = 1,
) -> PacketIn:
    frame = packets.ethernet(MAC, MAC, packets.tcp(*ends, ports, b""))
    fields = {
        **carrying((reg.OUT, out), (reg.DOMAIN, domain)),
        oxm.METADATA: sum(one << 16 * number for number, one in enumerate(notes)),
    }
    return PacketIn(frame, in_port, Stage.COMMIT, 0, 1, userdata, fields)


def carrying(*values: tuple[Register, int]) -> dict[oxm.Field, int]:
    """The registers of a packet."""
    fields: dict[oxm.Field, int] = {}
    for register, value in values:
        fields[register.field] = fields.get(register.field, 0) | value << register.first_bit
    return fields


MAC = Mac(0x020000000001)


@pytest.mark.parametrize("verdict", ["allowed", "dropped", "all"])
def test_while_somebody_watches_flows_show_that_and_no_more_and_are_then_as_before(
    verdict: str,
) -> None:
    state = busy()
    before = dict(state.engine.rows(Programmed))
    watches = Watches(state)
    ask_flows(watches, verdict=verdict)
    assert watches.must_program
    state.settle()
    watched = dict(state.engine.rows(Programmed))
    assert watched != before
    assert dict(state.engine.rows(Watching)) == (
        {} if verdict == "allowed" else {THIS: Watching(RATE_PPS)}
    )
    every = WatchingAllowed(RATE_PPS, (Interest("", ""),))
    assert dict(state.engine.rows(WatchingAllowed)) == (
        {} if verdict == "dropped" else {THIS: every}
    )
    assert watches.expire(10.1)
    state.settle()
    assert dict(state.engine.rows(Programmed)) == before


def test_who_watches_allowed_and_who_watches_drops_each_get_theirs() -> None:
    state = busy()
    watches = Watches(state)
    ask_flows(watches, "a", "allowed")
    ask_flows(watches, "d", "dropped", now_s=5.0)
    ask_flows(watches, "b", "all", now_s=9.0)
    watches.take(shown(), 7)
    watches.take(shown(userdata=b"\x04"), 8)
    found = verdicts(watches)
    assert {name: [one["verdict"] for one in told] for name, told in found.items()} == {
        "a": ["allowed"],
        "d": ["dropped"],
        "b": ["allowed", "dropped"],
    }
    assert not watches.expire(10.5)  # "b" looks at the same
    assert watches.expire(19.5)
    assert not watches.any


def test_each_allowing_flow_notes_which_rule_it_is() -> None:
    """What is noted is read as the rule that the flow's own cookie names."""
    state = busy()
    watches = Watches(state)
    ask_flows(watches)
    state.settle()
    lists = {
        ("out", "interface"): "out",
        ("out", "subnet"): "plain",
        ("in", "subnet"): "lan",
        ("in", "interface"): "web",
    }
    ends = Conversation(ip_address(HERE[0]), ip_address(HERE[1]), 6)
    seen = set()
    for decision, noted, first_bit in _noted(state):
        if lists[decision.direction, decision.level] == decision.rule_set:
            found = Noted(state).allowing(noted << first_bit, SENDER, RECEIVER, ends)
            assert found == [decision]
            seen.add(decision.text)
    assert seen == {"web/web2", "web/web3", "out/out1", "plain/plain1", "plain/plain2"} | {
        "default of lan"
    }


_NOTE = re.compile(r"load:(0x[0-9a-f]+)->OXM_OF_METADATA\[(\d+)\.\.(\d+)\]")


def _noted(state: OvsHost) -> Iterator[tuple[Decision, int, int]]:
    """Of each allowing flow its rule, what it notes, and from which bit on."""
    known = decisions(state)
    for key, value in state.engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        decision, text = known.get(unit_of_cookie(value.cookie)), flow_text(flow(key, value))
        found = _NOTE.search(text)
        if decision is None:
            continue
        assert (found is not None) == ("goto_table" in text), text
        if found is not None:
            assert int(found[3]) == int(found[2]) + 15
            yield decision, int(found[1], 16), int(found[2])


def test_an_allowed_connection_is_told_with_what_allowed_it_at_each_level() -> None:
    state = busy()
    watches = Watches(state)
    ask_flows(watches)
    out, plain, web = (note((), BY_ID[name]) for name in ("out1", "plain1", "web2"))
    watches.take(shown(notes=(out, plain, note(("lan",)), web)), 7)
    ((told,),) = verdicts(watches).values()
    assert told == {
        "verdict": "allowed",
        "atUs": 7,
        "host": "h1",
        "port": SENDER.id,
        "receiver": RECEIVER.id,
        "stage": "",
        "reason": "",
        "decision": "out/out1, plain/plain1, default of lan, web/web2",
        "origin": "",
        "packet": f"tcp {HERE[0]}:49152 → {HERE[1]}:443",
        "begins": True,
        "protocol": 6,
        "source": HERE[0],
        "destination": HERE[1],
        "sourcePort": 49152,
        "destinationPort": 443,
        "decisions": [
            decision("out", "interface", "out/out1"),
            decision("out", "subnet", "plain/plain1"),
            decision("in", "subnet", "default of lan", "/accessControlLists/lan"),
            decision("in", "interface", "web/web2"),
        ],
    }


def decision(direction: str, level: str, text: str, origin: str = "") -> dict[str, str]:
    return {"direction": direction, "level": level, "decision": text, "origin": origin}


def test_what_no_rule_holds_for_and_what_nobody_follows_is_told_as_that() -> None:
    state = busy()
    watches = Watches(state)
    ask_flows(watches)
    watches.take(shown(userdata=PASSED, in_port=99), 7)
    ((told,),) = verdicts(watches).values()
    named = ("verdict", "port", "begins", "decision", "decisions")
    assert [told[name] for name in named] == ["allowed", RECEIVER.id, False, "", []]


@pytest.mark.parametrize(
    "build",
    [
        lambda one, other: packets.udp(
            one, other, (53, 4000) if one == HERE[0] else (4000, 53), b""
        ),
        lambda one, other: packets.icmp(one, other, 0 if one == HERE[0] else 8, 0, b"\0\7\0\1"),
        lambda one, other: packets.ip(one, other, 47, b"\0\0\x08\0"),
    ],
    ids=["udp", "icmp", "gre"],
)
def test_what_may_open_nothing_is_told_as_dropped_when_it_is_no_answer_either(
    build: Callable[[str, str], bytes],
) -> None:
    """It is looked at as an answer then, with its ends exchanged, and may arrive; told is what was
    sent, once."""
    state = running()
    watches = Watches(state)
    ask(watches, "w")
    dropped = packet(state)
    sent, answer = (
        dropped._replace(
            packet=packets.ethernet(MAC, MAC, build(*ends)),
            fields=carrying((reg.SENDER, 7), (flag, 1)),
        )
        for ends, flag in ((HERE, reg.ASKED), ((HERE[1], HERE[0]), reg.TURNED))
    )
    watches.take(sent, 7)
    assert told(watches) == []  # so far it may arrive
    watches.take(answer._replace(in_port=99), 8)  # another port's
    assert told(watches) == []
    watches.take(answer, 8)
    (found,) = verdicts(watches)["w"]
    assert (found["atUs"], found["source"], found["destination"]) == (7, *HERE)
    watches.take(answer, 9)
    assert told(watches) == []


def test_of_a_rule_that_has_gone_since_it_is_said_that_it_has_changed() -> None:
    """Its note may be another rule's, but never that of one which denies."""
    state = busy()
    watches = Watches(state)
    ask_flows(watches)
    gone, denies = note(("web",)), note((), BY_ID["web1"])
    watches.take(shown(notes=(gone, 0, note(("lan",)), denies)), 7)
    ((told,),) = verdicts(watches).values()
    assert told["decisions"] == [
        decision("out", "interface", CHANGED),
        decision("in", "subnet", "default of lan", "/accessControlLists/lan"),
        decision("in", "interface", CHANGED),
    ]


def test_what_a_flow_has_noted_is_the_same_rule_in_a_list_that_has_changed_since() -> None:
    """The packet was sent up before the switch got the new list, or is told after it."""
    state = busy()
    watches = Watches(state)
    ask_flows(watches)
    state.settle()
    noted = {
        known.text: its for known, its, _ in _noted(state) if known.text in ("web/web2", "web/web3")
    }
    further = Rule(
        rule_set="web", id="first", direction=Direction.IN, priority=0, action=Action.DENY
    )
    state.engine.put(Rule, further.key, further)
    state.settle()
    for number, name in enumerate(noted):
        watches.take(shown(notes=(0, 0, 0, noted[name]), ports=(number, 1)), 7)
    ((*told,),) = verdicts(watches).values()
    assert [one["decision"] for one in told] == list(noted) == ["web/web2", "web/web3"]


def test_the_same_conversation_is_told_again_only_after_a_while() -> None:
    state = busy()
    watches = Watches(state)
    ask_flows(watches)
    for at_us in (0, 5, TELL_AGAIN_US - 1, TELL_AGAIN_US, TELL_AGAIN_US + 1):
        watches.take(shown(), at_us)
        watches.take(shown(userdata=b"\x04"), at_us)  # each drop is, to who looks at drops
    watches.take(shown(ports=(49153, 443)), 9)
    ((*told,),) = verdicts(watches).values()
    assert [one["atUs"] for one in told] == [0, TELL_AGAIN_US, 9]


def test_each_watch_is_told_of_a_conversation_whoever_was_told_before() -> None:
    watches = Watches(busy())
    ask_flows(watches, "first")
    watches.take(shown(), 0)
    ask_flows(watches, "other", port=PEER.id)
    ask_flows(watches, "second", port=SENDER.id)
    watches.take(shown(), 1)
    found = {name: [one["atUs"] for one in told] for name, told in verdicts(watches).items()}
    assert found == {"first": [0], "second": [1]}


def test_what_does_not_concern_a_watch_takes_no_room_of_it() -> None:
    watches = Watches(busy())
    ask_flows(watches, "w", "dropped", port=RECEIVER.id)
    other = shown(userdata=b"\x04", out=0)
    for number in range(MOST_HELD + 5):
        watches.take(other, number)
    watches.take(shown(userdata=b"\x04"), 9)
    (answer,) = watches.answers(UNSHOWN_EVERY_S)
    found = msgspec.json.decode(answer.result)
    assert ([one["atUs"] for one in found["verdicts"]], found["unshown"]) == ([9], 0)


def test_a_watch_that_is_ended_is_told_nothing_more() -> None:
    """Nobody would take it out of the store."""
    watches = Watches(busy())
    ask_flows(watches)
    watches.must_program = False
    watches.take(shown(), 7)
    watches.note_metered({ALLOWED_METER: 30})
    ask_flows(watches, seconds=0)
    assert list(watches.answers(UNSHOWN_EVERY_S)) == []
    assert not watches.any
    assert watches.must_program


@pytest.mark.parametrize(
    ("question", "packet_in", "is_told"),
    [
        ({"port": SENDER.id}, shown(), True),
        ({"port": RECEIVER.id}, shown(), True),
        ({"port": PEER.id}, shown(), False),
        ({"peers": [f"{HERE[0]}/32"]}, shown(), True),
        ({"peers": ["10.0.1.0/24"]}, shown(), True),
        ({"peers": ["10.0.2.0/24"]}, shown(), False),
        ({"peers": ["10.0.2.0/24", f"{HERE[1]}/32"]}, shown(), True),
        ({"port": SENDER.id, "peers": [f"{HERE[1]}/32"]}, shown(), True),
        ({"port": RECEIVER.id, "peers": [f"{HERE[0]}/32"]}, shown(), True),
        # The peer is the other end, not the port's own.
        ({"port": SENDER.id, "peers": [f"{HERE[0]}/32"]}, shown(), False),
        ({"peers": ["10.0.2.9/32"], "peer": PEER.id}, shown((HERE[0], "10.0.2.9"), out=0), True),
        # Another tenant has the same address.
        (
            {"peers": ["10.0.2.9/32"], "peer": PEER.id},
            shown((HERE[0], "10.0.2.9"), out=0, domain=2),
            False,
        ),
        ({"peers": ["10.0.2.9/32"], "peer": "gone"}, shown((HERE[0], "10.0.2.9"), out=0), False),
    ],
)
@pytest.mark.parametrize("userdata", [ALLOWED, b"\x04"])
def test_a_watch_is_told_of_its_port_and_peer(
    question: dict[str, Any], packet_in: PacketIn, is_told: bool, userdata: bytes
) -> None:
    watches = Watches(busy())
    ask_flows(watches, verdict="all", **question)
    watches.take(packet_in._replace(userdata=userdata), 7)
    assert bool(verdicts(watches)) == is_told


def test_how_much_is_not_shown_is_told() -> None:
    state = busy()
    watches = Watches(state)
    ask_flows(watches, "a", "allowed")
    ask_flows(watches, "d", "dropped")
    watches.note_metered({ALLOWED_METER: 30, WATCH_METER: 2})
    watches.note_metered({ALLOWED_METER: 40, WATCH_METER: 2})
    watches.note_metered({ALLOWED_METER: 5})  # made anew
    for number in range(MOST_HELD + 3):
        watches.take(shown(ports=(number, 1)), number)

    def unshown(now_s: float) -> dict[str, int]:
        return {
            answer.id.partition(".")[0]: msgspec.json.decode(answer.result)["unshown"]
            for answer in watches.answers(now_s)
        }

    assert unshown(0.1) == {"a": 0}  # the verdicts; how many more, only now and then
    assert unshown(UNSHOWN_EVERY_S) == {"a": 48, "d": 2}
    assert unshown(UNSHOWN_EVERY_S * 2) == {}
    # Who comes later is told of what was not shown since then.
    ask_flows(watches, "later", "all")
    watches.note_metered({ALLOWED_METER: 6})
    assert unshown(UNSHOWN_EVERY_S * 3) == {"a": 1, "later": 1}


@pytest.mark.parametrize("more", [{"verdict": "passed"}, {"peers": ["nobody"]}])
def test_a_question_of_other_words_is_refused(more: dict[str, Any]) -> None:
    watches = Watches(busy())
    with pytest.raises(Invalid, match="cannot be read"):
        ask_flows(watches, **{"verdict": "all", **more})
    assert not watches.any
