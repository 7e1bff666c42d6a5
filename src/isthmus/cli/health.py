# SPDX-License-Identifier: Apache-2.0
"""``isthmus doctor``: what is wrong with the cloud, each with the exact repair."""

from __future__ import annotations

import sys

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect
from isthmus.cli.terminal import BAD, say

health = typer.Typer()


@health.command()
def doctor(as_json: AsJson = False, url: Url = "", user: User = "") -> None:
    """MTU, clocks, silent hosts, tunnels that do not answer, encapsulations, VSIDs, certificates,
    ports in error. Says nothing when all is well; exit status 1 when something is wrong."""
    from isthmus.cli import shown

    with connect(url, user, timeout_s=60.0) as client:
        told = client.doctor()
    found = told["findings"]
    if as_json:
        shown.print_json(told)
    for one in () if as_json else found:
        line = f"{one['severity']:<7} {one['subject']}: {one['finding']} ({one['code']})"
        say(line, BAD if one["severity"] == "error" else "")
        say(f"        repair: {one['repair']}")
    if not found and sys.stderr.isatty():
        typer.echo(f"{told['hosts']} hosts asked: nothing is wrong", err=True)
    if found:
        raise typer.Exit(1)
