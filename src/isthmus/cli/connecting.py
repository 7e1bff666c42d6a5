# SPDX-License-Identifier: Apache-2.0
"""How a command reaches a controller: options, environment, configuration file, in this order.

Every command with ``--url`` also takes ``--certificate``, ``--key`` and ``--ca``; `Reaching` gives
them to it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from isthmus.cli.configuration import load
from isthmus.intent.versions import LATEST

if TYPE_CHECKING:
    from isthmus.api.client import Client

Url = Annotated[
    str,
    typer.Option(
        envvar="ISTHMUS_URL", help="Of a controller: unix:/path, https://host; as configured."
    ),
]
User = Annotated[str, typer.Option(envvar="ISTHMUS_USER", help="Name; the password is asked for.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]

BundleFile = Annotated[
    Path | None,
    typer.Option("--bundle", help="Ask a file that `isthmus bundle` wrote, not a controller."),
]

PASSWORD = "ISTHMUS_PASSWORD"
"""Environment variable of the password; it has no option, for others can read command lines."""

VERSION = "ISTHMUS_API_VERSION"
"""Environment variable of the version in URIs, for controllers that know no newer ones."""


_given: dict[str, str] = {}
"""The files that the command that runs was given, by option."""


def _file(name: str, *names: str, text: str, variable: str) -> Any:
    """An option that no command need have among its parameters."""

    def remember(value: str) -> str:
        _given[name] = value
        return value

    return typer.Option(
        *(f"--{name}", *names),
        metavar="FILE",
        envvar=variable,
        help=f"{text}, PEM; as configured.",
        callback=remember,
        expose_value=False,
    )


def _files(
    certificate: Annotated[
        str,
        _file(
            "certificate",
            "--cert",
            text="What one proves oneself with",
            variable="ISTHMUS_CERTIFICATE",
        ),
    ] = "",
    key: Annotated[str, _file("key", text="Its key", variable="ISTHMUS_KEY")] = "",
    ca: Annotated[str, _file("ca", text="Whom to trust", variable="ISTHMUS_CA")] = "",
) -> None:
    """Its options are what every command that reaches a controller also takes."""


class Reaching(TyperGroup):
    """A group whose commands that reach a controller also take the options of TLS."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        bearer = typer.Typer(add_completion=False)
        bearer.command()(_files)
        options = typer.main.get_command(bearer).params
        groups: list[TyperGroup] = [self]
        while groups:
            for command in groups.pop().commands.values():
                if isinstance(command, TyperGroup):
                    groups.append(command)
                elif any("--url" in option.opts for option in command.params):
                    command.params += options


def connect(url: str = "", user: str = "", *, timeout_s: float = 30.0) -> Client:
    """A client of the controller. Raises Invalid."""
    from isthmus.api.client import Client

    found = load().client
    name = user or found.user
    return Client(
        url or found.url,
        ca=_path(_given.get("ca") or found.tls.ca),
        certificate=_path(_given.get("certificate") or found.tls.certificate),
        key=_path(_given.get("key") or found.tls.key),
        user=name,
        password=_password(name) if name else "",
        version=os.environ.get(VERSION) or str(LATEST),
        timeout_s=timeout_s,
    )


def _password(user: str) -> str:
    if PASSWORD in os.environ or not sys.stdin.isatty():
        return os.environ.get(PASSWORD, "")
    entered: str = typer.prompt(f"password of {user}", hide_input=True, err=True)
    return entered


def _path(text: str) -> Path | None:
    return Path(text) if text else None
