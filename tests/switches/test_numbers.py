# SPDX-License-Identifier: Apache-2.0
"""The numbers that a host gives: kept over restarts, never two at once, never too early again."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.derive.engine import Engine
from isthmus.host.facts import LocalPort, Problem
from isthmus.policy.rows import RouterPort, Row, Rule, RuleSet
from isthmus.policy.values import Action, Direction, LegKind
from isthmus.switches.ovs.domains import HIGHEST_ZONE, NO_CONNECTIONS, ZONES
from isthmus.switches.ovs.facts import Assigned, Wanted
from isthmus.switches.ovs.filters import FILTER_NUMBERS
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import MOST_GROUPS, Stage
from isthmus.switches.ovs.profiles import HIGHEST_NUMBER, PROFILE_NUMBERS
from tests.names import NAMES
from tests.switches.policy_rows import (
    at,
    claim,
    flow_texts,
    host_rows,
    local,
    network_rows,
    new_engine,
    port,
    put,
)
from tests.texts import applied

KINDS = (PROFILE_NUMBERS, FILTER_NUMBERS, ZONES, "group 1")


def engine_of(numbers: Numbers) -> Engine:
    """One that only says what is wanted, by hand."""
    engine = Engine([], tables=(Wanted, Assigned))
    numbers.load(engine)
    return engine


def want(engine: Engine, kind: str, *names: str, wanted: bool = True) -> None:
    for name in names:
        one = Wanted(kind, name)
        engine.put(Wanted, one, one if wanted else None)


def assigned(engine: Engine, kind: str) -> dict[str, int | None]:
    return {
        str(key.name): value.number
        for key, value in engine.rows(Assigned).items()
        if isinstance(key, Wanted) and key.kind == kind
    }


def test_numbers_begin_where_their_space_does_and_are_given_by_name() -> None:
    engine, numbers = engine_of(Numbers()), Numbers()
    for kind in KINDS:
        want(engine, kind, "b", "a")
    numbers.follow(engine, release=True)
    for kind in KINDS:
        first = 0 if kind == "group 1" else 1
        assert assigned(engine, kind) == {"a": first, "b": first + 1}
    assert numbers.unsaved


def test_a_restart_keeps_every_number_whatever_comes_first() -> None:
    numbers = Numbers()
    engine = engine_of(numbers)
    want(engine, ZONES, "a", "b", "c")
    numbers.follow(engine, release=True)
    want(engine, ZONES, "a", wanted=False)
    numbers.follow(engine, release=True)
    text = numbers.text()
    again = Numbers(text)
    engine = engine_of(again)
    assert assigned(engine, ZONES) == {"b": 2, "c": 3}
    want(engine, ZONES, "c", "new", "b")
    again.follow(engine, release=False)
    assert assigned(engine, ZONES) == {"b": 2, "c": 3, "new": 1}
    assert Numbers(again.text()).text() == again.text()


def test_what_nobody_wants_after_a_restart_goes_only_when_all_is_known() -> None:
    numbers = Numbers(json.dumps({ZONES: {"old": 7, "kept": 8}}))
    engine = engine_of(numbers)
    want(engine, ZONES, "kept")
    numbers.follow(engine, release=False)
    assert assigned(engine, ZONES) == {"old": 7, "kept": 8}
    assert not numbers.unsaved
    numbers.follow(engine, release=True)
    assert assigned(engine, ZONES) == {"kept": 8}
    assert numbers.given_up == [(ZONES, 7)]
    assert numbers.unsaved


def test_a_freed_number_is_given_again_only_after_the_switch_is_programmed_without_it() -> None:
    numbers = Numbers()
    engine = engine_of(numbers)
    want(engine, PROFILE_NUMBERS, "a", "b")
    numbers.follow(engine, release=True)
    want(engine, PROFILE_NUMBERS, "a", wanted=False)
    numbers.follow(engine, release=True)
    want(engine, PROFILE_NUMBERS, "c")
    numbers.follow(engine, release=True)
    assert assigned(engine, PROFILE_NUMBERS) == {"b": 2, "c": 3}
    numbers.programmed()
    assert numbers.given_up == []
    want(engine, PROFILE_NUMBERS, "d")
    numbers.follow(engine, release=True)
    assert assigned(engine, PROFILE_NUMBERS) == {"b": 2, "c": 3, "d": 1}


def test_what_is_wanted_again_before_it_was_given_up_keeps_its_number() -> None:
    numbers = Numbers()
    engine = engine_of(numbers)
    want(engine, ZONES, "a")
    numbers.follow(engine, release=True)
    want(engine, ZONES, "a", wanted=False)
    numbers.follow(engine, release=False)
    want(engine, ZONES, "a")
    numbers.follow(engine, release=True)
    assert assigned(engine, ZONES) == {"a": 1}
    assert numbers.given_up == []


def full(kind: str, *, leave: int = 0) -> Numbers:
    """All numbers of a space but so many are somebody's."""
    first, last = (0, MOST_GROUPS - 1) if kind.startswith("group") else (1, HIGHEST_NUMBER)
    if kind == ZONES:
        last = HIGHEST_ZONE
    taken = {f"taken {n}": n for n in range(first, last + 1 - leave)}
    return Numbers(json.dumps({kind: taken}))


