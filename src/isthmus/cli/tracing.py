# SPDX-License-Identifier: Apache-2.0
"""``isthmus trace``: why does this packet not arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from isthmus.cli.connecting import AsJson, BundleFile, Url, User, connect
from isthmus.cli.terminal import BAD, GOOD, say

tracing = typer.Typer()

DELIVERED, DROPPED, UNKNOWN = "delivered", "dropped", "unknown"

Told = Mapping[str, Any]

_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
_PORTED = (6, 17, 132)

Port = Annotated[int | None, typer.Option(min=0, max=65535, metavar="PORT")]


@tracing.command()
def trace(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A networkInterface.")],
    destination: Annotated[
        str, typer.Argument(metavar="DST", help="A networkInterface, or an address.")
    ],
    tcp: Port = None,
    udp: Port = None,
    sctp: Port = None,
    protocol: Annotated[
        int, typer.Option(min=0, max=255, help="Number of another IP protocol.")
    ] = 0,
    source_port: Annotated[int, typer.Option(min=0, max=65535)] = 49152,
    ipv6: Annotated[bool, typer.Option("--ipv6", help="Between two ports, by IPv6.")] = False,
    switches: Annotated[
        bool, typer.Option("--switches", help="Ask the switches of both hosts as well.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Send a real packet as well, and wait for its answer.")
    ] = False,
    bundle: BundleFile = None,
    as_json: AsJson = False,
    url: Url = "",
    user: User = "",
) -> None:
    """Follow a packet (an echo request, unless said otherwise) from one port to another: delivered,
    or dropped by which rule of which list, or unknown where a host on the way does not answer.
    Exit status 1 unless it is delivered."""
    from isthmus.cli import shown

    asked = [(6, tcp), (17, udp), (132, sctp)]
    given = [(number, port) for number, port in asked if port is not None]
    if len(given) + bool(protocol) > 1:
        raise typer.BadParameter("give one of --tcp, --udp, --sctp and --protocol")
    number, port = given[0] if given else (protocol, 0)
    how: dict[str, str | int] = {"protocol": number, "port": port, "sourcePort": source_port}
    if ipv6:
        how["family"] = 6
    if switches:
        how["switches"] = "true"
    result: Told | None = None
    if bundle is not None:
        if live:
            raise typer.BadParameter("--live asks hosts, and --bundle asks none: give one of them")
        from isthmus.cli.bundles import traced_offline

        told = traced_offline(bundle, source, destination, how)
    else:
        with connect(url, user) as client:
            told = client.trace(source, destination, **how)
            if live:
                from isthmus.cli.probing import live as tried

                result = tried(client, told["sender"] or source, told)
                told = {**told, "live": result}
    if as_json:
        shown.print_json(told)
    else:
        for line in traced(told):
            say(line, _style(line))
    if verdict(told) != DELIVERED:
        raise typer.Exit(1)


def verdict(told: Told) -> str:
    """The worst of what policy, the switches and a real packet say, for one word is looked at
    last and an exit status has no room for three."""
    said = [told["verdict"]]
    if "switches" in told:
        said.append(told["switches"]["verdict"])
    if "live" in told and told["live"]["status"] != "Success":
        said.append(DROPPED)
    return next((one for one in (DROPPED, UNKNOWN) if one in said), DELIVERED)


def _style(line: str) -> str:
    if line.startswith(("  DROP", "Verdict", "Switches", "Live ")):
        return GOOD if line.split()[1].rstrip(":") == "delivered" else BAD
    return ""


def traced(told: Told) -> Iterator[str]:
    """The text of a trace."""
    packet = told["packet"]
    yield f"{_packet(packet)}  {packet['source']} → {packet['destination']}"
    for step in told["steps"]:
        mark = "DROP" if not step["passes"] else "but " if step["reason"] else "ok  "
        origin = f"  [{step['origin']}]" if step["origin"] else ""
        yield f"  {mark} {step['where']}: {step['text']}{origin}"
    for one in told.get("unknown", ()):
        yield f"  ?    {one['host']}: {one['why']}: whether it does so now is unknown"
    if "switches" in told:
        yield from _switches(told["switches"])
    if "live" in told:
        from isthmus.cli.probing import live_line

        yield live_line(told["live"])
    yield ""
    worst = verdict(told)
    yield f"Verdict   {worst}{_why(told) if worst == told['verdict'] else _against_policy(told)}"


def _packet(packet: Told) -> str:
    number = packet["protocol"]
    name = _PROTOCOLS.get(number, f"protocol {number}")
    if number in _PORTED:
        return f"{name} {packet['sourcePort']} → {packet['destinationPort']}"
    return name


def _why(told: Told) -> str:
    unknown = told.get("unknown", ())
    if unknown:
        policy = "lets it arrive" if told["steps"][-1]["passes"] else "drops it"
        return f": policy {policy}, and {unknown[0]['host']} {unknown[0]['why']}"
    last = told["steps"][-1]
    return "" if last["passes"] else f": {last['where']}: {last['text']}"


def _against_policy(told: Told) -> str:
    """Why it is not what policy says."""
    who = "a real packet was not answered"
    if "switches" in told and told["switches"]["verdict"] == verdict(told):
        who = f"the switches say so, see above; `isthmus explain port {told['sender']}` says more"
    return f": policy says {told['verdict']}, but {who}"


def _switches(told: Told) -> Iterator[str]:
    yield ""
    for passage in told["passages"]:
        if passage.get("error"):
            yield f"  {passage['host']}: no answer: {passage['error']}"
            continue
        stages = " → ".join(passage["stages"])
        yield f"  {passage['host']}: {stages}: {_outcome(passage)}"
    yield f"Switches  {told['verdict']}{': ' + str(told['reason']) if told['reason'] else ''}"


def _outcome(passage: Told) -> str:
    match passage["outcome"]:
        case "port":
            return f"to {passage['port'] or 'an unknown port'}"
        case "tunnel":
            return f"into the tunnel to {passage['peer']}"
        case "answered":
            return "answered by the router"
        case "controller":
            return "answered by the host's DHCP"
    decision = passage["decision"]
    return f"dropped at {passage['stage']}{' by ' + decision if decision else ''}"
