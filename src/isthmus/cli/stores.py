# SPDX-License-Identifier: Apache-2.0
"""``isthmus backup``, ``restore`` and ``store``: the data behind everything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.configuration import Controller, load
from isthmus.cli.connecting import AsJson
from isthmus.errors import Invalid, IsthmusError

if TYPE_CHECKING:
    from isthmus.store.exposure import ServerTls
    from isthmus.store.files import ServerFiles

stores = typer.Typer()
store = typer.Typer(help="The servers that hold the data.", no_args_is_help=True)
stores.add_typer(store, name="store")

DataDirectory = Annotated[Path | None, typer.Option("--data-dir", help="As configured.")]
RunDirectory = Annotated[Path | None, typer.Option("--run-dir", help="As configured.")]
WhichStore = Annotated[str, typer.Argument(metavar="STORE", help="north or south")]

NORTH, SOUTH = "north", "south"
_COLUMNS = ("store", "status", "role", "term", "leader", "members", "address", "problem")
"""Of `isthmus store status`."""


@stores.command()
def backup(
    file: Annotated[Path, typer.Argument(help="To write.")],
    run_dir: RunDirectory = None,
) -> None:
    """Write a consistent copy of what tenants asked for, while all runs. It may hold secrets: the
    file is for you alone. Policy is not in it, for it follows."""
    from isthmus.store import backups, schema

    found = load().controller
    remote = found.north[0] if found.north else _files(NORTH, None, run_dir).remote
    size = asyncio.run(backups.backup(remote, schema.NORTH, file))
    typer.echo(f"wrote {size} bytes to {file}")


@stores.command()
def restore(
    file: Annotated[Path, typer.Argument(help="That `isthmus backup` wrote.")],
    data_dir: DataDirectory = None,
    run_dir: RunDirectory = None,
) -> None:
    """Put a backup in the place of the north store. Controllers and its server must be stopped;
    what was there is kept aside."""
    from isthmus.store import backups, schema

    files = _files(NORTH, data_dir, run_dir)
    aside = asyncio.run(backups.restore(files, schema.north_schema(), file))
    typer.echo(f"restored {file}; start the controller again")
    if aside is not None:
        typer.echo(f"what was there is in {aside}")


@store.command("status")
def store_status(
    run_dir: RunDirectory = None, data_dir: DataDirectory = None, as_json: AsJson = False
) -> None:
    """Show the clusters of this machine's servers. Exit status 1 when one is not well."""
    from isthmus.cli import shown

    rows, well = [], True
    for name, database in _names():
        status = _status(name, database, data_dir, run_dir)
        well = well and not status["problem"]
        rows.append(status)
    if as_json:
        shown.print_json(rows)
    else:
        shown.print_table(
            [column.upper() for column in _COLUMNS],
            [[str(row[column]) for column in _COLUMNS] for row in rows],
        )
    if not well:
        raise typer.Exit(1)


def _status(
    name: str, database: str, data_dir: Path | None, run_dir: Path | None
) -> dict[str, object]:
    from isthmus.store.clusters import cluster_status, problem_of

    row: dict[str, object] = {**dict.fromkeys(_COLUMNS, ""), "store": name}
    try:
        found = asyncio.run(cluster_status(_files(name, data_dir, run_dir), database))
    except IsthmusError as error:
        return {**row, "problem": f"no server here answers: {error.message}"}
    return {
        **row,
        "status": found.status,
        "role": found.role,
        "leader": found.leader,
        "term": found.term,
        "members": ", ".join(member.address for member in found.members),
        "address": found.address,
        "problem": problem_of(found),
    }


@store.command("join")
def store_join(
    name: WhichStore,
    members: Annotated[list[str], typer.Argument(help="RAFT addresses of servers in it.")],
    address: Annotated[str, typer.Option(help="Of this server: tcp:host:port, ssl:host:port.")],
    listen: Annotated[
        list[str] | None, typer.Option(help="Where clients find it: ptcp:6641, pssl:6641.")
    ] = None,
    data_dir: DataDirectory = None,
    run_dir: RunDirectory = None,
) -> None:
    """Grow a cluster by a server on this machine."""
    from isthmus.store.clusters import join_server

    database = dict(_names()).get(name)
    if database is None:
        raise Invalid(f"{name!r} is no store: say north or south")
    found = load().controller
    server = asyncio.run(
        join_server(
            _files(name, data_dir, run_dir),
            database,
            raft_address=address,
            members=members,
            listen=listen or (),
            tls=_tls(found, name),
        )
    )
    typer.echo(f"{name}: a server joins (process {server.pid}, {server.remote})")
    typer.echo("give its address to controllers and agents: --store, --south")


@store.command("leave")
def store_leave(
    name: WhichStore, data_dir: DataDirectory = None, run_dir: RunDirectory = None
) -> None:
    """Take this machine's server out of its cluster."""
    from isthmus.store.clusters import leave_cluster

    database = dict(_names()).get(name)
    if database is None:
        raise Invalid(f"{name!r} is no store: say north or south")
    asyncio.run(leave_cluster(_files(name, data_dir, run_dir), database))
    typer.echo(f"{name}: the server here leaves its cluster")


@store.command("schema")
def store_schema(name: WhichStore) -> None:
    """Print a store's schema, for servers of your own: ovsdb-tool create FILE SCHEMA."""
    from isthmus.store import schema

    found = {NORTH: schema.north_schema, SOUTH: schema.south_schema}.get(name)
    if found is None:
        raise Invalid(f"{name!r} is no store: say north or south")
    typer.echo(schema.encoded(found()).decode(), nl=False)


@store.command("start")
def store_start(data_dir: DataDirectory = None, run_dir: RunDirectory = None) -> None:
    """Start this machine's servers, as they were. The controller starts them again when they die;
    here what was stopped is started, and what no controller keeps."""
    from isthmus.store.servers import start_again

    found = load().controller
    for name, _ in _names():
        files = _files(name, data_dir, run_dir)
        server = asyncio.run(start_again(files, _listen(found, name), _tls(found, name)))
        word = "started" if server.started else "runs"
        typer.echo(f"{name} {word} (process {server.pid}, {server.remote})")


@store.command("stop")
def store_stop(data_dir: DataDirectory = None, run_dir: RunDirectory = None) -> None:
    """Stop this machine's servers until `isthmus store start`, or a controller is started. Traffic
    goes on; unless others serve, nothing can be changed meanwhile."""
    from isthmus.store.servers import stop_for_good

    for name, _ in _names():
        stopped = asyncio.run(stop_for_good(_files(name, data_dir, run_dir)))
        typer.echo(f"{name} {'stopped' if stopped else 'did not run'}")


def _names() -> Iterator[tuple[str, str]]:
    from isthmus.store import schema

    yield NORTH, schema.NORTH
    yield SOUTH, schema.SOUTH


def _files(name: str, data_dir: Path | None, run_dir: Path | None) -> ServerFiles:
    from isthmus.store.files import ServerFiles

    found = load().controller
    return ServerFiles(
        name,
        data_dir or Path(found.data_directory),
        run_dir or Path(found.run_directory),
    )


def _tls(found: Controller, name: str) -> ServerTls | None:
    from isthmus.store.exposure import ServerTls

    tls = found.north_tls if name == NORTH else found.tls
    if not tls.certificate:
        return None
    return ServerTls(Path(tls.certificate), Path(tls.key), Path(tls.ca))


def _listen(found: Controller, name: str) -> tuple[str, ...]:
    """As configured: what is remembered comes to it."""
    return found.store_listen if name == SOUTH else ()
