# SPDX-License-Identifier: Apache-2.0
"""The ``isthmus`` command.

Exit status: 0 done, 1 refused or something is wrong, 2 a wrong command line, 3 out of reach.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from isthmus.cli.bundles import bundles
from isthmus.cli.connecting import Reaching
from isthmus.cli.counting import counting
from isthmus.cli.daemons import daemons
from isthmus.cli.deleting import deleting
from isthmus.cli.growing import growing
from isthmus.cli.health import health
from isthmus.cli.hosts import hosts
from isthmus.cli.install import install
from isthmus.cli.planning import planning
from isthmus.cli.resources import resources
from isthmus.cli.security import certs, users
from isthmus.cli.status import overview
from isthmus.cli.stores import store, stores
from isthmus.cli.terminal import plain, prepare
from isthmus.cli.topology import topology
from isthmus.cli.tracing import tracing
from isthmus.cli.watching import watching
from isthmus.errors import IsthmusError, NotFound, Unavailable

REFUSED, UNREACHABLE = 1, 3

app = typer.Typer(
    name="isthmus",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    cls=Reaching,
)
for part in (
    resources,
    deleting,
    planning,
    overview,
    topology,
    tracing,
    counting,
    health,
    bundles,
    daemons,
    install,
    stores,
):
    app.add_typer(part)
app.add_typer(hosts, name="host")
store.add_typer(growing)
app.add_typer(store, name="store")
app.add_typer(watching, name="watch")
app.add_typer(certs, name="certs")
app.add_typer(users, name="users")


@app.command(
    "lab",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def lab(context: typer.Context) -> None:
    """A cloud on this machine, to try things on: up, down, status, exec, plug, unplug, move,
    ping."""
    try:
        from isthmus_lab.command import lab as commands
    except ModuleNotFoundError as error:
        raise NotFound(f"the lab is not installed here: {error}") from error
    typer.main.get_command(commands)(args=context.args, prog_name="isthmus lab")


@app.command()
def version() -> None:
    """Say which Isthmus this is."""
    from importlib.metadata import version as version_of

    typer.echo(version_of("isthmus"))


def _say_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which Isthmus this is."
        ),
    ] = False,
) -> None:
    """One virtual network across hypervisors.

    Exit status: 0 done, 1 refused or something is wrong, 2 a wrong command line, 3 out of reach.
    """


def main() -> None:
    """Run the command line; errors become one sentence and an exit status."""
    prepare()
    try:
        app()
    except IsthmusError as error:
        if os.environ.get("ISTHMUS_DEBUG"):
            raise
        print(f"isthmus: {_sentence(error)}", file=sys.stderr)
        sys.exit(UNREACHABLE if isinstance(error, Unavailable) else REFUSED)
    except (OSError, UnicodeError) as error:
        if isinstance(error, BrokenPipeError):
            _end_quietly()
        if os.environ.get("ISTHMUS_DEBUG"):
            raise
        print(f"isthmus: {_plainly(error)}", file=sys.stderr)
        sys.exit(REFUSED)


def _end_quietly() -> None:
    """Whoever read our output has enough of it; what Python would flush at exit has no reader."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(REFUSED)


def _plainly(error: OSError | UnicodeError) -> str:
    """Without the number that the operating system has for it."""
    if isinstance(error, OSError) and error.strerror:
        where = os.fsdecode(error.filename) + ": " if error.filename else ""
        return plain(f"{where}{error.strerror}")
    return plain(str(error))


def _sentence(error: IsthmusError) -> str:
    where = f", at {error.target}" if error.target and error.target not in error.message else ""
    lines = [f"{error.message} ({error.code}{where})"]
    lines += [f"  {detail.code}: {detail.message}" for detail in error.details]
    return "\n".join(plain(line) for line in lines)


if __name__ == "__main__":
    main()
