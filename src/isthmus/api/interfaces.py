# SPDX-License-Identifier: Apache-2.0
"""What the application needs of the rest: the north store, and what operators ask."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from isthmus.api.http.streams import Message
from isthmus.intent.model import Ids, JsonObject, Plan, Stored, View
from isthmus.intent.planning import Request
from isthmus.intent.versions import Version
from isthmus.reach.trace import Question


class Deletion(Protocol):
    """What a request deleted."""

    @property
    def key(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def operation_id(self) -> str: ...


class Check(NamedTuple):
    """What a ConnectivityCheck asks. `network` is the name of the virtual network."""

    network: str
    sender: str
    receiver: str
    protocol: str
    port: int
    length: int
    with_trace: bool
    asked: JsonObject
    """As the request had it, for whoever reads the result."""


class Watched(NamedTuple):
    """What somebody watches: packets from or to a port, between it and a peer (a port, an address
    or a prefix), on a host; of a verdict: ``allowed``, ``dropped`` or ``all``. Empty texts are any.
    """

    verdict: str = "all"
    port: str = ""
    peer: str = ""
    host: str = ""


class Change(enum.StrEnum):
    """What happened to a resource."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


EVENTS = ("resource", "state", "host")
"""Kinds of events: a resource was written or deleted, a host says something of a port or of itself.
"""


class Wanted(NamedTuple):
    """Which events somebody wants to hear; what is empty is any. What hosts say of a port is of its
    networkInterface, what they say of themselves of their server."""

    event: str = ""
    """One of `EVENTS`."""
    kind: str = ""
    """Of the resource, in lower case: ``virtualnetworks/subnets``."""
    resource: str = ""
    """Key of a resource, or path of a collection in lower case: itself and all below."""
    change: str = ""
    """A `Change`, which only resources have."""


class North(Protocol):
    """`store.north.North`, or a store in memory."""

    @property
    def view(self) -> View: ...

    @property
    def connected(self) -> bool: ...

    async def write(
        self,
        plan_for: Callable[[View, Ids], Plan],
        *,
        request_id: str = "",
        operation_id: str = "",
    ) -> Plan:
        """Plan and apply; raises what `plan_for` raises, Conflict, Unavailable."""
        ...

    def deletion(self, request_id: str) -> Deletion | None: ...

    def operation(self, operation_id: str) -> Sequence[Stored] | Deletion | None: ...


class Operations(Protocol):
    """`controller.operations.Operations`."""

    def status(self) -> JsonObject: ...

    async def status_asked(self) -> JsonObject:
        """The same, after asking all hosts whether they are there: takes up to three seconds."""
        ...

    async def remove_host(self, host: str) -> JsonObject:
        """Forget all that a dead host has said. Raises NotFound, Conflict, Unavailable."""
        ...

    def ailing(self) -> Sequence[str]:
        """The names of the stores that this controller cannot use now."""
        ...

    async def explain_port(self, resource_id: str) -> JsonObject:
        """Raises NotFound."""
        ...

    def events(self, after: str, wanted: Wanted) -> AsyncIterator[Message]:
        """What happens from now on, or has since the event that `after` identifies."""
        ...

    async def check_connectivity(self, check: Check) -> str:
        """Begin a check; its operation id. Raises NotFound, Unavailable."""
        ...

    def check_results(self) -> dict[str, JsonObject]: ...

    async def doctor(self) -> JsonObject: ...

    async def bundle(self) -> JsonObject: ...

    async def counters(self) -> JsonObject: ...

    def flows(self, watched: Watched, kind: str) -> AsyncIterator[Message]:
        """What hosts allow and drop, told as events of that kind. Raises NotFound, Invalid."""
        ...

    async def plan(self, requests: Sequence[Request], version: Version) -> JsonObject:
        """Raises what the requests would be refused with."""
        ...

    async def trace(self, question: Question, *, by_switches: bool) -> JsonObject:
        """Raises NotFound, Invalid."""
        ...

    async def raise_probe(self) -> JsonObject: ...

    async def probe(self, number: int, answered: int, wait_s: float) -> JsonObject: ...
