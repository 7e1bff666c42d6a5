# SPDX-License-Identifier: Apache-2.0
"""Where a server of ours may be reached: beyond this machine by TLS alone, by whom our authority
knows.

The same rule as that of the REST API (`api.http.listening`), for both of a server's ports: the one
for clients and the one for the other servers of its cluster. Whoever gets through either can write
the whole store.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import Invalid


class ServerTls(NamedTuple):
    """The PEM files by which a server proves itself, and whose clients it takes."""

    certificate: Path
    key: Path
    ca: Path


def refuse_exposed(
    listen: Iterable[str], raft_addresses: Iterable[str], tls: ServerTls | None
) -> None:
    """Raises Invalid for an address that others than this machine reach without TLS, or that needs
    TLS and has none. `listen` are ``ptcp:port[:host]``, ``pssl:…``, ``punix:…``;
    `raft_addresses` are ``tcp:host:port``, ``ssl:…``, ``unix:…``."""
    for address in listen:
        scheme, _, rest = address.partition(":")
        _, _, host = rest.partition(":")
        _refuse_one(address, scheme.removeprefix("p"), host, f"pssl:{rest}", tls)
    for address in raft_addresses:
        scheme, _, rest = address.partition(":")
        host, _, _ = rest.rpartition(":")
        _refuse_one(address, scheme, host, f"ssl:{rest}", tls)


def _refuse_one(address: str, scheme: str, host: str, better: str, tls: ServerTls | None) -> None:
    match scheme:
        case "unix":
            return
        case "tcp":
            if not _is_loopback(host):
                raise Invalid(
                    f"refusing to serve a store on {address}: others than this machine reach it,"
                    f" and nobody proves who they are. Say {better}, with a certificate"
                    " (isthmus certs)",
                    target=address,
                )
        case "ssl":
            if tls is None:
                raise Invalid(
                    f"{address} needs a certificate, its key and the authority that is trusted:"
                    " [controller.tls] for the south store, [controller.north_tls] for the north"
                    " store (isthmus certs)",
                    target=address,
                )
        case _:
            raise Invalid(
                f"{address!r} is no address of a store's server: write pssl:port, ptcp:port:host or"
                " punix:/path for clients, ssl:host:port for other servers",
                target=address,
            )


def _is_loopback(host: str) -> bool:
    """No host at all is every address of the machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
