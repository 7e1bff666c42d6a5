# SPDX-License-Identifier: Apache-2.0
"""``isthmus status`` and ``isthmus explain port``: is all well, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from isthmus.cli.connecting import AsJson, BundleFile, Url, User, connect

overview = typer.Typer()
explain = typer.Typer(help="Follow something from the request to the switch.", no_args_is_help=True)
overview.add_typer(explain, name="explain")

Told = Mapping[str, Any]

SECOND = "second-agent@"
"""How an agent calls itself that was refused its name: `agent.namesake`."""


@overview.command()
def status(as_json: AsJson = False, url: Url = "", user: User = "") -> None:
    """Controllers, stores, hosts, and what is wrong. Exit status 1 when something is."""
    from isthmus.cli import shown

    with connect(url, user) as client:
        told = client.status(ask=True)
    wrong = list(problems(told))
    if as_json:
        shown.print_json({**told, "problems": wrong})
    else:
        _print_status(told, wrong)
    if wrong:
        raise typer.Exit(1)


def _print_status(told: Told, wrong: list[str]) -> None:
    from isthmus.cli import shown

    controllers = ", ".join(
        f"{one['name']}{' (derives)' if one['deriving'] else ''}{'' if one['alive'] else ' (gone)'}"
        for one in told["controllers"]
    )
    stores = ", ".join(
        f"{one['name']} {one['rows']} rows{'' if one['connected'] else ' AWAY'}"
        for one in told["stores"]
    )
    ports = told["ports"]
    typer.echo(f"Isthmus {told['software']}")
    typer.echo(f"controllers  {controllers}")
    typer.echo(f"stores       {stores}")
    typer.echo(
        f"ports        {ports['total']}: {ports['up']} up, {ports['error']} in error,"
        + (f" {ports['unknown']} unknown," if ports.get("unknown") else "")
        + f" {ports['total'] - ports['claimed']} on no host"
    )
    typer.echo("")
    columns = ("HOST", "STATE", "PORTS", "FLOWS", "SPEAKS", "ADDRESS", "SWITCH", "VERSION")
    shown.print_table(columns, [_host_line(host) for host in told["hosts"]])
    if wrong:
        typer.echo("")
        for line in wrong:
            typer.echo(f"! {line}")


def _host_line(host: Told) -> list[str]:
    state = "alive" if host["alive"] else "silent"
    if not host["known"]:
        state = "no server"
    elif host["ageSeconds"] is None:
        state = "never seen"
    elif host.get("unknown") and host["alive"]:
        state = "unknown"
    return [
        host["host"],
        state,
        str(host["ports"]),
        str(host["flows"]),
        ", ".join(host["encapsulations"]),
        ", ".join(host["providerAddresses"]),
        host["switchVersion"],
        host["version"],
    ]


def problems(told: Told) -> Iterator[str]:
    """What needs the operator, one sentence each."""
    for store in told["stores"]:
        if not store["connected"]:
            yield f"the {store['name']} store cannot be reached: {store['problem']}"
    deriver = told["deriver"]
    if not any(one["deriving"] for one in told["controllers"]):
        yield f"no controller derives policy: {deriver['problem'] or 'a take-over is due'}"
    elif deriver["problem"]:
        yield f"deriving: {deriver['problem']}"
    yield from deriver["failures"]
    for host in told["hosts"]:
        if not host["known"] and host["host"].startswith(SECOND):
            pass  # it says itself what is wrong
        elif not host["known"] and not host["alive"]:
            yield (
                f"{host['host']} is no server and is silent for {host['ageSeconds']} s:"
                f" isthmus host remove {host['host']}"
            )
        elif not host["known"]:
            yield (
                f"{host['host']} speaks, but no server has that resourceId: peers ignore it."
                f" If it is yours: isthmus apply a resource /servers/{host['host']}"
            )
        elif not host["alive"]:
            age = host["ageSeconds"]
            since = "was never heard of" if age is None else f"is silent for {age} s"
            yield f"{host['host']} {since}: is isthmus agent running there?"
        elif host.get("unknown"):
            yield f"{host['host']} {host['unknown']}: how its ports are now is unknown"
        yield from (f"{host['host']}: {problem}" for problem in host["problems"])
    for error in told["errors"]:
        yield f"port {error['port']} on {error['host']}: {error['detail']} ({error['code']})"
    for claim in told["unknownClaims"]:
        yield f"{claim['host']}, which is no server, claims {claim['port']}; this is ignored"


@explain.command()
def port(
    port_id: Annotated[str, typer.Argument(metavar="ID", help="Of a networkInterface.")],
    bundle: BundleFile = None,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """One port: request, policy, claims, flows with their counters, state. Exit status 1 unless
    it works."""
    from isthmus.cli import shown

    port_id = port_id.rstrip("/").rpartition("/")[2]  # its reference is as good
    if bundle is not None:
        from isthmus.cli.bundles import explained_offline

        told = explained_offline(bundle, port_id)
    else:
        with connect(url, user) as client:
            told = client.explain_port(port_id)
    if as_json:
        shown.print_json(told)
    else:
        for line in explained(told):
            typer.echo(line)
    if not str(told["verdict"]).startswith("works"):
        raise typer.Exit(1)


def explained(told: Told) -> Iterator[str]:
    """The text of an explanation."""
    request = told["request"]
    owner = f"  created by {told['owner']}" if told.get("owner") else ""
    yield f"Request   {request['resourceRef']}  etag {request['etag']}{owner}"
    properties = request["properties"]
    yield f"  MAC {properties.get('privateMacAddress', '')}, instanceId {request['instanceId']}"
    for config in properties.get("ipConfigurations", ()):
        inner = config["properties"]
        subnet = inner.get("subnet", {}).get("resourceRef", "")
        yield f"  {inner.get('privateIPAddress', '')} in {subnet} ({config['resourceId']})"
    yield ""
    yield "Policy"
    for one in told["policy"]:
        yield f"  {one['table']} {_columns(one['row'])}"
    yield ""
    yield "Claims"
    for one in told["claims"]:
        yield f"  {_columns(one['row'])}"
    if not told["claims"]:
        yield "  none: no host has it plugged"
    for host in told["hosts"]:
        yield ""
        yield from _host_lines(host["host"], host["answer"])
    yield ""
    state = told["state"]
    yield f"State     {state['status'] if state else 'nothing heard of it yet'}"
    for info in state["detailedInfo"] if state else ():
        yield f"  {info['code']}: {info['message']}"
    yield ""
    yield f"Verdict   {told['verdict']}"


def _host_lines(host: str, answer: Told) -> Iterator[str]:
    if answer.get("error"):
        yield f"Switch of {host}: no answer: {answer['error']}"
        return
    interface = answer["interface"]
    plugged = "not plugged here"
    if interface:
        plugged = f"interface {interface['id']}, OpenFlow port {interface['ofport']}"
    yield f"Switch of {host}: {plugged}"
    for flow in answer["flows"]:
        yield f"  {flow['stage']:<10} {flow['packets']:>8} packets  {flow['flow']}"
    for flow in answer["missing"]:
        yield f"  MISSING    {flow}"


def _columns(row: Told) -> str:
    return " ".join(
        f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in row.items()
        if value not in ("", [], None)
    )
