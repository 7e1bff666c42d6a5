# SPDX-License-Identifier: Apache-2.0
"""ConnectivityCheck (MS-NCNBI section B.20): can one address of a virtual network reach another, by
policy, by the switches, and by a real packet.

A check runs on the controller that took it; what it found is a row of the south store, so that any
controller can tell it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Annotated
from uuid import uuid4

import msgspec

from isthmus.api.interfaces import Check
from isthmus.controller.asking import Asking
from isthmus.controller.tracing import Traced, Tracing, first_hop
from isthmus.errors import IsthmusError, NotFound, Unavailable
from isthmus.intent.model import Json, JsonObject
from isthmus.policy.answers import Reply, Told, read
from isthmus.policy.observed import LAST_S
from isthmus.policy.questions import SendProbe
from isthmus.policy.rows import Answer
from isthmus.reach.rulings import TCP, UDP
from isthmus.reach.trace import DELIVERED, Question, trace
from isthmus.reach.world import World
from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import delete, insert, update


class Found(Told, frozen=True, kw_only=True):
    """What a check has found, as a controller has written it."""

    asked: dict[str, object]
    at_s: Annotated[int, msgspec.Meta(ge=0, le=LAST_S)] = msgspec.field(name="atS")


PREFIX = "check-"
KEPT_S = 3600
"""What a check has found is told for an hour."""

PROTOCOLS = {"Icmp": 0, "Tcp": TCP, "Udp": UDP}


class Checks:
    """The checks of one controller."""

    def __init__(
        self, world: Callable[[], World], asking: Asking, tracing: Tracing, south: Connection
    ) -> None:
        self._world = world
        self._asking = asking
        self._tracing = tracing
        self._south = south
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, check: Check) -> str:
        """Begin a check; its id. Raises NotFound for a sender that no port is, Unavailable."""
        world = self._world()
        sender = world.port_at(check.network, check.sender)
        if sender is None:
            raise NotFound(
                f"no port of {check.network} has the address {check.sender}",
                target="properties.senderIpAddress",
            )
        operation_id = str(uuid4())
        await self._forget()
        row = self._row(operation_id, check, {"status": "InProgress"})
        await self._south.transact([insert(Answer.TABLE, row)])
        task = asyncio.create_task(self._run(operation_id, check, sender.id))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return operation_id

    def results(self) -> dict[str, JsonObject]:
        """By operation id: what checks have found so far."""
        found: dict[str, JsonObject] = {}
        for answer in self._south.table(Answer).values():
            if answer.id.startswith(PREFIX):
                result = read(answer.result, Found)
                if result.answer is not None:
                    found[answer.id.removeprefix(PREFIX)] = result.shown
        return found

    async def _run(self, operation_id: str, check: Check, sender: str) -> None:
        try:
            result = await self._result(check, sender)
        except IsthmusError as error:
            result = {"status": "Failure", "errorMessage": error.message}
        row = self._row(operation_id, check, result)
        with contextlib.suppress(Unavailable):
            for row_id, answer in self._south.table(Answer).items():
                if answer.id == row.id:
                    changes = [update(Answer.TABLE, row_id, row, ["result"])]
                    await self._south.transact(changes)

    async def _result(self, check: Check, sender: str) -> dict[str, Json]:
        question = Question(
            sender,
            check.receiver,
            PROTOCOLS[check.protocol],
            check.port,
            source_port=49152,
            source_address=check.sender,
        )
        traced = await self._tracing.trace(question, by_switches=check.with_trace)
        world = self._world()
        found = trace(world, question)
        result: dict[str, Json] = {"nodeOutput": _nodes(traced) if check.with_trace else []}
        if found.verdict != DELIVERED:
            return {**result, "status": "Failure", "errorMessage": found.last.text}
        if check.protocol == "Udp" or not found.receiver:
            # Nobody need answer a datagram, and the router's answer is the switch's own: what
            # policy and the switches say must do.
            return {**result, "status": "Success"}
        claim = world.claim_of(sender)
        assert claim is not None, "what is delivered was sent from a host"
        probe = SendProbe(
            port=sender,
            source=check.sender,
            target=check.receiver,
            next_hop_mac=first_hop(world, found),
            protocol=check.protocol.lower(),
            destination_port=check.port,
            length=check.length,
        )
        answer, error, _ = await self._asking.ask(claim.host, probe)
        if answer is not None and answer.answered:
            # Whole ones, by the schema of the standard; 0 would mean that nothing was sent.
            took_ms = max(1, round(answer.milliseconds))
            return {**result, "status": "Success", "roundTripTimeMSec": took_ms}
        why = error or (
            f"policy lets it pass, and {check.receiver} did not answer a real packet: does the"
            " guest run, has it that address, does it answer?"
        )
        return {**result, "status": "Failure", "errorMessage": why}

    def _row(self, operation_id: str, check: Check, result: JsonObject) -> Answer:
        told = {**result, "asked": check.asked, "atS": int(time.time())}
        text = msgspec.json.encode(told).decode()
        return Answer(id=f"{PREFIX}{operation_id}", host="", result=text)

    async def _forget(self) -> None:
        """What is old, and what is no result: some host has written it."""
        old = [
            delete(Answer.TABLE, row_id)
            for row_id, answer in self._south.table(Answer).items()
            if answer.id.startswith(PREFIX)
            and _made_at_s(read(answer.result, Found)) < time.time() - KEPT_S
        ]
        if old:
            await self._south.transact(old)


def _made_at_s(result: Reply[Found]) -> int:
    return 0 if result.answer is None else result.answer.at_s


def _nodes(traced: Traced) -> list[Json]:
    """What each host has done, in the words of the standard."""
    nodes: list[Json] = []
    for number, (host, reply) in enumerate(traced.passages):
        answer = reply.answer
        places = () if answer is None else answer.places
        outcome = None if answer is None else answer.outcome
        steps = traced.found.steps if number == 0 else ()
        nodes.append(
            {
                "nodeType": "Sender" if number == 0 else "Receiver",
                "nodeSequenceNumber": number,
                "traceOutput": [
                    f"{host}: {' > '.join(places)}: {outcome}",
                    *(f"{step.where}: {step.text}" for step in steps),
                ],
            }
        )
    return nodes
