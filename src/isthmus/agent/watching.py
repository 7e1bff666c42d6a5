# SPDX-License-Identifier: Apache-2.0
"""Shows what is dropped while somebody watches: a sample of the packets, each with what dropped it.

``watch`` and a JSON object: `name`, `seconds`, and a `port` to look at only. While a watch lasts,
flows that drop send what they drop up, within a rate; afterwards they are as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from isthmus.agent.decisions import decision_of
from isthmus.agent.host import HostState
from isthmus.errors import Invalid
from isthmus.policy.rows import Answer
from isthmus.switches.ovs.facts import THIS, Watching
from isthmus.switches.ovs.pipeline import DROPS, Flag, Register, Stage
from isthmus.wire.openflow_packets import PacketIn
from isthmus.wire.summary import summary

RATE_PPS = 50
"""Of a host: a sample, not a capture."""

LONGEST_S = 60
MOST_HELD = 200
MOST_WATCHES = 32


class WatchQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a controller asks. `name` names the watch: asked again, it goes on."""

    name: Annotated[str, msgspec.Meta(max_length=100)]
    seconds: int
    port: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One dropped packet. `port` is the local one that it came from or went to, if any; `decision`
    is ``set/rule`` or ``default of sets`` where rules dropped it."""

    at_us: int
    host: str
    port: str
    stage: str
    reason: str
    decision: str
    origin: str
    packet: str


class Watches:
    """The watches of one host."""

    def __init__(self, state: HostState) -> None:
        self._state = state
        self._until: dict[str, float] = {}
        self._ports: dict[str, str] = {}
        self._held: list[Verdict] = []
        self._told: dict[str, int] = {}

    def ask(self, text: str, now_s: float) -> None:
        """Begin a watch, or go on with it. Raises Invalid."""
        try:
            question = msgspec.json.decode(text, type=WatchQuestion)
        except msgspec.DecodeError as error:
            raise Invalid(f"the question cannot be read: {error}") from error
        if question.name not in self._until and len(self._until) >= MOST_WATCHES:
            raise Invalid(f"{MOST_WATCHES} watches are open on this host: end one of them")
        self._until[question.name] = now_s + min(question.seconds, LONGEST_S)
        self._ports[question.name] = question.port
        self._state.engine.put(Watching, THIS, Watching(RATE_PPS))

    @property
    def any(self) -> bool:
        return bool(self._until)

    def expire(self, now_s: float) -> bool:
        """Forget watches whose time is up; True if that was the last one."""
        if not self._until:
            return False
        for name in [name for name, until in self._until.items() if until < now_s]:
            del self._until[name], self._ports[name]
            self._told.pop(name, None)
        if self._until:
            return False
        self._state.engine.put(Watching, THIS, None)
        self._held.clear()
        return True

    def take(self, packet: PacketIn, at_us: int) -> None:
        """A packet that a flow has dropped. One that is looked at as an answer was dropped before
        that as what opens a connection, and told as it was sent."""
        if len(self._held) >= MOST_HELD or packet.reg(Register.SENDER) & Flag.TURNED:
            return
        state = self._state
        sender = state.port_behind(packet.in_port)
        receiver = state.port_behind(packet.reg(Register.OUT))
        port = sender or receiver
        decision = decision_of(packet.cookie, state)
        stage = Stage(packet.table) if packet.table in Stage._value2member_map_ else None
        self._held.append(
            Verdict(
                at_us=at_us,
                host=state.identity.host,
                port=port.id if port is not None else "",
                stage=stage.name if stage is not None else str(packet.table),
                reason=DROPS.get(stage, "") if stage is not None else "",
                decision=decision.text if decision else "",
                origin=decision.origin if decision else "",
                packet=summary(packet.packet),
            )
        )

    def answers(self) -> Iterator[Answer]:
        """What each watch has not been told yet."""
        held, self._held = self._held, []
        for name, port in self._ports.items():
            mine = [verdict for verdict in held if port in ("", verdict.port)]
            if not mine:
                continue
            number = self._told[name] = self._told.get(name, 0) + 1
            yield Answer(
                id=f"{name}.{self._state.identity.host}.{number}",
                host=self._state.identity.host,
                result=msgspec.json.encode({"verdicts": mine}).decode(),
            )
