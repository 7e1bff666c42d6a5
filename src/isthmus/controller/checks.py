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
from uuid import uuid4

import msgspec

from isthmus.api.interfaces import Check
from isthmus.controller.answers import Found, read_told
from isthmus.controller.asking import Asking
from isthmus.controller.tracing import Tracing, first_hop
from isthmus.errors import IsthmusError, NotFound, Unavailable
from isthmus.intent.model import Json, JsonObject
from isthmus.policy.rows import Answer
from isthmus.reach.rulings import TCP, UDP
from isthmus.reach.trace import DELIVERED, Question, trace
from isthmus.reach.world import World
from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import delete, insert, update

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
        sender = world.at_address.get((check.network, check.sender))
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
                result = read_told(answer.result, Found)
                if not result.get("error"):
                    found[answer.id.removeprefix(PREFIX)] = result
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
        told = await self._tracing.trace(question, by_switches=check.with_trace)
        world = self._world()
        found = trace(world, question)
        result: dict[str, Json] = {"nodeOutput": _nodes(told) if check.with_trace else []}
        if found.verdict != DELIVERED:
            return {**result, "status": "Failure", "errorMessage": found.last.text}
        if check.protocol == "Udp" or not found.receiver:
            # Nobody need answer a datagram, and the router's answer is a flow of the switch: what
            # policy and the switches say must do.
            return {**result, "status": "Success"}
        claim = world.claim_of(sender)
        assert claim is not None, "what is delivered was sent from a host"
        probe = {
            "port": sender,
            "source": check.sender,
            "target": check.receiver,
            "eth_dst": first_hop(world, found),
            "protocol": check.protocol.lower(),
            "destination_port": check.port,
            "length": check.length,
        }
        text = f"probe {msgspec.json.encode(probe).decode()}"
        answer = await self._asking.ask(claim.host, text)
        if answer.get("answered"):
            took_ms = answer.get("milliseconds", 0)
            assert isinstance(took_ms, int | float)
            # Whole ones, by the schema of the standard; 0 would mean that nothing was sent.
            return {**result, "status": "Success", "roundTripTimeMSec": max(1, round(took_ms))}
        why = answer.get("error") or (
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
            and _made_at_s(read_told(answer.result, Found)) < time.time() - KEPT_S
        ]
        if old:
            await self._south.transact(old)


def _made_at_s(result: JsonObject) -> int:
    at_s = result.get("atS")
    return at_s if isinstance(at_s, int) and not result.get("error") else 0


def _nodes(told: JsonObject) -> list[Json]:
    """What each host has done, in the words of the standard."""
    steps = told["steps"]
    assert isinstance(steps, list)
    switches = told.get("switches")
    passages = switches["passages"] if isinstance(switches, dict) else []
    nodes: list[Json] = []
    for number, passage in enumerate(passages):
        kind = "Sender" if number == 0 else "Receiver"
        stages = [str(stage) for stage in passage.get("stages", ())]
        nodes.append(
            {
                "nodeType": kind,
                "nodeSequenceNumber": number,
                "traceOutput": [
                    f"{passage['host']}: {' > '.join(stages)}: {passage.get('outcome')}",
                    *(f"{step['where']}: {step['text']}" for step in steps if number == 0),
                ],
            }
        )
    return nodes
