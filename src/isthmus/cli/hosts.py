# SPDX-License-Identifier: Apache-2.0
"""``isthmus host``: the end of what a host has said."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect

hosts = typer.Typer(help="What a host has said of itself.", no_args_is_help=True)


@hosts.callback()
def _hosts() -> None:
    """So that the word after ``host`` stays a word, although there is one."""


@hosts.command()
def remove(
    host: Annotated[str, typer.Argument(help="As `isthmus status` names it.")],
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Forget all that a dead host has said: its claims, the states of its ports, itself. Refused
    while its agent answers. Its server stays: isthmus delete /servers/HOST."""
    from isthmus.cli import shown

    with connect(url, user) as client:
        told = client.remove_host(host)
    if as_json:
        shown.print_json(told)
        return
    rows = ", ".join(f"{count} {table}" for table, count in told["removed"].items())
    typer.echo(f"{told['host']} removed: {rows}")
