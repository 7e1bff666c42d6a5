# SPDX-License-Identifier: Apache-2.0
"""A north store in memory, as the application knows one (`isthmus.api.interfaces`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from isthmus.api.http.streams import Message
from isthmus.api.interfaces import Check, Wanted, Watched
from isthmus.errors import Unavailable
from isthmus.intent.model import Ids, JsonObject, Plan, Stored, View
from isthmus.intent.planning import Request
from isthmus.intent.versions import Version
from isthmus.reach.trace import Question
from tests.intent.memory import CountingIds, MemoryStore


@dataclass(frozen=True)
class Deleted:
    key: str
    status: int
    operation_id: str


class MemoryNorth:
    """Applies each request at once."""

    def __init__(self) -> None:
        self.view = MemoryStore()
        self.connected = True
        self._ids = CountingIds()
        self._deletions: list[Deleted] = []
        self._deletions_by_request: dict[str, Deleted] = {}

    async def write(
        self,
        plan_for: Callable[[View, Ids], Plan],
        *,
        request_id: str = "",
        operation_id: str = "",
    ) -> Plan:
        if not self.connected:
            raise Unavailable("the north store cannot be reached")
        plan = plan_for(self.view, self._ids)
        self.view.apply(plan)
        if plan.deletes and operation_id:
            deleted = Deleted(min(plan.deletes), plan.status, operation_id)
            self._deletions.append(deleted)
            self._deletions_by_request[request_id] = deleted
        return plan

    def deletion(self, request_id: str) -> Deleted | None:
        return self._deletions_by_request.get(request_id) if request_id else None

    def operation(self, operation_id: str) -> Sequence[Stored] | Deleted | None:
        rows = [row for row in self.view.rows.values() if row.operation_id == operation_id]
        found = [one for one in self._deletions if one.operation_id == operation_id]
        return rows or next(iter(found), None)


async def _told(*messages: Message) -> AsyncIterator[Message]:
    for message in messages:
        yield message


class SilentHosts:
    """`intent.render.States` and `api.interfaces.Operations` where no host has said anything."""

    def configuration_state(self, kind: str, instance_id: str) -> JsonObject | None:
        return None

    def located(self, kind: str, instance_id: str) -> Sequence[str]:
        return ()

    def status(self) -> JsonObject:
        return {"software": "test"}

    async def status_asked(self) -> JsonObject:
        return {"software": "test", "asked": True}

    async def remove_host(self, host: str) -> JsonObject:
        return {"host": host, "removed": {}}

    def ailing(self) -> Sequence[str]:
        return ()

    async def explain_port(self, resource_id: str) -> JsonObject:
        return {"verdict": resource_id}

    def events(self, after: str, wanted: Wanted) -> AsyncIterator[Message]:
        return _told(Message("reset", {"after": after}, "x-1"))

    def flows(self, watched: Watched, kind: str) -> AsyncIterator[Message]:
        return _told(Message(kind, watched._asdict()))

    async def plan(self, requests: Sequence[Request], version: Version) -> JsonObject:
        return {"requests": len(requests), "version": str(version)}

    async def trace(self, question: Question, *, by_switches: bool) -> JsonObject:
        return {"verdict": "delivered", "asked": question._asdict(), "switches": by_switches}

    async def check_connectivity(self, check: Check) -> str:
        return f"{check.network}-{check.sender}-{check.receiver}-{check.protocol}-{check.port}"

    def check_results(self) -> dict[str, JsonObject]:
        return {"one": {"status": "Success", "roundTripTimeMSec": 2}}

    async def doctor(self) -> JsonObject:
        return {"hosts": 0, "findings": []}

    async def bundle(self) -> JsonObject:
        return {"north": [], "south": {}}

    async def counters(self) -> JsonObject:
        return {"hosts": []}

    async def raise_probe(self) -> JsonObject:
        return {"probe": 1, "hosts": []}

    async def probe(self, number: int, answered: int, wait_s: float) -> JsonObject:
        return {"probe": number, "hosts": [], "answered": answered, "waited": wait_s}
