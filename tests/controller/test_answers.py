# SPDX-License-Identifier: Apache-2.0
"""What a host answers is of the shape of its question, or is told as no answer; and people can be
shown either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.cli import counting, status, tracing, watching
from isthmus.controller.answers import Found, Verdicts, read_answer, read_told
from isthmus.controller.doctor import Heard, certificates_told, findings
from isthmus.reach.world import World
from tests.reach.cloud import red

PORT: dict[str, Any] = {
    "interface": {"id": "web", "ofport": 3},
    "location": "h1",
    "state": "up",
    "detail": "",
    "flows": [{"stage": "DELIVER", "flow": "x", "packets": 1, "bytes": 2}],
    "missing": ["y"],
    "problems": ["tap0 names it too: take one away"],
}
TRACE = {
    "outcome": "port",
    "stage": "DELIVER",
    "decision": "",
    "port": "web",
    "peer": "",
    "vsid": 7,
    "fields": {"nw_src": "10.0.0.1"},
    "stages": ["CLASSIFY", "DELIVER"],
}
COUNTERS = {
    "rules": [
        {
            **{name: "x" for name in ("rule_set", "rule", "direction", "level", "action")},
            **{"origin": "", "packets": 1, "bytes": 2},
        }
    ],
    "dropped": {"DELIVER": 1},
    "blocked": {"web": 2},
}
PROBE = {"answered": True, "milliseconds": 0.4}
HEALTH = {
    "timeUs": 1_700_000_000_000_000,
    "mtu": 1500,
    "interface": "eth0",
    "unreachable": [],
    "tooSmall": ["192.0.2.2"],
    "unknown": ["192.0.2.3"],
    "unpinged": ["192.0.2.3"],
    "seenAs": {"192.0.2.2": "192.0.2.9"},
    "certificate": {"name": "h1", "expiresS": 1_900_000_000, "signedBy": "x", "trusts": ["x"]},
}
VERDICT = {
    "atUs": 1_700_000_000_000_000,
    **{name: "x" for name in ("host", "port", "stage", "reason", "decision", "origin", "packet")},
}
ALLOWED = {
    **VERDICT,
    "verdict": "allowed",
    "receiver": "x",
    "begins": True,
    "protocol": 6,
    "decisions": [{name: "x" for name in ("direction", "level", "decision", "origin")}],
}
FLOW = {"stage": "DELIVER", "flow": "x", "packets": 1, "bytes": 2}
WRONG_PEERS: list[Any] = [
    *(7, "abc", None, {}, [7], [None], ["p1"], ["192.0.2.1\x1b[2J"], ["192.0.2.1" + "1" * 5000]),
    *(["::1"], ["192.0.2.1 "], [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(10_001)]),
]
WRONG_SEEN: list[Any] = [
    *(7, [], {"h2": {"a": [1]}}, {"h2": "192.0.2.1"}, {"192.0.2.1": "x"}, {"192.0.2.1": 7}),
]
WRONG_TEXTS: list[Any] = [7, "abc", None, [7], [None], ["x"] * 100_001]
SOUND: dict[str, dict[str, Any]] = {
    "port x": PORT,
    "trace {}": TRACE,
    "counters": COUNTERS,
    "probe {}": PROBE,
    "health {}": HEALTH,
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("question", SOUND)
def test_a_sound_answer_is_taken_as_it_is_with_what_a_newer_host_adds(question: str) -> None:
    answer = {**SOUND[question], "newer": {"than": "we"}}
    assert read_answer(question, msgspec.json.encode(answer).decode()) == answer
    assert read_answer(question, '{"error": "busy"}') == {"error": "busy"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "null", '"x"', '{"error": 7}', "[" * 100_000, '{"a":' * 5000]
)
@pytest.mark.parametrize("question", SOUND)
def test_what_is_no_answer_is_told_as_none(question: str, text: str) -> None:
    assert "cannot be read" in str(read_answer(question, text)["error"])


ESCAPE = "\x1b[2J\x1b]0;x\x07\r\u202e"
PEERS = "unreachable", "tooSmall", "unknown", "unpinged"


@pytest.mark.parametrize(
    ("question", "change"),
    [
        *(("health {}", {name: wrong}) for name in PEERS for wrong in WRONG_PEERS),
        *(("health {}", {"seenAs": wrong}) for wrong in WRONG_SEEN),
        *(("port x", {name: wrong}) for name in ("problems", "missing") for wrong in WRONG_TEXTS),
        ("port x", {"flows": PORT["flows"] * 100_001}),
        ("port x", {"flows": [{**FLOW, "packets": -1}]}),
        ("port x", {"flows": [{**FLOW, "bytes": 1 << 64}]}),
        ("port x", {"interface": {"id": "web", "ofport": 1 << 32}}),
        ("trace {}", {"stages": ["x"] * 10_001}),
        ("trace {}", {"vsid": -1}),
        ("counters", {"dropped": {"DELIVER": -1}}),
        ("counters", {"dropped": {str(number): 1 for number in range(100_001)}}),
        ("probe {}", {"milliseconds": -1.0}),
        ("health {}", {"certificate": {"trusts": ["x"] * 1001}}),
        ("health {}", {"newer": "x" * (1 << 24)}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_an_answer_beyond_its_bounds_is_none(question: str, change: dict[str, Any]) -> None:
    text = msgspec.json.encode({**SOUND[question], **change}).decode()
    assert "cannot be read" in str(read_answer(question, text)["error"])


def texts(value: object) -> Iterator[str]:
    """All that are in an answer, names of fields too."""
    match value:
        case str():
            yield value
        case dict():
            for name, one in value.items():
                yield from (*texts(name), *texts(one))
        case list() | tuple():
            for one in value:
                yield from texts(one)


@pytest.mark.parametrize(
    ("question", "change"),
    [
        ("health {}", {"interface": ESCAPE * 3000}),
        ("health {}", {"certificate": {"error": ESCAPE, "name": ESCAPE, "trusts": [ESCAPE]}}),
        ("health {}", {"newer": {ESCAPE: [ESCAPE, {"x": ESCAPE}]}}),
        ("health {}", {"error": ESCAPE * 3000}),
        ("port x", {"detail": ESCAPE, "problems": [ESCAPE], "missing": [ESCAPE]}),
        ("counters", {"blocked": {ESCAPE: 1}}),
        ("anything", {"told": ESCAPE}),
    ],
)
def test_no_text_of_an_answer_moves_a_cursor_or_is_without_end(
    question: str, change: dict[str, Any]
) -> None:
    text = msgspec.json.encode({**SOUND.get(question, {}), **change}).decode()
    found = list(texts(read_answer(question, text)))
    assert any("\N{REPLACEMENT CHARACTER}" in one for one in found)
    assert all(one.isprintable() and len(one) <= 4000 for one in found)
    told = list(texts(read_told(text, None)))
    assert all(one.isprintable() and len(one) <= 4000 for one in told)


def spoiled(sound: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A sound answer, some of whose fields are anything or missing."""
    return st.fixed_dictionaries(
        {}, optional={name: st.just(value) | JSON for name, value in sound.items()}
    )


