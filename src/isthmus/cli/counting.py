# SPDX-License-Identifier: Apache-2.0
"""``isthmus counters``: what rules have let pass and dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect

counting = typer.Typer()

Told = Mapping[str, Any]


def _rule_lines(told: Told) -> list[list[str]]:
    """Of all hosts together, by rule; what has counted nothing is left out."""
    sums: dict[tuple[str, ...], int] = {}
    for host in told["hosts"]:
        for one in host.get("rules", ()):
            name = f"{one['rule_set']}/{one['rule']}" if one["rule"] else one["rule_set"]
            kind = "" if one["rule"] else "default"
            key = (name, kind, one["direction"], one["level"], one["action"])
            sums[key] = sums.get(key, 0) + one["packets"]
    return [[*key, str(packets)] for key, packets in sorted(sums.items()) if packets]


@counting.command()
def counters(as_json: AsJson = False, url: Url = "", user: User = "") -> None:
    """Packets by rule over all hosts, by reason of drop, and by port that was blocked."""
    from isthmus.cli import shown

    with connect(url, user) as client:
        told = client.counters()
    if as_json:
        shown.print_json(told)
        return
    shown.print_table(("RULE", "", "DIRECTION", "LEVEL", "ACTION", "PACKETS"), _rule_lines(told))
    typer.echo("")
    rows = []
    for host in told["hosts"]:
        if host.get("error"):
            rows.append([host["host"], "no answer", host["error"], ""])
        rows += [
            [host["host"], "dropped at", stage, str(packets)]
            for stage, packets in host.get("dropped", {}).items()
            if packets
        ]
        rows += [
            [host["host"], "blocked port", port, str(packets)]
            for port, packets in host.get("blocked", {}).items()
            if packets
        ]
    shown.print_table(("HOST", "", "WHERE", "PACKETS"), rows)
