# SPDX-License-Identifier: Apache-2.0
"""``isthmus get``, ``apply`` and ``delete``: any resource of the API."""

from __future__ import annotations

import enum
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from isthmus.cli.connecting import AsJson, Url, User, connect
from isthmus.cli.terminal import say
from isthmus.errors import Invalid, IsthmusError, NotFound

if TYPE_CHECKING:
    from isthmus.api.client import Client
    from isthmus.cli.files import Wanted

resources = typer.Typer()

ANSWER_S = 3.0
"""After which a host that has not answered is said to be unknown, while it is waited for."""
MOST_RESOURCES = 1000
"""Of one transaction: `api.resources.MOST_REQUESTS`."""


class Format(enum.StrEnum):
    """Of output."""

    TABLE = "table"
    WIDE = "wide"
    YAML = "yaml"
    JSON = "json"
    NAME = "name"


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
    """Show resources: a collection as a table, one resource as YAML. `-o wide` is a table with all
    that has one value, `-o name` the references alone. What is not there is said after what is."""
    wanted = Format.JSON if as_json else output
    failed: list[IsthmusError] = []
    with connect(url, user) as client:
        for reference in references:
            try:
                _show(client.get(reference), wanted)
            except NotFound as error:
                failed.append(error)
    if len(failed) > 1:
        raise NotFound("; ".join(error.message for error in failed))
    if failed:
        raise failed[0]


def _show(resource: Mapping[str, Any], wanted: Format | None) -> None:
    from isthmus.cli import shown

    is_collection = "value" in resource and "resourceId" not in resource
    several = resource["value"] if is_collection else [resource]
    match wanted or (Format.TABLE if is_collection else Format.YAML):
        case Format.JSON:
            shown.print_json(resource)
        case Format.YAML:
            shown.print_yaml(resource)
        case Format.TABLE:
            shown.print_collection(several)
        case Format.WIDE:
            shown.print_collection(several, wide=True)
        case Format.NAME:
            for one in several:
                say(one["resourceRef"])


