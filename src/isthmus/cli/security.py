# SPDX-License-Identifier: Apache-2.0
"""``isthmus certs`` and ``isthmus users``: who is who."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.connecting import PASSWORD, AsJson, Url, User, connect
from isthmus.errors import Conflict, Invalid, IsthmusError, NotFound, Unavailable

if TYPE_CHECKING:
    from isthmus.store.files import ServerFiles

certs = typer.Typer(help="The certificate authority, and what it issues.", no_args_is_help=True)
users = typer.Typer(help="Who may use the API by password.", no_args_is_help=True)

NORTH = "north"
FOLDER = Path("/etc/isthmus/tls")
USERS_FILE = Path("/etc/isthmus/users")

Folder = Annotated[Path, typer.Option(help="Where the authority is.")]
Into = Annotated[Path | None, typer.Option(help="Folder for the files; beside the authority.")]
Dns = Annotated[list[str] | None, typer.Option(help="Another DNS name of it; several.")]
Address = Annotated[list[str] | None, typer.Option(help="An address of it; several.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]


@certs.command("init")
def certs_init(folder: Folder = FOLDER) -> None:
    """Make the authority of this installation."""
    from isthmus.api.certificates import make_authority

    make_authority(folder)
    typer.echo(f"made the authority in {folder}: keep {folder}/authority.pem to yourself")


@certs.command("host")
def certs_host(
    name: Name,
    folder: Folder = FOLDER,
    into: Into = None,
    dns: Dns = None,
    address: Address = None,
) -> None:
    """Issue a host's certificate; NAME is the host id, the resourceId of its server."""
    _issue(folder, name.lower(), into, dns, address, client_only=False)


@certs.command("controller")
def certs_controller(
    name: Name,
    folder: Folder = FOLDER,
    into: Into = None,
    dns: Dns = None,
    address: Address = None,
) -> None:
    """Issue a controller's certificates; say by --dns and --address how clients call it. The one
    for the north store is of an authority of its own, and goes into the folder `north`."""
    _issue(folder, name, into, dns, address, client_only=False)
    if (folder / NORTH / "authority.pem").exists():
        beside = None if into is None else into / NORTH
        _issue(folder / NORTH, name, beside, dns, address, client_only=False)


@certs.command("client")
def certs_client(name: Name, folder: Folder = FOLDER, into: Into = None) -> None:
    """Issue a certificate for a user of the API."""
    _issue(folder, name, into, None, None, client_only=True)


def _issue(
    folder: Path,
    name: str,
    into: Path | None,
    dns: list[str] | None,
    addresses: list[str] | None,
    *,
    client_only: bool,
) -> None:
    from isthmus.api.certificates import BOTH, Kind, issue

    issued = issue(
        folder,
        name,
        (Kind.CLIENT,) if client_only else BOTH,
        dns=dns or (),
        addresses=addresses or (),
        into=into,
    )
    for file in (issued.certificate, issued.key, issued.authorities):
        typer.echo(str(file))
    _have_presented(issued.certificate.parent)
    typer.echo(f"SHA-256 {issued.thumbprint}", err=True)


@certs.command("rotate")
def certs_rotate(folder: Folder = FOLDER) -> None:
    """Make a new authority; the old one stays trusted until `isthmus certs retire`."""
    from isthmus.api.rotation import rotate

    authority = rotate(folder)
    typer.echo(
        f"a new authority signs from now on, {len(authority.trusted)} are trusted. First give"
        f" {folder}/ca.pem to every machine (isthmus certs install FOLDER there), then: isthmus"
        " certs renew"
    )


@certs.command("renew")
def certs_renew(folder: Folder = FOLDER) -> None:
    """Issue again, for the same names and into the same folders, whatever an old authority has
    signed."""
    from isthmus.api.rotation import renew

    for issued in renew(folder):
        typer.echo(str(issued.certificate))
        _have_presented(issued.certificate.parent)
    typer.echo(
        "copy each to its machine (isthmus certs install FOLDER there), and then: isthmus certs"
        " retire",
        err=True,
    )


@certs.command("forget")
def certs_forget(name: Name, folder: Folder = FOLDER) -> None:
    """Take a name whose certificate is no longer used out of the register of what was issued."""
    from isthmus.api.issued import read_issued, record
    from isthmus.files import locked

    if name not in read_issued(folder):
        raise NotFound(f"{folder} has issued nothing for {name!r}", target=name)
    for file in (folder / f"{name}.pem", folder / f"{name}-key.pem"):
        if file.exists():
            raise Conflict(
                f"{file} is still there: remove it and its companion first", target=str(file)
            )
    with locked(folder):
        record(folder, name, None)
    typer.echo(f"{name} is forgotten; a copy of its certificate works until its end or retirement")


@certs.command("install")
def certs_install(
    source: Annotated[Path, typer.Argument(metavar="FOLDER")],
    into: Annotated[Path, typer.Option(help="Where this machine has its certificates.")] = FOLDER,
) -> None:
    """Put what FOLDER holds (ca.pem, and certificates with their keys) in the place of this
    machine's. What runs here uses it from its next connection on."""
    from isthmus.api.certificate_checks import check, read_certificates
    from isthmus.files import locked, pair, read_file, replace_files

    bundle = source / "ca.pem"
    read_certificates(bundle)
    pairs = [
        (file, file.with_name(f"{file.stem}-key.pem"))
        for file in sorted(source.glob("*.pem"))
        if file.with_name(f"{file.stem}-key.pem").exists()
    ]
    for file, key in pairs:
        check(file, key, bundle)
    # Whom to trust comes first: a peer may have its new certificate already.
    files = [(into / bundle.name, read_file(bundle, "the authorities"), False)]
    for file, key in pairs:
        certificate, secret = read_file(file, "a certificate"), read_file(key, "its key")
        files += pair(into / file.name, certificate, into / key.name, secret)
    with locked(into):
        replace_files(files)
    for path, _, _ in files:
        typer.echo(str(path))
    _have_presented(into)


