# SPDX-License-Identifier: Apache-2.0
"""Servers: each is a host that may speak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.derive.engine import Item, Read, unit
from isthmus.derive.from_intent.family import Family, item, reader
from isthmus.derive.from_intent.names import name_of
from isthmus.intent.kinds import servers
from isthmus.intent.model import Stored
from isthmus.policy.rows import Host


class ServerFact(NamedTuple):
    """A server."""

    ref: str
    name: str


def server_fact(stored: Stored) -> ServerFact:
    return ServerFact(ref=stored.ref, name=name_of(stored))


def server(host: ServerFact, read: Read) -> Iterator[Item]:
    """Over ServerFact: a host that may speak; its certificate is named like it."""
    yield item(Host(id=host.name, certificate_name=host.name, origin=host.ref))


FAMILY = Family(
    readers=(reader(servers.KIND, ServerFact, server_fact),),
    units=(unit(ServerFact, server),),
)
