# SPDX-License-Identifier: Apache-2.0
"""``isthmus plan``: what a change would do, before it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect
from isthmus.cli.terminal import BAD, GOOD, say
from isthmus.errors import IsthmusError

planning = typer.Typer()

Told = Mapping[str, Any]

MOST_LINES = 12
"""Of what one list gains or loses."""


@planning.command()
def plan(
    files: Annotated[
        list[str], typer.Option("-f", "--file", help="YAML or JSON, a folder, or - ; several.")
    ],
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """What `isthmus apply` of the same files would do: resources written, ports touched,
    reachability gained and lost, rules that would never decide. Nothing is stored."""
    from isthmus.cli import shown
    from isthmus.cli.files import wanted_of
    from isthmus.cli.places import located

    wanted = wanted_of(files)
    with connect(url, user, timeout_s=60.0) as client:
        try:
            told = client.plan(wanted.requests)
        except IsthmusError as error:
            raise located(error, wanted.places) from error
    if as_json:
        shown.print_json(told)
    else:
        say_plan(told)


def say_plan(told: Told) -> None:
    for line in planned(told):
        say(line, _style(line))


def _style(line: str) -> str:
    mark = line.lstrip()[:2]
    return {"+ ": GOOD, "- ": BAD, "! ": BAD}.get(mark, "")


def planned(told: Told) -> Iterator[str]:
    """The text of a plan."""
    resources = told["resources"]
    yield "Resources" if resources else "Resources  nothing changes but etags"
    for one in resources:
        yield f"  {one['action']:<8} {one['resourceRef']}"
    yield ""
    ports = told["ports"]
    touched = {name: ports[name] for name in ports if ports[name]["count"]}
    yield "Ports" if touched else "Ports      none touched"
    for name, found in touched.items():
        yield f"  {_PORT_WORDS[name]:<28} {_names(found)}"
    yield ""
    effects = told["reachability"]
    yield "Reachability" if effects else "Reachability  unchanged by rules"
    for effect in effects:
        yield from _effect(effect)
    for line in told["shadowed"]:
        yield f"! {line}"


_PORT_WORDS = {
    "added": "come",
    "removed": "go",
    "moved": "change address or place",
    "reruled": "are under changed rules",
}


def _effect(effect: Told) -> Iterator[str]:
    sets = ", ".join(effect["ruleSets"])
    yield (f"  {effect['tenant']}: {effect['direction']} of {_names(effect['ports'])}, by {sets}")
    for mark, found in (("+", effect["gained"]), ("-", effect["lost"])):
        for line in found[:MOST_LINES]:
            yield f"    {mark} {line}"
        if len(found) > MOST_LINES:
            yield f"    {mark} and {len(found) - MOST_LINES} more: --json has all"
    if not effect["whole"]:
        yield "    ! too many rules to look at every combination: there may be more"


def _names(found: Told) -> str:
    more = found["count"] - len(found["first"])
    names = ", ".join(found["first"])
    return f"{found['count']}: {names}{f' and {more} more' if more else ''}"
