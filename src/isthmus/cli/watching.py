# SPDX-License-Identifier: Apache-2.0
"""``isthmus watch drops`` and ``isthmus watch events``: what happens, as it happens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect
from isthmus.cli.terminal import say

if TYPE_CHECKING:
    from isthmus.api.client import StreamedEvent

watching = typer.Typer(help="Follow what happens, until Ctrl-C.", no_args_is_help=True)

Told = Mapping[str, Any]


@watching.command()
def drops(
    port: Annotated[str, typer.Option(help="Of this networkInterface only.")] = "",
    host: Annotated[str, typer.Option(help="On this host only.")] = "",
    count: Annotated[int, typer.Option(min=0, help="End after so many; 0 for never.")] = 0,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Packets that hosts drop, each with the rule or the reason. A sample: at most fifty a second
    of each host."""
    seen = 0
    with connect(url, user) as client:
        for event in client.drops(port, host):
            if event.kind == "silent":
                say(f"{event.data['host']}: {event.data['error']}", err=True)
                continue
            say(json.dumps(event.data) if as_json else _drop(event.data))
            seen += 1
            if seen == count:
                return


def _drop(told: Told) -> str:
    at = datetime.fromtimestamp(told["atUs"] / 1e6)
    decision = f" by {told['decision']}" if told["decision"] else ""
    origin = f"  [{told['origin']}]" if told["origin"] else ""
    where = f"{told['host']} {told['port']}".rstrip()
    return (
        f"{at:%H:%M:%S.%f}"[:-3]
        + f"  {where}  {told['packet']}  dropped at {told['stage']}{decision}:"
        f" {told['reason']}{origin}"
    )


@watching.command()
def events(
    after: Annotated[str, typer.Option(help="Go on after the event of this id.")] = "",
    count: Annotated[int, typer.Option(min=0, help="End after so many; 0 for never.")] = 0,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Resources that are written, what hosts say of ports, hosts that change."""
    with connect(url, user) as client:
        for seen, event in enumerate(client.events(after), 1):
            if as_json:
                told = {"id": event.identifier, "event": event.kind, **event.data}
                say(json.dumps(told))
            else:
                say(f"{event.identifier}  {_event(event)}")
            if seen == count:
                return


def _event(event: StreamedEvent) -> str:
    told = event.data
    match event.kind:
        case "resource":
            return f"{told['action']} {told['resourceRef']}"
        case "state":
            state = told["configurationState"]
            server = told.get("server")
            where = f" on {server['resourceRef']}" if server else ""
            return f"{told['resourceRef']}{where}: {state['status'] if state else 'not known'}"
        case "host":
            return f"host {told['host']}: {'alive' if told['alive'] else 'silent'}"
    return f"{event.kind} {json.dumps(told)}"
