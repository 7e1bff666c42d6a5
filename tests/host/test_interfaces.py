# SPDX-License-Identifier: Apache-2.0
"""Which interface is which port."""

from __future__ import annotations

import msgspec

from isthmus.host.facts import LocalPort
from isthmus.host.interfaces import interface_in, port_named
from isthmus.host.program import Program, engine_of
from isthmus.policy.rows import Port
from tests.switches.policy_rows import port, put

WEB = msgspec.structs.replace(port("red", "a", 4), profile_id="aaaa")
ENGINE = engine_of(Program())
put(ENGINE, WEB, LocalPort("aaaa", 1), LocalPort("nobody", 2))


def test_a_port_is_named_by_its_id_or_its_profile_id() -> None:
    assert port_named(WEB.id, ENGINE) == WEB
    assert port_named("aaaa", ENGINE) == WEB
    assert port_named("nobody", ENGINE) is None
    assert interface_in(ENGINE, WEB) == LocalPort("aaaa", 1)


def test_the_interface_of_its_id_comes_before_that_of_its_profile_id() -> None:
    engine = engine_of(Program())
    put(engine, WEB, LocalPort("aaaa", 1), LocalPort(WEB.id, 2))
    assert interface_in(engine, WEB) == LocalPort(WEB.id, 2)


def test_a_profile_id_that_is_another_port_s_id_names_that_one() -> None:
    other: Port = msgspec.structs.replace(port("red", "b", 5), id="aaaa")
    engine = engine_of(Program())
    put(engine, WEB, other, LocalPort("aaaa", 1))
    assert port_named("aaaa", engine) == other
    assert interface_in(engine, WEB) is None
    assert interface_in(engine, other) == LocalPort("aaaa", 1)


def test_an_interface_without_a_name_is_no_port_without_a_profile() -> None:
    engine = engine_of(Program())
    put(engine, port("red", "b", 5), LocalPort("", 1))
    assert interface_in(engine, port("red", "b", 5)) is None
