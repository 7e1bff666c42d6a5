# SPDX-License-Identifier: Apache-2.0
"""What of a port its host keeps closed, because it cannot do as policy says: the words of
`PortStatus.closed`. Hosts write them, and who asks why a packet does not arrive reads them."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.policy.joined import joined

PORT = "port"
"""All of it."""


def address_word(address: str, family: int) -> str:
    """All that one of its addresses sends and receives. Where the port has none of a family,
    `address` is empty: what it could send and receive of that family."""
    return f"address {address or f'IPv{family}'}"


def list_word(direction: str, sets: Iterable[str]) -> str:
    """The connections that these rule sets, at one level together, rule on; `direction` is in or
    out."""
    return joined(direction, *sorted(sets))


def domain_word(rdid: int) -> str:
    """What passes between it and the routing domain of that number, of a peered network."""
    return f"domain {rdid}"
