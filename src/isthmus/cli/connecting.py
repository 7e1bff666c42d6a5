# SPDX-License-Identifier: Apache-2.0
"""How a command reaches a controller: options, environment, configuration file, in this order."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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


def connect(url: str = "", user: str = "", *, timeout_s: float = 30.0) -> Client:
    """A client of the controller. Raises Invalid."""
    from isthmus.api.client import Client

    found = load().client
    name = user or found.user
    return Client(
        url or found.url,
        ca=_path(os.environ.get("ISTHMUS_CA") or found.tls.ca),
        certificate=_path(os.environ.get("ISTHMUS_CERTIFICATE") or found.tls.certificate),
        key=_path(os.environ.get("ISTHMUS_KEY") or found.tls.key),
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
