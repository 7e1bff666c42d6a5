# SPDX-License-Identifier: Apache-2.0
"""Which ports are reported, and once."""

from __future__ import annotations

from isthmus.host.reporting import ToReport

OURS = {"web"}


def made() -> ToReport:
    return ToReport(lambda port: port in OURS)


def test_of_peers_ports_there_is_nothing_to_say() -> None:
    asked = made()
    asked.add("web", "peer")
    assert asked
    assert asked.take() == ["web"]
    assert not asked
    assert asked.take() == []


def test_a_port_that_was_ours_is_reported_once_more() -> None:
    ours = {"web"}
    asked = ToReport(lambda port: port in ours)
    asked.add("web")
    assert asked.take() == ["web"]
    ours.clear()
    asked.add("web")
    assert asked.take() == ["web"]
    asked.add("web")
    assert asked.take() == []


def test_what_was_not_programmed_is_reported_again_though_the_port_has_left_meanwhile() -> None:
    ours = {"web"}
    asked = ToReport(lambda port: port in ours)
    asked.add("web")
    asked.take()
    ours.clear()
    asked.add("web")
    asked.put_back(asked.take())
    assert asked.take() == ["web"]
