# SPDX-License-Identifier: Apache-2.0
"""What a host answers is of the shape of its question, or is told as no answer; and people can be
shown either."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.cli import counting, insight, tracing, watching
from isthmus.controller.answers import Found, Verdicts, read_answer, read_told
from isthmus.controller.doctor import Heard, certificates_told, findings
from isthmus.reach.world import World
from tests.reach.cloud import red

PORT = {
    "interface": {"id": "web", "ofport": 3},
    "location": "h1",
    "state": "up",
    "detail": "",
    "flows": [{"stage": "DELIVER", "flow": "x", "packets": 1, "bytes": 2}],
    "missing": ["y"],
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
    "tooSmall": [],
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
            shown = [*insight._host_lines("h1", answer)]
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