@resources.command()
def apply(
    files: Annotated[
        list[str], typer.Option("-f", "--file", help="YAML or JSON, a folder, or - ; several.")
    ],
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the change to the last host.")
    ] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.0, help="Seconds to watch.")
    ] = 30.0,
    in_parts: Annotated[
        bool, typer.Option("--in-parts", help="More than 1000 resources: several transactions.")
    ] = False,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Create and replace resources as one transaction: all or nothing."""
    from isthmus.cli.files import wanted_of

    wanted = wanted_of(files)
    if len(wanted.requests) > MOST_RESOURCES and not in_parts:
        raise Invalid(
            f"{len(wanted.requests)} resources are more than one transaction takes"
            f" ({MOST_RESOURCES}): --in-parts applies them in several, of which earlier ones stay"
            " when a later one fails"
        )
    with connect(url, user, timeout_s=max(60.0, timeout_s)) as client:
        started = time.perf_counter()
        answers = _applied(client, wanted)
        took_ms = (time.perf_counter() - started) * 1e3
        if not as_json:
            _say(answers, took_ms)
        watched = _watch(client, answers, started, timeout_s, as_json) if watch else None
    if as_json:
        _print_json(answers, took_ms, watched)
    elif watched is not None:
        _say_watched(watched, timeout_s)
    if watched is not None and watched.error is not None:
        raise watched.error
    if watched is not None and not watched.is_well:
        raise typer.Exit(1)


def _applied(client: Client, wanted: Wanted) -> list[Mapping[str, Any]]:
    """Raises the errors of the server with file and line."""
    from isthmus.cli.places import located

    parts: Iterable[int] = range(0, len(wanted.requests), MOST_RESOURCES)
    if len(wanted.requests) > MOST_RESOURCES and sys.stderr.isatty():
        from rich.progress import track

        parts = track(parts, description="applying")

    answers: list[Mapping[str, Any]] = []
    for start in parts:
        part = wanted.requests[start : start + MOST_RESOURCES]
        try:
            answers += client.batch(part, strict=True)
        except IsthmusError as error:
            raise located(error, wanted.places, start) from error
    return answers


_WORDS = {200: "replaced", 201: "created", 204: "absent"}


class _Watched(NamedTuple):
    """How far a change has come. Times are from the sending of the change."""

    hosts_ms: Mapping[str, float]
    late: Mapping[str, float | None]
    """Hosts that had not said that they have it when the time was up, and how many seconds ago
    they were last heard of: whether they have it is unknown."""
    silent: Mapping[str, float | None]
    """The same of those that nobody waits for."""
    errors: Sequence[Mapping[str, Any]]
    """Of the written ports."""
    total_ms: float
    error: IsthmusError | None = None
    """Why it could not be followed."""

    @property
    def is_well(self) -> bool:
        return not (self.late or self.errors or self.error)


def _print_json(
    answers: Sequence[Mapping[str, Any]], took_ms: float, watched: _Watched | None
) -> None:
    """One document, whatever was followed: what was stored is stored."""
    from isthmus.cli import shown

    told: dict[str, object] = {"responses": list(answers), "milliseconds": round(took_ms, 3)}
    if watched is not None:
        told["watch"] = {
            "hosts": [
                {"host": host, "milliseconds": round(ms, 3)}
                for host, ms in watched.hosts_ms.items()
            ],
            "late": list(watched.late),
            "silent": list(watched.silent),
            "unknown": [
                {"host": host, "ageSeconds": age_s}
                for host, age_s in sorted({**watched.late, **watched.silent}.items())
            ],
            "errors": list(watched.errors),
            "milliseconds": round(watched.total_ms, 3),
            "problem": "" if watched.error is None else watched.error.message,
        }
    shown.print_json(told)


def _say(answers: Sequence[Mapping[str, Any]], took_ms: float) -> None:
    for answer in answers:
        word = _WORDS.get(answer["status"], str(answer["status"]))
        if "etag" not in answer and answer["status"] == 200:
            word = "deleted"
        typer.echo(f"{answer['resourceRef']} {word}")
    typer.echo(f"stored in {took_ms:.1f} ms", err=True)


def _watch(
    client: Client,
    answers: Sequence[Mapping[str, Any]],
    started: float,
    timeout_s: float,
    quiet: bool,
) -> _Watched:
    """Wait for every host, then ask which of the written ports are in error. Unless `quiet`, says
    each host as it comes."""
    hosts_ms: dict[str, float] = {}
    try:
        probe = client.raise_probe()
        until = time.perf_counter() + timeout_s
        ask_until = time.perf_counter() + min(ANSWER_S, timeout_s)
        while True:
            answered = [host for host in probe["hosts"] if host["milliseconds"] is not None]
            for host in sorted(answered, key=lambda one: one["milliseconds"]):
                if host["host"] not in hosts_ms:
                    hosts_ms[host["host"]] = at_ms = _ms_since(started)
                    if not quiet:
                        typer.echo(f"  {host['host']} has it after {at_ms:.1f} ms")
            done, left_s = len(answered), until - time.perf_counter()
            if done == len(probe["hosts"]) or left_s <= 0:
                break
            wait_s = (ask_until or until) - time.perf_counter()
            if ask_until and wait_s <= 0:
                ask_until = 0.0
                if not quiet:
                    _say_unknown(_late(probe))
                continue
            probe = client.probe(probe["probe"], answered=done, wait_s=max(0.0, min(wait_s, 10.0)))
        late = _late(probe)
        errors = _in_error(client, answers)
    except IsthmusError as error:
        if not quiet:
            raise
        return _Watched(hosts_ms, {}, {}, (), _ms_since(started), error)
    silent = {host: probe.get("silentSeconds", {}).get(host) for host in probe["silent"]}
    return _Watched(hosts_ms, late, silent, errors, _ms_since(started))


def _late(probe: Mapping[str, Any]) -> dict[str, float | None]:
    """Hosts that have not answered, and how many seconds ago they were last heard of."""
    hosts = [host for host in probe["hosts"] if host["milliseconds"] is None]
    return {host["host"]: host.get("ageSeconds") for host in hosts}


def _say_unknown(late: Mapping[str, float | None]) -> None:
    for host, age_s in sorted(late.items()):
        typer.echo(f"  {host} does not answer{_since(age_s)}: unknown whether it has it", err=True)


def _since(age_s: float | None) -> str:
    return "" if age_s is None else f", and was last heard of {age_s:.0f} s ago"


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3


def _say_watched(watched: _Watched, timeout_s: float) -> None:
    for host, age_s in watched.silent.items():
        typer.echo(
            f"  {host} is silent{_since(age_s)}: it will have it when its agent is back", err=True
        )
    for error in watched.errors:
        line = f"  {error['port']} on {error['host']}: {error['detail']} ({error['code']})"
        typer.echo(line, err=True)
    if watched.late:
        hosts = ", ".join(f"{host}{_since(age_s)}" for host, age_s in watched.late.items())
        typer.echo(f"after {timeout_s:g} s unknown on {hosts}", err=True)
    if watched.is_well:
        which = f"{len(watched.hosts_ms)} hosts"
        which += f", unknown on {len(watched.silent)}," if watched.silent else ""
        typer.echo(f"on {'' if watched.silent else 'all '}{which} after {watched.total_ms:.1f} ms")


def _in_error(client: Client, answers: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    written = {answer["resourceRef"].rsplit("/", 1)[-1].lower() for answer in answers}
    return [error for error in client.status()["errors"] if error["port"] in written]
