# SPDX-License-Identifier: Apache-2.0
"""``isthmus store share``, ``join``, ``leave``, ``remove``: both stores on several machines."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.configuration import Controller, configuration_file, load
from isthmus.cli.install import (
    NORTH,
    Maker,
    controller_section,
    copy_certificates,
    need_packages,
    services,
)
from isthmus.cli.stores import (
    DataDirectory,
    RunDirectory,
    listen_of,
    server_files,
    stores_by_name,
    tls_of,
)
from isthmus.errors import Invalid, IsthmusError

if TYPE_CHECKING:
    from isthmus.store.growing import Place

growing = typer.Typer()

LEAVE_S = 60.0

Wait = Annotated[float, typer.Option(help="Longest wait for each store, seconds.")]


@growing.command("share")
def store_share(
    address: Annotated[str, typer.Argument(help="Of this machine: 192.0.2.1, 192.0.2.1:6641.")],
    alone: Annotated[
        bool,
        typer.Option(
            "--alone", help="Go on with what this server has, when most of its cluster is lost."
        ),
    ] = False,
    data_dir: DataDirectory = None,
    run_dir: RunDirectory = None,
) -> None:
    """Let servers and controllers of other machines reach this machine's stores, by TLS. What is in
    them is kept; controllers and hosts notice a moment without."""
    from isthmus.store.growing import parse_place, share

    place, found = parse_place(address), load().controller
    for name, schema in stores_by_name().items():
        files = server_files(name, data_dir, run_dir)
        aside = asyncio.run(
            share(
                files,
                schema,
                raft_address=place.raft(name),
                listen=_further_listen(found, place, name),
                tls=tls_of(found, name),
                configured=listen_of(found, name),
                alone=alone,
            )
        )
        typer.echo(
            f"{name}: servers join at {place.raft(name)}, clients reach it at {place.remote(name)}"
        )
        if aside is not None:
            typer.echo(f"{name}: what was there before is in {aside}")


def _further_listen(found: Controller, place: Place, name: str) -> tuple[str, ...]:
    """Unless the configuration has it listen on that port already."""
    wanted = place.listen(name)
    port = wanted.split(":")[1]
    if any(one.split(":")[1:2] == [port] for one in listen_of(found, name)):
        return ()
    return (wanted,)


@growing.command("join")
def store_join(
    members: Annotated[list[str], typer.Argument(help="Machines of the cluster: 192.0.2.1.")],
    address: Annotated[str, typer.Option(help="Of this machine, as the others reach it.")],
    certificates: Annotated[
        Path | None, typer.Option(help="Folder that `isthmus certs controller` made for it.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of this machine's controller; its host name.")] = "",
    listen: Annotated[
        str, typer.Option(help="Where others than this machine reach its API: 0.0.0.0:443.")
    ] = "",
    mtu: Annotated[int, typer.Option(help="Of the underlay, bytes, as on the others.")] = 1500,
    data_dir: DataDirectory = None,
    run_dir: RunDirectory = None,
    wait: Wait = 60.0,
) -> None:
    """Make this machine one more of a cluster: a server of either store, and a controller on them.
    Says when both are in; can be repeated."""
    from isthmus.store.growing import parse_place

    place, others = parse_place(address), [parse_place(one) for one in members]
    own_name = (name or socket.gethostname()).lower()
    make, tls = Maker(Path("/"), dry_run=False), configuration_file().parent / "tls"
    need_packages(make, ("controller",))
    if certificates is not None:
        for part in ("", NORTH):
            source, target = certificates / part, tls / part
            copy_certificates(make, source, own_name, target, kind="controller")
    places = _places(data_dir, run_dir)
    section = controller_section(
        own_name,
        tls,
        listen=listen,
        certificate=own_name,
        mtu=mtu,
        south_port=place.port + 1,
        places=places,
        run_directory=run_dir or Path("/run/isthmus"),
    )
    _add_to_configuration(section)
    found = load().controller
    if found.north or found.south:
        raise Invalid(
            f"{configuration_file()} names servers elsewhere in `north` or `south`: take them out,"
            " for this machine is to have its own"
        )
    for one, schema in stores_by_name().items():
        asyncio.run(_join(one, str(schema["name"]), place, others, found, wait))
    services(make, ("controller",))


def _places(data_dir: Path | None, run_dir: Path | None) -> list[tuple[str, object]]:
    named = {"data_directory": data_dir, "run_directory": run_dir}
    return [(name, str(place)) for name, place in named.items() if place is not None]


def _add_to_configuration(section: str) -> None:
    """Unless it tells of a controller already."""
    import tomllib

    from isthmus.files import locked, write_file

    file = configuration_file()
    with locked(file.parent):
        there = file.read_text() if file.exists() else "# Isthmus: made by `isthmus store join`.\n"
        if "controller" in tomllib.loads(there):
            typer.echo(f"{file} tells of a controller, left as it is")
            return
        write_file(file, (there + section).encode(), secret=False)
    typer.echo(f"write {file}: [controller]")


async def _join(
    name: str, database: str, place: Place, others: list[Place], found: Controller, wait_s: float
) -> None:
    from isthmus.store.growing import join, wait_until_member

    files = server_files(name, None, None)
    members = [one.raft(name) for one in others]
    typer.echo(f"{name}: asks {', '.join(members)} to take in {place.raft(name)}")
    await join(
        files,
        database,
        raft_address=place.raft(name),
        members=members,
        listen=_further_listen(found, place, name),
        tls=tls_of(found, name),
        configured=listen_of(found, name),
    )
    status = await wait_until_member(files, database, timeout_s=wait_s)
    typer.echo(
        f"{name}: in the cluster of {len(status.members)}; clients reach it at {place.remote(name)}"
    )


@growing.command("leave")
def store_leave(
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Without asking the others: they have removed this machine."),
    ] = False,
    data_dir: DataDirectory = None,
    run_dir: RunDirectory = None,
    wait: Wait = LEAVE_S,
) -> None:
    """Take this machine's servers out of their clusters. What they held is kept aside."""
    from isthmus.store import growing as clusters
    from isthmus.store.files import State, placement

    for name, schema in stores_by_name().items():
        files = server_files(name, data_dir, run_dir)
        if placement(files).state is State.LEFT:
            typer.echo(f"{name}: has left already")
            continue
        if drop:
            aside = asyncio.run(clusters.drop(files))
        else:
            aside = asyncio.run(clusters.leave(files, str(schema["name"]), timeout_s=wait))
        typer.echo(f"{name}: has left" + ("" if aside is None else f"; what it held is in {aside}"))
    typer.echo(
        "stop the controller here, or name the servers of others in `north` and `south` of its"
        " configuration; take this machine out of `south` of the hosts"
    )


@growing.command("remove")
def store_remove(
    machine: Annotated[str, typer.Argument(help="That will not come back: 192.0.2.3.")],
    data_dir: DataDirectory = None,
    run_dir: RunDirectory = None,
    wait: Wait = LEAVE_S,
) -> None:
    """Take a lost machine out of both clusters, from one that runs."""
    from isthmus.errors import NotFound
    from isthmus.store import growing as clusters

    place = clusters.parse_place(machine)
    missing: list[IsthmusError] = []
    for name, schema in stores_by_name().items():
        files = server_files(name, data_dir, run_dir)
        try:
            asyncio.run(
                clusters.remove(files, str(schema["name"]), place.raft(name), timeout_s=wait)
            )
        except NotFound as error:
            missing.append(error)
        else:
            typer.echo(f"{name}: {place.raft(name)} is removed")
    if len(missing) == 2:
        raise missing[0]
