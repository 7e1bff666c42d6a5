# SPDX-License-Identifier: Apache-2.0
"""What a host shows while somebody watches: what is dropped and what is allowed, to whom it
concerns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from isthmus.addresses import Mac
from isthmus.agent.decisions import CHANGED, Decision, Noted, decision_of, decisions
from isthmus.agent.host import HostState
from isthmus.agent.watching import (
    LONGEST_S,
    MOST_HELD,
    RATE_PPS,
    TELL_AGAIN_US,
    UNSHOWN_EVERY_S,
    Watches,
)
from isthmus.errors import Invalid
from isthmus.policy.rows import Rule, RuleSet
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.allowed import note
from isthmus.switches.ovs.facts import THIS, Interest, Watching, WatchingAllowed
from isthmus.switches.ovs.pipeline import (
    ALLOWED,
    ALLOWED_METER,
    PASSED,
    SHOWN_DROPS,
    WATCH_METER,
    FlowKey,
    Programmed,
    Stage,
    dropped_by,
    flow,
    unit_of_cookie,
)
from isthmus.switches.ovs.placing import Register
from isthmus.wire import oxm
from isthmus.wire.conversation import Conversation
from isthmus.wire.openflow_packets import PacketIn
from isthmus.wire.openflow_text import flow_text
from isthmus_lab import packets
from tests.agent.test_host import host, plug
from tests.agent.test_refused import SET, WEB, given_by, running
from tests.switches.policy_rows import claim, network_rows, port


def ask(watches: Watches, name: str, seconds: int = 10, port: str = "", now_s: float = 0.0) -> None:
    question = {"name": name, "seconds": seconds, "port": port}
    watches.ask(msgspec.json.encode(question).decode(), now_s)


def test_flows_that_drop_show_what_they_drop_while_somebody_watches_and_are_then_as_before() -> (
    None
):
    state = running()
    before = dict(state.engine.rows(Programmed))
    watches = Watches(state)
    ask(watches, "w")
    state.settle()
    assert state.engine.rows(Watching) == {THIS: Watching(RATE_PPS)}
    assert dict(state.engine.rows(Programmed)) != before
    assert not watches.expire(10.0)
    assert watches.expire(10.1)
    assert not watches.any
    assert not watches.expire(11.0)
    state.settle()
    assert dict(state.engine.rows(Programmed)) == before


def test_a_watch_that_is_asked_for_again_goes_on_and_none_is_longer_than_a_minute() -> None:
    watches = Watches(running())
    ask(watches, "a", 10)
    ask(watches, "a", 10, now_s=8.0)
    ask(watches, "b", 10_000)
    assert not watches.expire(17.0)
    assert not watches.expire(18.5)
    assert watches.any
    assert watches.expire(LONGEST_S + 0.1)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": 1, "seconds": 1}'])
def test_a_question_that_cannot_be_read_is_refused_and_begins_nothing(text: str) -> None:
    watches = Watches(running())
    with pytest.raises(Invalid, match="cannot be read"):
        watches.ask(text, 0.0)
    assert not watches.any


def packet(state: HostState, in_port: int = 1) -> PacketIn:
    """An LLDP frame that the default of web has dropped."""
    default = next(
        one
        for one in given_by(state, "rule_flows")
        if (found := decision_of(one.cookie, state)) is not None and not found.rule
    )
    frame = bytes.fromhex("020000000002020000000001") + b"\x88\xcc"
    return PacketIn(frame, in_port, Stage.IN_INTERFACE, default.cookie, 0, b"", {})


def told(watches: Watches) -> list[tuple[str, str, str]]:
    """Ids of answers, and what their first verdict says of port and decision."""
    found = []
    for answer in watches.answers(0.0):
        first = msgspec.json.decode(answer.result)["verdicts"][0]
        found.append((answer.id, first["port"], first["decision"]))
    return found


def test_each_watch_is_told_of_its_port_once_with_who_decided() -> None:
    state = running()
    watches = Watches(state)
    ask(watches, "all")
    ask(watches, "web", port=WEB.id)
    ask(watches, "other", port="nobody")
    watches.take(packet(state), 7)
    assert told(watches) == [
        ("all.h1.1", WEB.id, "default of web"),
        ("web.h1.1", WEB.id, "default of web"),
    ]
    assert told(watches) == []
    watches.take(packet(state, in_port=99), 8)
    assert told(watches) == [("all.h1.2", "", "default of web")]


def test_what_of_a_watched_port_is_dropped_names_the_flow_that_has_dropped_it() -> None:
    """It is not the one that shows it, where only that port's drops are shown."""
    state = running()
    watches = Watches(state)
    ask(watches, "web", port=WEB.id)
    assert state.engine.rows(Watching) == {THIS: Watching(RATE_PPS, (WEB.id,))}
    ask(watches, "all")
    assert state.engine.rows(Watching) == {THIS: Watching(RATE_PPS)}
    direct = packet(state)
    whose = dropped_by(unit_of_cookie(direct.cookie), Stage.IN_INTERFACE)
    by_port = direct._replace(table=SHOWN_DROPS, cookie=1, fields={oxm.METADATA: whose})
    watches.take(direct, 7)
    watches.take(by_port, 7)
    first, second = verdicts(watches)["web"]
    assert first == second
    assert (first["stage"], first["decision"]) == ("IN_INTERFACE", "default of web")


