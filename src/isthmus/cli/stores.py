# SPDX-License-Identifier: Apache-2.0
"""``isthmus backup``, ``restore`` and ``store``: the data behind everything."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.configuration import Controller, load
from isthmus.cli.connecting import AsJson
from isthmus.errors import Invalid, IsthmusError

if TYPE_CHECKING:
    from isthmus.store.exposure import ServerTls
    from isthmus.store.files import ServerFiles
    from isthmus.store.schema import Schema

stores = typer.Typer()
store = typer.Typer(help="The servers that hold the data.", no_args_is_help=True)

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
    remote = found.north[0] if found.north else server_files(NORTH, None, run_dir).remote
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

    files = server_files(NORTH, data_dir, run_dir)
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
    for name, schema in stores_by_name().items():
        status = _status(name, str(schema["name"]), data_dir, run_dir)
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
    from isthmus.store.files import State, placement

    row: dict[str, object] = {**dict.fromkeys(_COLUMNS, ""), "store": name}
    files = server_files(name, data_dir, run_dir)
    match placement(files).state:
        case State.LEFT:
            return {**row, "status": "has left its cluster"}
        case State.STOPPED:
            problem = "`isthmus store stop` has stopped it: `isthmus store start`"
            return {**row, "status": "stopped", "problem": problem}
        case State.SERVES:
            pass
    try:
        found = asyncio.run(cluster_status(files, database))
    except IsthmusError as error:
        return {**row, "problem": f"no server here answers: {error.message}"}
    return {
        **row,
        "status": found.status,
        "role": found.role,
        "leader": found.leader,
        "term": found.term,
        "members": ", ".join(sorted(member.address for member in found.members)),
        "address": found.address,
        "problem": "; ".join(filter(None, (problem_of(found), presenting_problem(name, files)))),
    }


def presenting_problem(name: str, files: ServerFiles, *, mend: bool = False) -> str:
    """What is wrong with the certificate that the server of a store here presents to others; empty
    where nothing is, and where none runs or none listens for others. `mend`: have it read its files
    again first, where it presents others."""
    from isthmus.store.presenting import look
    from isthmus.store.servers import process_of

    found = load().controller
    tls = tls_of(found, name)
    if tls is None or process_of(files) is None:
        return ""
    try:
        return asyncio.run(look(files, listen_of(found, name), tls, mend=mend))
    except IsthmusError as error:
        return f"what it presents is not known: {error.message}"


@store.command("schema")
def store_schema(name: WhichStore) -> None:
    """Print a store's schema, for servers of your own: ovsdb-tool create FILE SCHEMA."""
    from isthmus.store import schema

    found = stores_by_name().get(name)
    if found is None:
        raise Invalid(f"{name!r} is no store: say north or south")
    typer.echo(schema.encoded(found).decode(), nl=False)


@store.command("start")
def store_start(data_dir: DataDirectory = None, run_dir: RunDirectory = None) -> None:
    """Start this machine's servers, as they were. The controller starts them again when they die;
    here what was stopped is started, and what no controller keeps."""
    from isthmus.store.servers import start_again

    found = load().controller
    for name in stores_by_name():
        files = server_files(name, data_dir, run_dir)
        server = asyncio.run(start_again(files, listen_of(found, name), tls_of(found, name)))
        word = "started" if server.started else "runs"
        typer.echo(f"{name} {word} (process {server.pid}, {server.remote})")


@store.command("stop")
def store_stop(data_dir: DataDirectory = None, run_dir: RunDirectory = None) -> None:
    """Stop this machine's servers until `isthmus store start`, or a controller is started. Traffic
    goes on; unless others serve, nothing can be changed meanwhile."""
    from isthmus.store.servers import stop_for_good

    for name in stores_by_name():
        stopped = asyncio.run(stop_for_good(server_files(name, data_dir, run_dir)))
        typer.echo(f"{name} {'stopped' if stopped else 'did not run'}")


def stores_by_name() -> dict[str, Schema]:
    """The two stores' schemas."""
    from isthmus.store import schema

    return {NORTH: schema.north_schema(), SOUTH: schema.south_schema()}


def server_files(name: str, data_dir: Path | None, run_dir: Path | None) -> ServerFiles:
    """Where the server of a store keeps what."""
    from isthmus.store.files import ServerFiles

    found = load().controller
    return ServerFiles(
        name,
        data_dir or Path(found.data_directory),
        run_dir or Path(found.run_directory),
    )


def tls_of(found: Controller, name: str) -> ServerTls | None:
    """How the server of a store proves itself, and whom it takes."""
    from isthmus.store.exposure import ServerTls

    tls = found.north_tls if name == NORTH else found.tls
    if not (tls.certificate and tls.key and tls.ca):
        return None
    return ServerTls(Path(tls.certificate), Path(tls.key), Path(tls.ca))


def listen_of(found: Controller, name: str) -> tuple[str, ...]:
    """As configured: what is remembered comes to it."""
    return found.store_listen if name == SOUTH else ()