def test_the_zone_in_which_nothing_is_kept_is_nobodys() -> None:
    numbers = full(ZONES, leave=1)
    engine = engine_of(numbers)
    want(engine, ZONES, "last", "none is left")
    numbers.follow(engine, release=False)
    found = assigned(engine, ZONES)
    assert (found["last"], found["none is left"]) == (NO_CONNECTIONS - 1, None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_space_gives_none_and_what_becomes_free_goes_to_who_waits(kind: str) -> None:
    numbers = full(kind, leave=1)
    engine = engine_of(numbers)
    want(engine, kind, "a", "b", "c")
    numbers.follow(engine, release=False)
    found = assigned(engine, kind)
    assert (found["a"] is not None, found["b"], found["c"]) == (True, None, None)
    want(engine, kind, "a", wanted=False)
    numbers.follow(engine, release=True)  # also all that was taken
    assert assigned(engine, kind) == {"b": None, "c": None}
    numbers.programmed()
    numbers.follow(engine, release=True)
    first = 0 if kind == "group 1" else 1
    assert assigned(engine, kind) == {"b": first, "c": first + 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"zone": 1}',
        '{"zone": {"a": "1"}}',
        '{"zone": {"a": 1.5}}',
        '{"zone": {"a": 1, "b": 1}}',
        '{"zone": {"a": 0}}',
        '{"zone": {"a": -4}}',
        '{"zone": {"a": 65536}}',
        '{"zone": {"a": 1000000000000}}',
        '{"zone": {"a": 1}',
        "\x00",
    ],
)
def test_a_text_that_nobody_of_us_wrote_is_a_beginning_from_nothing(text: str) -> None:
    numbers = Numbers(text.replace("zone", ZONES))
    assert numbers.text() == "{}"
    engine = engine_of(numbers)
    want(engine, ZONES, "a")
    numbers.follow(engine, release=True)
    assert assigned(engine, ZONES) == {"a": 1}


def test_of_a_text_the_spaces_that_are_whole_are_kept() -> None:
    numbers = Numbers(json.dumps({ZONES: {"a": 4}, PROFILE_NUMBERS: {"p": 1, "q": 1}}))
    assert json.loads(numbers.text()) == {ZONES: {"a": 4}}


@given(st.text(max_size=40))
def test_no_text_does_any_harm(text: str) -> None:
    Numbers(text)


_steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abcdef") | NAMES, st.booleans()),
        st.sampled_from(("follow", "release", "programmed", "restart")),
    ),
    max_size=40,
)


@given(_steps)
@settings(deadline=None)
def test_no_two_that_are_wanted_or_may_be_in_the_switch_have_one_number(
    steps: list[tuple[str, bool] | str],
) -> None:
    numbers = Numbers()
    engine, wanted = engine_of(numbers), set[str]()
    in_switch: dict[int, str] = {}
    for step in [*steps, "follow"]:
        if isinstance(step, tuple):
            name, is_wanted = step
            (wanted.add if is_wanted else wanted.discard)(name)
            want(engine, ZONES, name, wanted=is_wanted)
        elif step == "restart":
            numbers.follow(engine, release=False)
            numbers = Numbers(numbers.text())
            engine = engine_of(numbers)
            want(engine, ZONES, *wanted)
            # The agent compares the flows of its switch before it says that it has programmed.
            in_switch = {n: name for name, n in assigned(engine, ZONES).items() if n is not None}
        elif step == "programmed":
            numbers.follow(engine, release=False)
            numbers.programmed()
            in_switch = {n: name for name, n in assigned(engine, ZONES).items() if n is not None}
        else:
            numbers.follow(engine, release=step == "release")
        for name, number in assigned(engine, ZONES).items():
            assert number is not None
            assert in_switch.setdefault(number, name) == name


# -- in the program of a host --------------------------------------------------------------------

WEB = msgspec.structs.replace(port("red", "a", 4), rule_sets=applied("interface * web"))


def rules_of(name: str = "web", *groups: str) -> list[Row]:
    rule = Rule(
        rule_set=name,
        id="r",
        direction=Direction.IN,
        priority=100,
        action=Action.DENY,
        protocol=6,
        source_groups=groups,
    )
    return [RuleSet(id=name), rule]


