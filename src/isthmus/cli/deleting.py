# SPDX-License-Identifier: Apache-2.0
"""``isthmus delete``: shown what it would open or cut, asked, and then done as one transaction."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.connecting import Url, User, connect
from isthmus.cli.planning import say_plan
from isthmus.errors import Invalid, NotFound

if TYPE_CHECKING:
    from isthmus.api.client import Client

deleting = typer.Typer()


@deleting.command()
def delete(
    references: Annotated[
        list[str],
        typer.Argument(help="/virtualNetworks/shop, /networkInterfaces/web; any letter case."),
    ],
    if_match: Annotated[
        str, typer.Option(metavar="ETAG", help="Only while it is as this etag says; of one.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nobody: for programs.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would open or cut, and delete nothing.")
    ] = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Delete resources, with all below them. What does not exist is deleted already.

    Says first what that does to ports and to who reaches whom, and asks.
    """
    if if_match and len(references) > 1:
        raise Invalid(
            f"--if-match {if_match} is the etag of one resource, and {len(references)} are to be"
            " deleted: delete each with its own"
        )
    if not (yes or dry_run or sys.stdin.isatty()):
        raise Invalid(
            "there is no terminal to ask on, and nothing was deleted: say --yes, or --dry-run to"
            " see what it would do"
        )
    condition = {"ifMatch": if_match} if if_match else {}
    requests = [
        {"method": "DELETE", "resourceRef": reference, **condition} for reference in references
    ]
    with connect(url, user, timeout_s=60.0) as client:
        if not yes:
            _say_what_it_does(client, requests)
        if dry_run:
            return
        if not yes and not typer.confirm(f"delete {', '.join(references)}?", err=True):
            typer.echo("nothing was deleted", err=True)
            raise typer.Exit(1)
        for reference, existed in zip(references, _deleted(client, requests), strict=True):
            typer.echo(f"{reference} {'deleted' if existed else 'did not exist'}")


def _say_what_it_does(client: Client, requests: Sequence[Mapping[str, Any]]) -> None:
    """Raises what the deletion would be refused with."""
    try:
        say_plan(client.plan(requests))
    except NotFound:
        if _offers(client, "plan"):
            raise
        typer.echo("this controller does not say what a change would open or cut", err=True)


def _deleted(client: Client, requests: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Of each, whether it existed. All or nothing, but with a controller that knows no batch."""
    try:
        return [answer["status"] != 204 for answer in client.batch(requests)]
    except NotFound:
        if _offers(client, "batch"):
            raise
        return [
            client.delete(request["resourceRef"], if_match=request.get("ifMatch", ""))
            for request in requests
        ]


def _offers(client: Client, extension: str) -> bool:
    """Whether the controller has one of our extensions; Microsoft's has none."""
    return extension in client.discovery().get("properties", {}).get("extensions", ())
