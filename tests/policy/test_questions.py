# SPDX-License-Identifier: Apache-2.0
"""Questions are read as they were written, also by and of the version before."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import Invalid
from isthmus.policy.answers import (
    AliveAnswer,
    CountersAnswer,
    Outcome,
    TraceAnswer,
    read,
    write,
)
from isthmus.policy.questions import (
    Alive,
    AnyQuestion,
    AskPort,
    Counters,
    Health,
    SendProbe,
    TracePacket,
    Watch,
    WatchedVerdict,
    is_unknown,
    parse,
    shape_of,
)
from isthmus.wire.headers import Headers
from tests.names import NAMES

MACS = st.sampled_from(("02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"))
PORTS = st.integers(0, 0xFFFF)
PACKET = Headers(
    source_mac="02:00:00:00:00:01",
    destination_mac="02:00:00:00:00:02",
    source="10.0.0.1",
    destination="10.0.0.2",
    protocol=6,
    source_port=49152,
    destination_port=80,
)
OLDER_FIELDS = {
    **{"eth_src": "02:00:00:00:00:01", "eth_dst": "02:00:00:00:00:02", "tcp": ""},
    **{"nw_src": "10.0.0.1", "nw_dst": "10.0.0.2", "tp_src": "49152", "tp_dst": "80"},
    "nw_ttl": "64",
}
QUESTIONS: st.SearchStrategy[AnyQuestion] = st.one_of(
    st.just(Alive()),
    st.builds(AskPort, port=NAMES),
    st.builds(TracePacket, packet=st.just(PACKET), port=NAMES),
    st.just(Counters()),
    st.builds(
        SendProbe,
        port=NAMES,
        target=st.ip_addresses().map(str),
        next_hop_mac=MACS,
        protocol=st.sampled_from(("icmp", "tcp")),
        destination_port=PORTS,
    ),
    st.builds(
        Health,
        mtu=st.integers(0, 65_000),
        peers=st.tuples(st.ip_addresses(v=4).map(str)),
    ),
    st.builds(
        Watch,
        name=NAMES,
        seconds=st.integers(0, 60),
        port=NAMES,
        verdict=st.sampled_from(WatchedVerdict),
        peers=st.sampled_from(((), ("10.0.0.0/8",), ("fd00::/64",))),
    ),
)


@given(QUESTIONS)
def test_a_question_is_read_as_it_was_written(question: AnyQuestion) -> None:
    assert parse(question.text) == question


def test_each_question_has_an_answer_of_its_own() -> None:
    assert shape_of(Alive()) is AliveAnswer
    assert shape_of(Counters()) is CountersAnswer


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (Alive(), "alive"),
        (AskPort(port="db web"), "port db web"),
        (Counters(), "counters"),
        (Watch(name="w", seconds=30, port="a"), 'watch {"name":"w","seconds":30,"port":"a"}'),
        (
            Health(mtu=1500, peers=("192.0.2.1",)),
            'health {"mtu":1500,"peers":["192.0.2.1"]}',
        ),
    ],
)
def test_the_text_is_the_one_of_the_first_version(question: AnyQuestion, text: str) -> None:
    assert question.text == text


class Older(msgspec.Struct):
    """What agents of the version before read of ``trace``."""

    fields: dict[str, str]
    port: str = ""
    source: str = ""
    vsid: int = 0
    encapsulation: str = ""


def test_agents_of_the_version_before_are_told_of_a_packet_in_their_words() -> None:
    word, _, text = TracePacket(packet=PACKET, port="a").text.partition(" ")
    assert word == "trace"
    assert msgspec.json.decode(text, type=Older) == Older(OLDER_FIELDS, port="a")


def test_controllers_of_the_version_before_are_understood() -> None:
    older = Older(OLDER_FIELDS, source="192.0.2.1", vsid=5001, encapsulation="vxlan")
    found = parse(f"trace {msgspec.json.encode(older).decode()}")
    assert found == TracePacket(packet=PACKET, source="192.0.2.1", vsid=5001, encapsulation="vxlan")


@pytest.mark.parametrize("fields", [OLDER_FIELDS, {**OLDER_FIELDS, "reg0": "0x5", "nw_frag": "no"}])
def test_where_a_packet_leaves_an_agent_of_the_version_before_it_goes_on(
    fields: dict[str, str],
) -> None:
    said: dict[str, Any] = {
        **{"outcome": "tunnel", "stage": "TUNNEL", "decision": "", "port": "", "vsid": 5001},
        **{"peer": "192.0.2.2", "fields": fields, "stages": ["TUNNEL"]},
    }
    answer = read(msgspec.json.encode(said).decode(), TraceAnswer).answer
    assert answer is not None
    assert (answer.outcome, answer.leaving) == (Outcome.TO_TUNNEL, PACKET)
    now = TraceAnswer(**{**_renamed(said), "packet": PACKET, "fields": {}})
    again = read(write(now), TraceAnswer)
    assert again.answer == now
    assert "error" not in again.shown
    assert now.leaving == PACKET


def _renamed(said: dict[str, Any]) -> dict[str, Any]:
    names = {"stage": "place", "stages": "places"}
    return {names.get(name, name): value for name, value in said.items()} | {"places": ("TUNNEL",)}


def test_a_packet_that_is_none_goes_nowhere() -> None:
    said = {
        **{"outcome": "tunnel", "stage": "", "decision": "", "port": "", "vsid": 1, "peer": ""},
        **{"fields": {"arp": "", "nw_src": "nonsense"}, "stages": []},
    }
    answer = read(msgspec.json.encode(said).decode(), TraceAnswer).answer
    assert answer is not None
    assert answer.leaving is None


@pytest.mark.parametrize(
    "text",
    [
        *("trace", "trace {}", 'trace {"fields": {"tcp": ""}}', 'trace {"packet": {}}', "trace []"),
        *("probe {", "health 7", "watch []", 'flows {"name": "w", "seconds": 1, "peers": ["x"]}'),
        TracePacket(packet=PACKET).text.replace('"protocol":6', '"protocol":256'),
    ],
)
def test_a_question_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        parse(text)


@pytest.mark.parametrize("text", ["", "dead", "Alive", "trace2 {}"])
def test_a_word_that_is_not_known_is_told_from_a_question_that_cannot_be_read(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert is_unknown(caught.value.message)
    assert not is_unknown("the question cannot be read")
