# SPDX-License-Identifier: Apache-2.0
"""What a host says is wrong with itself is read as it was meant, whatever names are in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy.host_problems import HostProblem, read, shown
from isthmus.policy.observed import believable
from isthmus.policy.rows import Heartbeat

TEXT = st.text(st.characters().filter(str.isprintable), min_size=1, max_size=200)
NAMES = st.text(max_size=50) | st.sampled_from(
    ["a b", "x]", "; repair: ", "[code name]", "ünï\ncode"]
)


@given(TEXT.filter(lambda text: "; repair: " not in text), TEXT, NAMES)
def test_a_sentence_has_its_parts(finding: str, repair: str, about: str) -> None:
    problem = HostProblem("some-code", about, finding, repair)
    again = read(problem.text)
    assert (again.code, again.about) == (problem.code, problem.about)
    assert f"{again.finding}; repair: {again.repair}" == f"{finding}; repair: {repair}"


def test_names_of_any_kind_come_through() -> None:
    for about in ("", "h1", "a b", "wbe'x"):
        problem = HostProblem("interface-no-port", about, f"it names {about!r}", "mend it")
        assert read(problem.text) == problem


def test_a_sentence_of_another_form_is_a_problem_too() -> None:
    for sentence in ("no bridge", 'a; repair: b [c "\\q"]', "", 'a; repair: b [c "\n"]'):
        assert read(sentence) == HostProblem("host-problem", "", sentence, "")


def test_of_a_dead_peer_it_is_not_said_that_its_tunnel_is_broken() -> None:
    broken = HostProblem("unreachable-tunnel", "h2", "nothing comes back from h2", "look")
    assert shown([broken.text, "no bridge"], frozenset({"h2"})) == [broken, read("no bridge")]
    assert shown([broken.text, "no bridge"], frozenset({"h1"})) == [read("no bridge")]


def test_whatever_a_name_holds_the_sentence_keeps_its_parts_and_is_believed_whole() -> None:
    for name in ("x" * 5_000, '"' * 300, "a\nb\x1b[2J", "\\" * 128, "💯" * 2_000):
        problem = HostProblem(
            *("interface-no-port", name),
            f"interface tap0 names {name}",
            f"name another than {name}",
        )
        beat = believable(Heartbeat(host="h1", problems=(problem.text,)))
        assert beat is not None
        (sentence,) = beat.problems
        assert sentence == problem.text
        found = read(sentence)
        assert found.code == problem.code
        assert found.finding.startswith("interface tap0 names ")
        assert found.repair.startswith("name another than ")
        assert problem.shown.isprintable()