def host_with(numbers: Numbers, *rows: Row | LocalPort) -> Engine:
    engine = new_engine()
    numbers.load(engine)
    put(engine, *host_rows(), *network_rows("red"), WEB, claim(WEB, "h1"), local(WEB, 3), *rows)
    numbers.follow(engine, release=False)
    assert not engine.failures
    return engine


def problems(engine: Engine) -> dict[str, str]:
    return {problem.port: problem.detail for problem in engine.rows(Problem).values()}


def lets_pass(engine: Engine) -> bool:
    """Whether a frame of the port's can leave ADMISSION, or one to it RECEIVER."""
    into = [
        text for text in flow_texts(engine) if at(Stage.ADMISSION) in text and "in_port=3" in text
    ]
    out = [text for text in flow_texts(engine) if at(Stage.RECEIVER) in text and "OUT=0x3" in text]
    return any("goto_table" in text for text in (*into, *out) if "arp" not in text)


def into(engine: Engine) -> list[str]:
    """What lets something through RECEIVER to the port."""
    texts = (text for text in flow_texts(engine) if at(Stage.RECEIVER) in text)
    return [text for text in texts if "OUT=0x3" in text and "goto" in text]


def test_with_room_the_port_works() -> None:
    engine = host_with(Numbers(), *rules_of())
    assert problems(engine) == {}
    assert lets_pass(engine)


@pytest.mark.parametrize(
    ("kind", "what", "what_for"),
    [
        (PROFILE_NUMBERS, "lists", "direction of what applies to an interface or a subnet"),
        (FILTER_NUMBERS, "combinations of lists", "that applies to an address and its subnet"),
    ],
)
def test_a_port_whose_rules_find_no_number_says_so_and_lets_nothing_pass(
    kind: str, what: str, what_for: str
) -> None:
    engine = host_with(full(kind), *rules_of())
    assert {problem.detail for problem in engine.rows(Problem).values()} == {
        f"this host holds 65534 {what} of rules, one for each {what_for}: let more of them share"
        f" their access control lists, or move ports to other hosts; until then nothing passes {e}"
        for e in ("from or to 10.0.1.4", "by IPv6")
    }
    assert into(engine) == []
    assert into(host_with(Numbers(), *rules_of())) != []


def test_one_group_too_many_closes_the_list_that_speaks_of_it() -> None:
    engine = host_with(full("group 1"), *rules_of("web", "app"))
    assert problems(engine)[WEB.id] == (
        "its rules speak of app, one group more than the 128 of red that rules on one host can"
        " speak of, each once as a source and once as a destination, and once more for stateless"
        " rules: let rules name fewer groups, or prefixes, or move ports to other hosts; until then"
        " no inbound connection under web passes"
    )


def test_a_network_without_a_zone_says_so_on_its_ports() -> None:
    engine = host_with(full(ZONES), *rules_of())
    assert problems(engine)[WEB.id] == (f"{no_zone('red')}; until then nothing passes")
    assert not lets_pass(engine)


def no_zone(wanting: str) -> str:
    return (
        f"no connection tracking zone is left for {wanting}: this host holds 65534, one for each"
        " network that its ports are in or can reach, and one for each two of these that are"
        " peered: move the ports of some networks to other hosts"
    )


def test_two_peered_networks_without_a_zone_say_so_on_the_ports_of_both() -> None:
    """Within each of them all is as it was."""
    other = port("blue", "b", 5)
    legs = (
        RouterPort(router="red", segment="blue/b", addresses=("10.9.2.1/24",), kind=LegKind.PEER),
        RouterPort(router="blue", segment="red/a", addresses=("10.8.1.1/24",), kind=LegKind.PEER),
    )
    rows: list[Row | LocalPort] = [
        *network_rows("blue"),
        other,
        claim(other, "h1"),
        local(other, 4),
        *legs,
    ]
    engine = host_with(full(ZONES, leave=2), *rules_of(), *rows)
    found = {one.port: one for one in engine.rows(Problem).values()}
    assert {name: (one.detail, one.closes) for name, one in found.items()} == {
        name: (f"{no_zone(pair)}; until then nothing passes between these", f"domain {peer}")
        for name, pair, peer in ((WEB.id, "red and blue", 2), (other.id, "blue and red", 1))
    }
    assert lets_pass(engine)
    with_room = host_with(full(ZONES, leave=3), *rules_of(), *rows)
    assert problems(with_room) == {}
    routes = [
        [text for text in flow_texts(one) if text.startswith(at(Stage.ROUTE))]
        for one in (with_room, engine)
    ]
    assert len(routes[0]) - len(routes[1]) == 2
