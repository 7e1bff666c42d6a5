# SPDX-License-Identifier: Apache-2.0
"""``isthmus get``, ``apply`` and ``delete``: any resource of the API."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect
from isthmus.errors import Invalid

if TYPE_CHECKING:
    from isthmus.api.client import Client

resources = typer.Typer()

MOST_RESOURCES = 1000
"""Of one transaction: `api.resources.MOST_REQUESTS`."""


class Format(enum.StrEnum):
    """Of output."""

    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


References = Annotated[
    list[str], typer.Argument(help="/virtualNetworks, /networkInterfaces/web; any letter case.")
]


@resources.command()
def get(
    references: References,
    output: Annotated[Format | None, typer.Option("-o", "--output")] = None,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Show resources: a collection as a table, one resource as YAML."""
    from isthmus.cli import shown

    wanted = Format.JSON if as_json else output
    with connect(url, user) as client:
        found = [client.get(reference) for reference in references]
    for resource in found:
        is_collection = "value" in resource and "resourceId" not in resource
        match wanted or (Format.TABLE if is_collection else Format.YAML):
            case Format.JSON:
                shown.print_json(resource)
            case Format.YAML:
                shown.print_yaml(resource)
            case Format.TABLE:
                shown.print_collection(resource["value"] if is_collection else [resource])


@resources.command()
def delete(references: References, url: Url = "", user: User = "") -> None:
    """Delete resources, with all below them. What does not exist is deleted already."""
    with connect(url, user) as client:
        for reference in references:
            existed = client.delete(reference)
            typer.echo(f"{reference} {'deleted' if existed else 'did not exist'}")


@resources.command()
def apply(
    files: Annotated[
        list[str], typer.Option("-f", "--file", help="YAML or JSON, a folder, or - ; several.")
    ],
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the change to the last host.")
    ] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to watch.")] = 30.0,
    in_parts: Annotated[
        bool, typer.Option("--in-parts", help="More than 1000 resources: several transactions.")
    ] = False,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Create and replace resources as one transaction: all or nothing."""
    from isthmus.cli.files import requests

    wanted = requests(files)
    if len(wanted) > MOST_RESOURCES and not in_parts:
        raise Invalid(
            f"{len(wanted)} resources are more than one transaction takes ({MOST_RESOURCES}):"
            " --in-parts applies them in several, of which earlier ones stay when a later one fails"
        )
    with connect(url, user, timeout_s=max(60.0, timeout_s)) as client:
        started = time.perf_counter()
        answers = _applied(client, wanted)
        took_ms = (time.perf_counter() - started) * 1e3
        _report(answers, took_ms, as_json)
        if watch:
            _watch(client, answers, started, timeout_s)


def _applied(client: Client, wanted: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    parts = range(0, len(wanted), MOST_RESOURCES)
    if len(parts) == 1:
        return list(client.batch(wanted))
    from rich.progress import track

    answers: list[Mapping[str, Any]] = []
    shown = track(parts, description="applying", disable=not sys.stderr.isatty())
    for start in shown:
        answers += client.batch(wanted[start : start + MOST_RESOURCES])
    return answers


_WORDS = {200: "replaced", 201: "created", 204: "absent"}


def _report(answers: Sequence[Mapping[str, Any]], took_ms: float, as_json: bool) -> None:
    if as_json:
        from isthmus.cli import shown

        shown.print_json({"responses": list(answers), "milliseconds": round(took_ms, 3)})
        return
    for answer in answers:
        word = _WORDS.get(answer["status"], str(answer["status"]))
        if "etag" not in answer and answer["status"] == 200:
            word = "deleted"
        typer.echo(f"{answer['resourceRef']} {word}")
    typer.echo(f"stored in {took_ms:.1f} ms", err=True)


def _watch(
    client: Client, answers: Sequence[Mapping[str, Any]], started: float, timeout_s: float
) -> None:
    """Wait for every host, then say which of the written ports are in error."""
    probe = client.raise_probe()
    done = 0
    until = time.perf_counter() + timeout_s
    while True:
        hosts = probe["hosts"]
        answered = [host for host in hosts if host["milliseconds"] is not None]
        for host in sorted(answered, key=lambda one: one["milliseconds"])[done:]:
            at_ms = (time.perf_counter() - started) * 1e3
            typer.echo(f"  {host['host']} has it after {at_ms:.1f} ms")
        done = len(answered)
        left_s = until - time.perf_counter()
        if done == len(hosts) or left_s <= 0:
            break
        probe = client.probe(probe["probe"], answered=done, wait_s=max(0.0, min(left_s, 10.0)))
    late = sorted(host["host"] for host in probe["hosts"] if host["milliseconds"] is None)
    for host in probe["silent"]:
        typer.echo(f"  {host} is silent: it will have it when its agent is back", err=True)
    wrong = _in_error(client, answers)
    for line in wrong:
        typer.echo(f"  {line}", err=True)
    if late:
        typer.echo(f"after {timeout_s:g} s not yet on {', '.join(late)}", err=True)
    if late or wrong:
        raise typer.Exit(1)
    total_ms = (time.perf_counter() - started) * 1e3
    typer.echo(f"on all {done} hosts after {total_ms:.1f} ms")


def _in_error(client: Client, answers: Sequence[Mapping[str, Any]]) -> list[str]:
    written = {answer["resourceRef"].rsplit("/", 1)[-1].lower() for answer in answers}
    return [
        f"{error['port']} on {error['host']}: {error['detail']} ({error['code']})"
        for error in client.status()["errors"]
        if error["port"] in written
    ]
