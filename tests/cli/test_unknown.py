# SPDX-License-Identifier: Apache-2.0
"""Hosts of which nobody knows how they are now: status, trace and ``apply --watch`` say so; and
``isthmus host remove``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.cli import resources
from isthmus.errors import Conflict
from isthmus.intent.model import JsonObject
from tests.cli.conftest import HOST, Cli

WHY = "does not answer, and was last heard of 12 s ago"


def test_status_says_which_hosts_are_unknown_and_since_when(cli: Cli) -> None:
    cli.hosts.told["hosts"] = [{**HOST, "unknown": WHY}]
    cli.hosts.told["ports"] = {"total": 2, "claimed": 2, "up": 0, "error": 0, "unknown": 2}
    code, out, _ = cli.run("status")
    assert code == 1
    assert "ports        2: 0 up, 0 in error, 2 unknown, 0 on no host" in out
    assert "h1\tunknown" in out
    assert f"! h1 {WHY}: how its ports are now is unknown" in out


def test_status_tells_a_dead_stranger_from_one_that_speaks_and_a_refused_agent(cli: Cli) -> None:
    stranger = {**HOST, "host": "h8", "known": False}
    cli.hosts.told["hosts"] = [
        stranger,
        {**stranger, "host": "h9", "alive": False, "ageSeconds": 100},
        {**stranger, "host": "second-agent@192.0.2.9", "problems": ["is called h1 too"]},
    ]
    _, out, _ = cli.run("status")
    wrong = [line for line in out.splitlines() if line.startswith("!")]
    assert wrong[0].startswith("! h8 speaks, but no server has that resourceId")
    assert wrong[1:] == [
        "! h9 is no server and is silent for 100 s: isthmus host remove h9",
        "! second-agent@192.0.2.9: is called h1 too",
    ]


def test_a_trace_over_an_unknown_host_says_what_policy_says_and_fails(cli: Cli) -> None:
    step = {"where": "b", "passes": True, "text": "receives it", "reason": "", "origin": ""}
    packet = {"protocol": 1, "source": "10.0.0.4", "destination": "10.0.0.5"}
    cli.hosts.answers["trace"] = {
        "verdict": "unknown",
        "packet": packet,
        "steps": [step],
        "unknown": [{"host": "h2", "why": WHY}],
    }
    code, out, _ = cli.run("trace", "a", "b")
    assert code == 1
    assert f"  ?    h2: {WHY}: whether it does so now is unknown" in out
    assert f"Verdict   unknown: policy lets it arrive, and h2 {WHY}" in out


def test_a_change_that_is_followed_says_within_seconds_which_hosts_are_unknown(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waiting = {
        "probe": 4,
        "hosts": [
            {"host": "h1", "milliseconds": 2.5, "ageSeconds": 0},
            {"host": "h2", "milliseconds": None, "ageSeconds": 12},
        ],
        "silent": ["h3"],
        "silentSeconds": {"h3": 500},
    }

    async def probe(*_: Any, **__: Any) -> JsonObject:
        return waiting

    monkeypatch.setattr(cli.hosts, "raise_probe", probe)
    monkeypatch.setattr(cli.hosts, "probe", probe)
    monkeypatch.setattr(resources, "ANSWER_S", 0.0)
    file = tmp_path / "pool.yaml"
    file.write_text(
        "resourceRef: /macPools/m\nproperties:\n"
        "  startMacAddress: 02-00-00-00-00-00\n  endMacAddress: 02-00-00-00-00-FF\n"
    )
    code, _, said = cli.run("apply", "--watch", "--timeout", "0.2", "-f", str(file))
    assert code == 1
    since = "and was last heard of 12 s ago"
    assert f"  h2 does not answer, {since}: unknown whether it has it" in said
    assert f"after 0.2 s unknown on h2, {since}" in said
    assert "  h3 is silent, and was last heard of 500 s ago: it will have it when" in said


def test_what_a_dead_host_has_said_is_removed_by_its_name(cli: Cli) -> None:
    code, out, _ = cli.run("host", "remove", "h2")
    assert (code, out) == (0, "h2 removed: 2 Claim, 1 Heartbeat\n")
    assert cli.hosts.asked == [("h2",)]
    cli.hosts.errors["remove"] = Conflict("h2 is alive", code="HostAlive")
    code, _, said = cli.run("host", "remove", "h2")
    assert (code, said) == (1, "h2 is alive")
