# SPDX-License-Identifier: Apache-2.0
"""Where data bases are reached: ``unix:/path``, ``tcp:host:port``, ``ssl:host:port``, with IPv6
addresses in brackets (ovsdb(7), Active Database Connection Methods)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeVar

from isthmus.errors import Invalid, Unavailable

P = TypeVar("P", bound=asyncio.Protocol)


def check_remote(remote: str) -> tuple[str, str, int]:
    """The scheme, the host or path, and the port (0 for unix). Raises Invalid."""
    scheme, _, rest = remote.partition(":")
    if scheme == "unix" and rest:
        return scheme, rest, 0
    host, _, port = rest.rpartition(":")
    if scheme in ("tcp", "ssl") and host and port.isdecimal() and int(port) < 65536:
        return scheme, host.strip("[]"), int(port)
    raise Invalid(
        f"{remote!r} is no address of a data base: write unix:/path, tcp:host:port or"
        " ssl:host:port",
        target=remote,
    )


async def dial(
    remote: str, protocol: Callable[[], P], tls: ssl.SSLContext | None, timeout_s: float
) -> P:
    """Connect. Raises Invalid, OSError, Unavailable."""
    scheme, host, port = check_remote(remote)
    loop = asyncio.get_running_loop()
    if scheme == "ssl" and tls is None:
        raise Unavailable(f"{remote} needs a certificate to connect with, and none is configured")
    try:
        async with asyncio.timeout(timeout_s):
            if scheme == "unix":
                _, made = await loop.create_unix_connection(protocol, host)
            else:
                context = tls if scheme == "ssl" else None
                _, made = await loop.create_connection(protocol, host, port, ssl=context)
    except TimeoutError as error:
        raise Unavailable(f"no connection to {remote} in {timeout_s:g} s") from error
    return made