def test_a_verdict_names_stage_reason_origin_and_packet() -> None:
    state = running()
    watches = Watches(state)
    ask(watches, "w")
    watches.take(packet(state), 7)
    (answer,) = watches.answers(0.0)
    (verdict,) = msgspec.json.decode(answer.result)["verdicts"]
    assert verdict == {
        "atUs": 7,
        "host": "h1",
        "port": WEB.id,
        "stage": "IN_INTERFACE",
        "reason": "an inbound rule of the interface, or its default",
        "decision": "default of web",
        "origin": SET.origin,
        "verdict": "dropped",
        "receiver": "",
        "begins": False,
        "protocol": -1,
        "source": "",
        "destination": "",
        "sourcePort": 0,
        "destinationPort": 0,
        "decisions": [
            {
                "direction": "in",
                "level": "interface",
                "decision": "default of web",
                "origin": SET.origin,
            }
        ],
        "packet": "ethertype 0x88cc 02:00:00:00:00:01 → 02:00:00:00:00:02",
    }


def test_of_a_flood_no_more_is_held_than_there_is_room_for() -> None:
    state = running()
    watches = Watches(state)
    ask(watches, "w")
    for number in range(MOST_HELD + 5):
        watches.take(packet(state), number)
    (answer,) = watches.answers(0.0)
    assert len(msgspec.json.decode(answer.result)["verdicts"]) == MOST_HELD


# -- what is allowed -------------------------------------------------------------------------------

SENDER = msgspec.structs.replace(
    port("red", "a", 7), rule_sets=("interface * out", "subnet * plain")
)
RECEIVER = msgspec.structs.replace(WEB, rule_sets=("interface * web", "subnet * lan"))
PEER = port("red", "b", 9)
OTHER_TENANT = port("blue", "b", 9)
SETS = (
    SET,
    RuleSet(id="out", out_default="deny", in_default="allow"),
    RuleSet(id="lan", in_default="allow", origin="/accessControlLists/lan"),
    RuleSet(id="plain", out_default="deny", in_default="allow"),
)
RULES = tuple(
    Rule(rule_set=name, id=f"{name}{n}", direction=way, priority=n, action=action, **more)
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


def busy() -> HostState:
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
    watches.ask(msgspec.json.encode(question).decode(), now_s)


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


def verdicts(watches: Watches, now_s: float = 0.0) -> dict[str, list[dict[str, object]]]:
    """By watch."""
    return {
        answer.id.partition(".")[0]: msgspec.json.decode(answer.result)["verdicts"]
        for answer in watches.answers(now_s)
    }


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


def _noted(state: HostState) -> Iterator[tuple[Decision, int, int]]:
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
    further = Rule(rule_set="web", id="first", direction="in", priority=0, action="deny")
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
