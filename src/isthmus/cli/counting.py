# SPDX-License-Identifier: Apache-2.0
"""``isthmus counters``: what rules have let pass and dropped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect

counting = typer.Typer()

Told = Mapping[str, Any]


def _sums(told: Told) -> dict[tuple[str, ...], int]:
    """Packets of all hosts together, by rule."""
    sums: dict[tuple[str, ...], int] = {}
    for host in told["hosts"]:
        for one in host.get("rules", ()):
            name = f"{one['rule_set']}/{one['rule']}" if one["rule"] else one["rule_set"]
            kind = "" if one["rule"] else "default"
            key = (name, kind, one["direction"], one["level"], one["action"])
            sums[key] = sums.get(key, 0) + one["packets"]
    return sums


def _places(told: Told) -> dict[tuple[str, ...], int]:
    """Packets by host, by where they ended."""
    found: dict[tuple[str, ...], int] = {}
    for host in told["hosts"]:
        for word, field in (
            ("dropped at", "dropped"),
            ("blocked port", "blocked"),
            ("opened too fast", "unopened"),
            ("fragments too fast", "fragments"),
        ):
            for where, packets in host.get(field, {}).items():
                found[host["host"], word, where] = packets
    return found


@counting.command()
def counters(
    rate: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Count for so long, and show rates.")
    ] = 0.0,
    unused: Annotated[
        bool, typer.Option("--unused", help="Rules on hosts that no packet has met, and no others.")
    ] = False,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Packets by rule over all hosts, by reason of drop, and by port that was blocked, opened
    connections too fast or had too many fragments."""
    from isthmus.cli import shown

    with connect(url, user) as client:
        before = client.counters() if rate else None
        if rate:
            time.sleep(rate)
        told = client.counters()
    if as_json:
        shown.print_json(told if before is None else {"before": before, "after": told})
        return
    sums = _sums(told)
    if unused:
        rows = [[*key] for key, packets in sorted(sums.items()) if not packets]
        shown.print_table(("RULE", "", "DIRECTION", "LEVEL", "ACTION"), rows)
        return
    columns = (*("RULE", "", "DIRECTION", "LEVEL", "ACTION", "PACKETS"), *(("PER S",) * bool(rate)))
    shown.print_table(
        columns, counted(dict(sorted(sums.items())), _sums(before) if before else {}, rate)
    )
    typer.echo("")
    places = counted(_places(told), _places(before) if before else {}, rate)
    silent = [
        [one["host"], "no answer", one["error"], ""] for one in told["hosts"] if "error" in one
    ]
    columns = (*("HOST", "", "WHERE", "PACKETS"), *(("PER S",) * bool(rate)))
    shown.print_table(columns, [*places, *([*row, ""] if rate else row for row in silent)])


def counted(
    now: Mapping[tuple[str, ...], int], before: Mapping[tuple[str, ...], int], seconds: float
) -> list[list[str]]:
    """A row each, of what has counted anything; with what came in a second since `before`, where
    `seconds` have passed. Counters begin anew where a host's switch does."""
    rows = [[*key, str(packets)] for key, packets in now.items() if packets]
    if not seconds:
        return rows
    rates = [
        max(0, packets - before.get(key, 0)) / seconds for key, packets in now.items() if packets
    ]
    return [[*row, f"{one:.1f}"] for row, one in zip(rows, rates, strict=True)]
