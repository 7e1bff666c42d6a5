# SPDX-License-Identifier: Apache-2.0
"""The engine's promises, on a small derivation with every kind of dependency."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.derive.engine import Change, Engine, Index, Item, Read, unit


class Town(NamedTuple):
    name: str
    land: str
    souls: int


class Land(NamedTuple):
    name: str
    ruler: str


class Placed(NamedTuple):
    """Derived: one a town, with its ruler."""

    town: str
    ruler: str


class Crowd(NamedTuple):
    """Derived: one a land that has a town of more than ten souls; several towns may give it."""

    land: str


class Census(NamedTuple):
    land: str
    towns: tuple[str, ...]
    crowded: bool


def _land_of(_key: object, row: object) -> Iterator[str]:
    assert isinstance(row, Town)
    yield row.land


BY_LAND = Index(Town, "land", _land_of)


def place(town: Town, read: Read) -> Iterator[Item]:
    land = read.get(Land, town.land)
    yield Item(Placed, town.name, Placed(town.name, land.ruler if land else "nobody"))
    if town.souls > 10:
        yield Item(Crowd, town.land, Crowd(town.land))


def count(land: Land, read: Read) -> Iterator[Item]:
    towns = tuple(sorted(map(str, read.find(BY_LAND, land.name))))
    crowded = read.get(Crowd, land.name) is not None
    yield Item(Census, land.name, Census(land.name, towns, crowded))


def build() -> Engine:
    return Engine([unit(Town, place), unit(Land, count)], [BY_LAND], [Placed, Crowd, Census])


names = st.sampled_from(["a", "b", "c", "d"])
lands = st.sampled_from(["x", "y", "z"])
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just(Town), names, st.none() | st.builds(Town, names, lands, st.integers(0, 20))
        ),
        st.tuples(st.just(Land), lands, st.none() | st.builds(Land, lands, st.sampled_from("pq"))),
        st.just(None),
    ),
    max_size=40,
)


@given(steps)
def test_incremental_equals_from_nothing(
    script: list[tuple[type, str, Town | Land | None] | None],
) -> None:
    engine, inputs, seen = build(), {}, {Placed: {}, Crowd: {}, Census: {}}  # type: ignore[var-annotated]  # filled below
    for step in script:
        if step is None:
            engine.settle()
            continue
        table, key, value = step
        value = value if value is None else value._replace(name=key)
        inputs[table, key] = value
        engine.put(table, key, value)
    engine.settle()
    fresh = build()
    for (table, key), value in inputs.items():
        fresh.put(table, key, value)
    fresh.settle()
    for table in (Placed, Crowd, Census):
        assert engine.rows(table) == fresh.rows(table)
        for name in engine.rows(table):
            assert engine.giver(table, name) == fresh.giver(table, name)
        for change in engine.changes(table):
            seen[table][change.key] = change.new
        assert {k: v for k, v in seen[table].items() if v is not None} == fresh.rows(table)
    assert engine.audit(lambda calls: calls) == []


TABLES = (Town, Land, Placed, Crowd, Census)
puts = st.lists(
    st.one_of(
        st.tuples(
            st.just(Town), names, st.none() | st.builds(Town, names, lands, st.integers(0, 20))
        ),
        st.tuples(st.just(Land), lands, st.none() | st.builds(Land, lands, st.sampled_from("pq"))),
    ),
    max_size=12,
)
Put = tuple[type, str, Town | Land | None]


def run(engine: Engine, script: list[Put]) -> None:
    for table, key, value in _named(script):
        engine.put(table, key, value)


def _named(script: list[Put]) -> list[Put]:
    return [
        (table, key, None if value is None else value._replace(name=key))
        for table, key, value in script
    ]


def taken(engine: Engine) -> dict[type, list[Change]]:
    """What has changed, in an order that does not depend on the way."""
    return {table: sorted(engine.changes(table), key=lambda c: str(c.key)) for table in TABLES}


@given(puts, puts, puts, puts, st.booleans())
def test_after_a_preview_nothing_has_changed_and_it_says_what_putting_would_change(
    first: list[Put], unread: list[Put], tried: list[Put], then: list[Put], settled: bool
) -> None:
    engine, twin = build(), build()
    for one in (engine, twin):
        run(one, first)
        one.settle()
        taken(one)
        run(one, unread)
        if settled:
            one.settle()
    told = engine.preview(_named(tried), TABLES)
    twin.settle()
    assert all(engine.rows(table) == twin.rows(table) for table in TABLES)
    assert engine.conflicts() == twin.conflicts()
    assert engine.audit(lambda calls: calls) == []
    assert taken(engine) == taken(twin)  # also of what was changed before the preview
    # Really put, it is what the preview has told; and both go on alike.
    run(twin, tried)
    twin.settle()
    really = taken(twin)
    assert {t: sorted(c, key=lambda c: str(c.key)) for t, c in told.items()} == really
    run(engine, tried)
    engine.settle()
    assert taken(engine) == really
    for one in (engine, twin):
        run(one, then)
        one.settle()
    assert taken(engine) == taken(twin)
    assert all(engine.rows(table) == twin.rows(table) for table in TABLES)


def test_a_preview_runs_what_the_change_affects_there_and_back() -> None:
    engine = build()
    for n in range(50):
        engine.put(Land, f"land{n}", Land(f"land{n}", "p"))
        engine.put(Town, f"town{n}", Town(f"town{n}", f"land{n}", 3))
    engine.settle()
    before = engine.calls
    engine.preview([(Town, "town0", Town("town0", "land1", 3))], [Placed])
    assert engine.calls - before == 2 * 3


def test_a_preview_that_fails_leaves_everything_as_it_was() -> None:
    engine = build()
    engine.put(Town, "a", Town("a", "x", 11))

    def inputs() -> Iterator[tuple[type, str, Town | None]]:
        yield Town, "a", None
        raise LookupError("no further")

    with pytest.raises(LookupError):
        engine.preview(inputs(), [Placed])
    assert engine.rows(Town) == {"a": Town("a", "x", 11)}
    assert engine.rows(Placed) == {"a": Placed("a", "nobody")}
    assert engine.changes(Placed) == [Change("a", None, Placed("a", "nobody"))]


def test_a_call_that_raises_in_a_preview_has_not_failed_afterwards() -> None:
    def picky(town: Town, read: Read) -> Iterator[Item]:
        if town.souls < 0:
            raise ValueError("fewer than nobody")
        yield Item(Placed, town.name, Placed(town.name, town.land))

    engine = Engine([unit(Town, picky)], tables=[Placed])
    engine.put(Town, "a", Town("a", "x", 1))
    told = engine.preview([(Town, "a", Town("a", "y", -1))], [Placed])
    assert told == {Placed: []}
    assert not engine.failures
    assert engine.rows(Placed) == {"a": Placed("a", "x")}


def test_what_a_failing_call_gave_before_stands_after_a_preview_in_which_it_did_not_fail() -> None:
    def picky(town: Town, read: Read) -> Iterator[Item]:
        if town.souls < 0:
            raise ValueError("fewer than nobody")
        yield Item(Placed, town.name, Placed(town.name, town.land))

    engine = Engine([unit(Town, picky), unit(Placed, _crowd)], tables=[Crowd])
    engine.put(Town, "a", Town("a", "x", 1))
    engine.settle()
    engine.put(Town, "a", Town("a", "y", -1))
    engine.settle()
    engine.changes(Placed)
    told = engine.preview([(Town, "a", Town("a", "z", 1))], [Placed, Crowd])
    assert told[Placed] == [Change("a", Placed("a", "x"), Placed("a", "z"))]
    assert engine.rows(Placed) == {"a": Placed("a", "x")}
    assert engine.rows(Crowd) == {"x": Crowd("x")}
    assert [key for key in engine.failures] == [("picky", "a")]
    assert engine.changes(Placed) == []


def _crowd(placed: Placed, read: Read) -> Iterator[Item]:
    yield Item(Crowd, placed.ruler, Crowd(placed.ruler))


@given(st.integers(2, 60))
def test_calls_run_depend_on_the_change_and_not_on_the_size(size: int) -> None:
    engine = build()
    for n in range(size):
        engine.put(Land, f"land{n}", Land(f"land{n}", "p"))
        engine.put(Town, f"town{n}", Town(f"town{n}", f"land{n}", 3))
    engine.settle()
    before = engine.calls
    engine.put(Town, "town0", Town("town0", "land1", 3))
    engine.settle()
    assert engine.calls - before == 3  # the town, the land it left, the land it came to
    before = engine.calls
    engine.put(Town, "town0", Town("town0", "land1", 4))
    engine.settle()
    assert engine.calls - before == 1  # nothing that anyone else read has changed


def test_a_row_stays_until_its_last_giver_takes_it_back() -> None:
    engine = build()
    engine.put(Town, "a", Town("a", "x", 11))
    engine.put(Town, "b", Town("b", "x", 12))
    engine.settle()
    engine.put(Town, "a", None)
    engine.settle()
    assert engine.rows(Crowd) == {"x": Crowd("x")}
    assert engine.giver(Crowd, "x") == ("place", "b")
    engine.put(Town, "b", None)
    engine.settle()
    assert engine.rows(Crowd) == {}


def test_of_givers_that_agree_the_earliest_is_named_whichever_came_first() -> None:
    for first, second in (("a", "b"), ("b", "a")):
        engine = build()
        for name in (first, second, "c"):
            engine.put(Town, name, Town(name, "x", 11))
            engine.settle()
        assert engine.giver(Crowd, "x") == ("place", "a")
        engine.put(Town, "a", None)
        engine.settle()
        assert engine.giver(Crowd, "x") == ("place", "b")


def test_givers_that_disagree_are_named_and_the_earliest_wins() -> None:
    def first(town: Town, read: Read) -> Iterator[Item]:
        yield Item(Crowd, "one", Crowd(town.land))

    engine = Engine([unit(Town, first)], tables=[Crowd])
    engine.put(Town, "b", Town("b", "y", 1))
    engine.put(Town, "a", Town("a", "x", 1))
    engine.settle()
    assert engine.rows(Crowd) == {"one": Crowd("x")}
    assert engine.conflicts() == {(Crowd, "one")}
    engine.put(Town, "a", None)
    engine.settle()
    assert engine.rows(Crowd) == {"one": Crowd("y")}
    assert engine.conflicts() == set()


def test_changes_give_old_and_new_once() -> None:
    engine = build()
    engine.put(Land, "x", Land("x", "p"))
    engine.put(Town, "a", Town("a", "x", 1))
    engine.settle()
    assert engine.changes(Placed) == [Change("a", None, Placed("a", "p"))]
    assert engine.changes(Placed) == []
    engine.put(Land, "x", Land("x", "q"))
    engine.settle()
    assert engine.changes(Placed) == [Change("a", Placed("a", "p"), Placed("a", "q"))]


def test_a_unit_that_feeds_one_above_it_is_refused() -> None:
    engine = Engine([unit(Land, count), unit(Town, place)], [BY_LAND], [Placed, Crowd, Census])
    engine.put(Land, "x", Land("x", "p"))
    engine.put(Town, "a", Town("a", "x", 11))
    with pytest.raises(RuntimeError, match="list it further down"):
        engine.settle()


def test_an_audit_finds_a_call_that_no_longer_gives_what_it_gave() -> None:
    answers = iter(["p", "q"])

    def fickle(town: Town, read: Read) -> Iterator[Item]:
        yield Item(Placed, town.name, Placed(town.name, next(answers)))

    engine = Engine([unit(Town, fickle)], tables=[Placed])
    engine.put(Town, "a", Town("a", "x", 1))
    engine.settle()
    assert engine.audit(lambda calls: calls) == ["fickle 'a'"]


def test_a_call_that_raises_keeps_what_it_gave_and_holds_back_nobody() -> None:
    def picky(town: Town, read: Read) -> Iterator[Item]:
        if town.souls < 0:
            raise ValueError("fewer than nobody")
        yield Item(Placed, town.name, Placed(town.name, town.land))

    engine = Engine([unit(Town, picky)], tables=[Placed])
    engine.put(Town, "a", Town("a", "x", 1))
    engine.settle()
    engine.put(Town, "a", Town("a", "y", -1))
    engine.put(Town, "b", Town("b", "y", 1))
    engine.settle()
    assert engine.rows(Placed) == {"a": Placed("a", "x"), "b": Placed("b", "y")}
    assert [key for key in engine.failures] == [("picky", "a")]
    engine.put(Town, "a", None)
    engine.settle()
    assert engine.rows(Placed) == {"b": Placed("b", "y")} and not engine.failures


class Mortal:
    """A row that can be watched."""


def test_what_nobody_asks_for_is_not_remembered_when_it_has_gone() -> None:
    engine = Engine([], tables=[Mortal])
    row = Mortal()
    watched = weakref.ref(row)
    engine.put(Mortal, "x", row)
    engine.settle()
    engine.put(Mortal, "x", Mortal())
    engine.put(Mortal, "x", None)
    engine.settle()
    del row
    assert watched() is None
    assert engine.changes(Mortal) == []


def test_the_first_who_asks_for_changes_hears_of_every_row() -> None:
    engine = Engine([], tables=[Land])
    engine.put(Land, "a", Land("a", "old"))
    engine.put(Land, "a", Land("a", "new"))
    assert engine.changes(Land) == [Change("a", None, Land("a", "new"))]
    assert engine.changes(Land) == []
    engine.put(Land, "a", None)
    assert engine.changes(Land) == [Change("a", Land("a", "new"), None)]
