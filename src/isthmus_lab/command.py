# SPDX-License-Identifier: Apache-2.0
"""``isthmus lab``: a cloud on this machine, to try things on.

`lab` is a Typer application for the CLI to mount. Errors are those of `isthmus.errors`, for whoever
runs it to show.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from isthmus_lab import operations, processes
from isthmus_lab.operations import DEFAULT_NAME

lab = typer.Typer(
    help="A cloud on this machine: hosts and guests in network namespaces.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Option(help="Which lab; several can be up at once.")]


@lab.command()
def up(
    name: Name = DEFAULT_NAME,
    hosts: Annotated[int, typer.Option(help="How many; the last speaks NVGRE only.")] = 3,
    bare: Annotated[bool, typer.Option(help="Switches only, nothing of Isthmus.")] = False,
    listen: Annotated[
        str | None, typer.Option(help="Where the controller also serves REST: 127.0.0.1:PORT.")
    ] = None,
) -> None:
    """Start a lab, which stays up until `isthmus lab down`."""
    made = operations.start_lab(name, hosts, bare=bare, listen=listen)
    typer.echo(f"lab {name!r} is up with {', '.join(made.hosts)} in {made.run_directory}")
    if not bare:
        typer.echo(f"REST: unix:{processes.rest_socket(made.run_directory)}")


@lab.command()
def down(name: Name = DEFAULT_NAME) -> None:
    """End a lab: its processes, namespaces and files."""
    operations.stop_lab(name)


@lab.command()
def status(
    name: Name = DEFAULT_NAME, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Show hosts, guests and what runs."""
    found = operations.describe_lab(name)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    console = Console()
    console.print(
        f"lab {name} in {found['directory']}, controller: {_running(found['controller'])}"
    )
    for kind in ("hosts", "guests"):
        rows = found[kind]
        if isinstance(rows, list) and rows:
            console.print(_table(rows))


@lab.command(context_settings={"ignore_unknown_options": True})
def exec(
    node: Annotated[str, typer.Argument(help="A guest, a host, or underlay.")],
    command: Annotated[list[str] | None, typer.Argument(help="A shell unless given.")] = None,
    name: Name = DEFAULT_NAME,
) -> None:
    """Run a command inside a guest or a host."""
    sys.stdout.flush()
    operations.run_in(node, command or [os.environ.get("SHELL", "/bin/sh")], name=name)


@lab.command()
def plug(
    guest: str,
    host: str,
    port: Annotated[
        str | None, typer.Option(help="The networkInterface; the guest's name unless given.")
    ] = None,
    mac: Annotated[str | None, typer.Option(help="Asked of the controller unless given.")] = None,
    dhcp: Annotated[bool, typer.Option(help="Let it ask for an address.")] = True,
    name: Name = DEFAULT_NAME,
) -> None:
    """Plug a guest into a host's switch, making the guest if need be."""
    lease = operations.plug_guest(guest, host, port=port, mac=mac, name=name, dhcp=dhcp)
    got = f" with {lease.address}/{lease.prefix_length} by DHCP" if lease else ""
    typer.echo(f"{guest} is on {host}{got}")


@lab.command()
def unplug(guest: str, name: Name = DEFAULT_NAME) -> None:
    """Take a guest off its host's switch, as when its machine is shut down; it can be plugged again
    anywhere."""
    host = operations.unplug_guest(guest, name=name)
    typer.echo(f"{guest} was on {host}" if host else f"{guest} is on no host")


@lab.command()
def move(
    guest: str,
    host: str,
    live: Annotated[bool, typer.Option(help="As live migration does, or by unplugging.")] = True,
    name: Name = DEFAULT_NAME,
) -> None:
    """Move a guest to another host; it keeps its addresses and connections."""
    operations.move_guest(guest, host, name=name, live=live)
    typer.echo(f"{guest} is on {host}")


@lab.command()
def ping(
    guest: str,
    target: Annotated[str, typer.Argument(help="An address, or another guest.")],
    count: Annotated[int, typer.Option("--count", "-c")] = 3,
    name: Name = DEFAULT_NAME,
) -> None:
    """Ping from a guest; exit status 1 when not all were answered."""
    result = operations.ping_guest(guest, target, count=count, name=name)
    typer.echo(f"{guest} → {target}: {result.received} of {result.sent} answered")
    raise typer.Exit(0 if result.lost == 0 else 1)


def _running(pid: object) -> str:
    return "not running" if pid is None else f"process {pid}"


def _table(rows: Sequence[dict[str, object]]) -> Table:
    table = Table(*rows[0])
    for row in rows:
        cells = [
            " ".join(map(str, cell)) if isinstance(cell, list) else str(cell)
            for cell in row.values()
        ]
        table.add_row(*cells)
    return table