def _have_presented(folder: Path) -> None:
    """See to it that the stores' servers of this machine whose files are in `folder` present them.
    Raises Unavailable, saying what is wrong."""
    from isthmus.cli.stores import presenting_problem

    found = {
        name: presenting_problem(name, files, mend=True)
        for name, file, files in _own_servers()
        if file.parent.resolve() == folder.resolve()
    }
    if told := [f"the server of the {name} store: {said}" for name, said in found.items() if said]:
        raise Unavailable("; ".join(told))


def _own_servers() -> list[tuple[str, Path, ServerFiles]]:
    """The stores that this machine may have servers of, with their certificates as configured."""
    from isthmus.cli.configuration import load
    from isthmus.cli.stores import server_files, stores_by_name, tls_of

    try:
        found = load().controller
    except IsthmusError:
        return []  # certificates may be there before the configuration is
    tls = {name: tls_of(found, name) for name in stores_by_name()}
    return [
        (name, one.certificate, server_files(name, None, None))
        for name, one in tls.items()
        if one is not None
    ]


@certs.command("retire")
def certs_retire(
    folder: Folder = FOLDER,
    force: Annotated[
        bool, typer.Option("--force", help="Whatever still depends on an old one is cut off.")
    ] = False,
    url: Url = "",
    user: User = "",
) -> None:
    """End the trust in all authorities but the newest. Refuses while anything is known to depend
    on an old one: a certificate in the register, a host, a controller, a server of a store."""
    from isthmus.api.rotation import retire

    told: dict[str, Any] = {}
    if not force:
        # No host has a certificate of the north's authority, but the servers of the north have.
        depends = "northCertificates" if folder.name == NORTH else "certificates"
        try:
            with connect(url, user, timeout_s=60.0) as client:
                answer = client.doctor()
        except Unavailable as error:
            raise Unavailable(
                f"no controller says what hosts and servers use: {error.message}. Start one, or"
                " say --force"
            ) from error
        if depends not in answer:
            raise Unavailable("the controller that answers is an older one: ask another by --url")
        told = answer[depends]
    retire(folder, told, force=force)
    typer.echo(f"only the newest authority is trusted. Give {folder}/ca.pem to all machines")


@certs.command("list")
def certs_list(folder: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Show the certificates of a folder: whose, until when, signed by a trusted authority or not,
    presented by the stores' servers here or not. Exit status 1 when one cannot be used."""
    from isthmus.api.certificate_checks import check, common_name, read_certificates
    from isthmus.cli import shown
    from isthmus.cli.stores import presenting_problem
    from isthmus.store.client_tls import settled

    rows = []
    for file in sorted((*folder.glob("*.pem"), *(folder / NORTH).glob("*.pem"))):
        key = file.with_name(f"{file.stem}-key.pem")
        if not key.exists():
            continue
        name = until = problem = ""
        try:
            found = read_certificates(file)[0]
            name, until = common_name(found), found.not_valid_after_utc.date().isoformat()
            settled(partial(check, file, key, file.parent / "ca.pem"))
            problem = "; ".join(
                f"the server of the {store} store: {said}"
                for store, its, files in _own_servers()
                if its.resolve() == file.resolve() and (said := presenting_problem(store, files))
            )
        except (Invalid, NotFound) as error:
            problem = error.message
        rows.append((name, until, str(file), problem))
    if as_json:
        names = ("name", "until", "file", "problem")
        shown.print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        shown.print_table(("NAME", "UNTIL", "FILE", "PROBLEM"), rows)
    if any(problem for *_, problem in rows):
        raise typer.Exit(1)


UsersFile = Annotated[Path, typer.Option("--file", help="The file of users.")]


@users.command("add")
def users_add(name: Name, file: UsersFile = USERS_FILE) -> None:
    """Add a user, or change a password, which is asked for (or ISTHMUS_PASSWORD)."""
    from isthmus.api.http.users import set_user

    set_user(file, name, _new_password(name))
    typer.echo(f"{name} may use the API by password ({file})")


@users.command("remove")
def users_remove(name: Name, file: UsersFile = USERS_FILE) -> None:
    """Remove a user."""
    from isthmus.api.http.users import remove_user

    remove_user(file, name)
    typer.echo(f"{name} may no longer use the API by password")


@users.command("list")
def users_list(file: UsersFile = USERS_FILE) -> None:
    """Show the users' names."""
    from isthmus.api.http.users import read_users

    for name in sorted(read_users(file)):
        typer.echo(name)


def _new_password(name: str) -> str:
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if not sys.stdin.isatty():
        raise Invalid(f"there is no terminal to ask for a password on: set {PASSWORD}")
    entered: str = typer.prompt(
        f"new password of {name}", hide_input=True, confirmation_prompt=True
    )
    return entered
