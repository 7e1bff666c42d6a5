# SPDX-License-Identifier: Apache-2.0
"""``isthmus watch``: what hosts drop and allow, and what happens, as it happens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect
from isthmus.cli.rows import Rows
from isthmus.cli.terminal import BAD, GOOD, say

if TYPE_CHECKING:
    from isthmus.api.client import StreamedEvent

watching = typer.Typer(help="Follow what happens, until Ctrl-C.", no_args_is_help=True)

Told = Mapping[str, Any]


Port = Annotated[str, typer.Option(help="From or to this networkInterface only.")]
Peer = Annotated[
    str,
    typer.Option(
        help="To or from this networkInterface, address or prefix only; with --port, between the"
        " two."
    ),
]
Host = Annotated[str, typer.Option(help="On this host only.")]
Count = Annotated[int, typer.Option(min=0, help="End after so many; 0 for never.")]


class Verdict(StrEnum):
    ALLOWED = "allowed"
    DROPPED = "dropped"
    ALL = "all"


@watching.command()
def drops(
    port: Port = "",
    peer: Peer = "",
    host: Host = "",
    count: Count = 0,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Packets that hosts drop, each with the rule or the reason. A sample: at most fifty a second
    of each host."""
    with connect(url, user) as client:
        _follow(client.drops(port, host, peer), count, as_json=as_json)


@watching.command()
def flows(
    port: Port = "",
    peer: Peer = "",
    verdict: Annotated[
        Verdict, typer.Option(help="What policy lets pass, what is dropped, or both.")
    ] = Verdict.ALL,
    host: Host = "",
    count: Count = 0,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Connections that policy lets begin, each with the rules that allow it, and packets that hosts
    drop. What nobody follows (no rules, or stateless ones) is told packet by packet, the same once
    in ten seconds. A sample: of each host at most fifty a second of either."""
    with connect(url, user) as client:
        _follow(client.flows(verdict.value, port, host, peer), count, as_json=as_json)


def _follow(events: Iterator[StreamedEvent], count: int, *, as_json: bool) -> None:
    seen, rows = 0, Rows(("TIME", "HOST", "PORT", "VERDICT", "PACKET", "WHY"))
    for event in events:
        told = event.data
        match event.kind:
            case "silent":
                say(f"{told['host']}: {told['error']}", err=True)
            case "unshown":
                say(
                    f"{told['host']}: {told['packets']} packets more of this host are not shown",
                    err=True,
                )
            case "drop" | "flow":
                if as_json:
                    say(json.dumps(told))
                else:
                    rows.say(_cells(told), {"allowed": GOOD, "dropped": BAD})
                seen += 1
                if seen == count:
                    return


def _cells(told: Told) -> tuple[str, ...]:
    at = datetime.fromtimestamp(told["atUs"] / 1e6)
    verdict = told.get("verdict", "dropped")
    ports = [told["port"], told.get("receiver", "")]
    return (
        f"{at:%H:%M:%S.%f}"[:-3],
        told["host"],
        " → ".join(filter(None, ports)),
        verdict,
        told["packet"],
        _why_dropped(told) if verdict == "dropped" else _why_allowed(told),
    )


def _why_dropped(told: Told) -> str:
    decision = f" by {told['decision']}" if told["decision"] else ""
    origin = f"  [{told['origin']}]" if told["origin"] else ""
    return f"at {told['stage']}{decision}: {told['reason']}{origin}"


def _why_allowed(told: Told) -> str:
    """Of each level that has rules, the one that let it pass."""
    by = [
        f"{one['direction']} {one['decision']}" + (" (subnet)" if one["level"] == "subnet" else "")
        for one in told.get("decisions", ())
    ]
    why = f"by {'; '.join(by)}" if by else "no rule holds for it here"
    return why if told.get("begins") else f"{why} (a packet that nobody follows)"


@watching.command()
def events(
    after: Annotated[str, typer.Option(help="Go on after the event of this id.")] = "",
    event: Annotated[str, typer.Option(help="These only: resource, state or host.")] = "",
    kind: Annotated[
        str,
        typer.Option(
            help="Of this kind only, as virtualNetworks/subnets; ports are"
            " networkInterfaces, hosts servers."
        ),
    ] = "",
    resource: Annotated[str, typer.Option(help="Of this resource and what is below it only.")] = "",
    change: Annotated[
        str, typer.Option(help="Of resources only that are created, updated or deleted.")
    ] = "",
    count: Annotated[int, typer.Option(min=0, help="End after so many; 0 for never.")] = 0,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Resources that are written, what hosts say of ports, hosts that change."""
    with connect(url, user) as client:
        found = client.events(after, event=event, kind=kind, resource=resource, change=change)
        for seen, one in enumerate(found, 1):
            if as_json:
                told = {"id": one.identifier, "event": one.kind, **one.data}
                say(json.dumps(told))
            else:
                say(f"{one.identifier}  {_event(one)}")
            if seen == count:
                return


def _event(event: StreamedEvent) -> str:
    told = event.data
    match event.kind:
        case "resource":
            return f"{told.get('change') or told['action']} {told['resourceRef']}"
        case "state":
            state = told["configurationState"]
            server = told.get("server")
            where = f" on {server['resourceRef']}" if server else ""
            return f"{told['resourceRef']}{where}: {state['status'] if state else 'not known'}"
        case "host":
            return f"host {told['host']}: {'alive' if told['alive'] else 'silent'}"
    return f"{event.kind} {json.dumps(told)}"