@given(st.data())
def test_whatever_a_host_answers_can_be_shown(data: st.DataObject) -> None:
    question = data.draw(st.sampled_from(sorted(SOUND)))
    said = data.draw(JSON | spoiled(SOUND[question]))
    answer = read_answer(question, msgspec.json.encode(said).decode())
    match question.partition(" ")[0]:
        case "port":
            shown = [*status._host_lines("h1", answer)]
        case "trace":
            passages = [{**answer, "host": "h1"}]
            shown = [*tracing._switches({"passages": passages, "verdict": "", "reason": ""})]
        case "counters":
            told = {"hosts": [{**answer, "host": "h1"}]}
            shown = [
                text for key in (*counting._sums(told), *counting._places(told)) for text in key
            ]
        case "health":
            world = World([*red()])
            heard = {"h1": Heard(answer, 0.0, 1.0)}
            found = findings(world, heard, 1.0, 1500, silent={})
            shown = [one.finding for one in found]
            msgspec.json.encode(certificates_told(world, heard))
        case _:
            shown = []
    assert all(isinstance(line, str) for line in shown)
    assert all(one.isprintable() for one in texts(answer))


@given(
    JSON
    | st.fixed_dictionaries({"verdicts": st.lists(spoiled(VERDICT) | spoiled(ALLOWED), max_size=3)})
)
def test_whatever_a_host_tells_of_flows_can_be_shown(said: object) -> None:
    told = read_told(msgspec.json.encode(said).decode(), Verdicts)
    verdicts = told.get("verdicts", ())
    assert isinstance(verdicts, list | tuple)
    if not told.get("error"):
        assert all(watching._cells({"verdict": "dropped", **verdict}) for verdict in verdicts)


@given(JSON | spoiled({"asked": {}, "atS": 1, "status": "Success"}))
def test_a_result_of_a_check_has_its_time_or_is_none(said: object) -> None:
    told = read_told(msgspec.json.encode(said).decode(), Found)
    assert told.get("error") or isinstance(told["atS"], int)
