# SPDX-License-Identifier: Apache-2.0
"""What hosts answer, read: an answer that is not of the shape of its question is an error, said to
whoever asked, and nothing that others could stumble over.

Only what is relied upon is looked at: a host of a newer version may say more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from isthmus.intent.model import Json, JsonObject
from isthmus.policy.observed import LAST_S, LAST_US, MOST_COUNT


class _Told(msgspec.Struct, kw_only=True):
    error: str = ""


class _Interface(msgspec.Struct):
    id: str
    ofport: int


class _Flow(msgspec.Struct):
    stage: str
    flow: str
    packets: int
    bytes: int


class _Port(_Told, kw_only=True):
    interface: _Interface | None
    location: str | None
    state: str | None
    detail: str
    flows: list[_Flow]
    missing: list[str]


class _Trace(_Told, kw_only=True):
    outcome: str
    stage: str
    decision: str
    port: str
    peer: str
    vsid: int
    fields: dict[str, str]
    stages: list[str]


class _Rule(msgspec.Struct):
    rule_set: str
    rule: str
    direction: str
    level: str
    action: str
    origin: str
    packets: int
    bytes: int


class _Counters(_Told, kw_only=True):
    rules: list[_Rule]
    dropped: dict[str, int]
    blocked: dict[str, int]
    unopened: dict[str, int] = {}


class _Probe(_Told, kw_only=True):
    answered: bool
    milliseconds: float = 0.0


class _Certificate(_Told, kw_only=True):
    name: str = ""
    expires_s: Annotated[int, msgspec.Meta(ge=0, le=LAST_S)] | None = msgspec.field(
        name="expiresS", default=None
    )
    signed_by: str | None = msgspec.field(name="signedBy", default=None)
    trusts: list[str] = []


class _Health(_Told, kw_only=True):
    time_us: Annotated[int, msgspec.Meta(ge=0, le=LAST_US)] = msgspec.field(
        name="timeUs", default=0
    )
    mtu: Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNT)] = 0
    interface: str = ""
    certificate: _Certificate | None = None


class _Decision(msgspec.Struct):
    direction: str
    level: str
    decision: str
    origin: str


class _Verdict(msgspec.Struct, rename="camel"):
    at_us: Annotated[int, msgspec.Meta(ge=0, le=LAST_US)]
    host: str
    port: str
    stage: str
    reason: str
    decision: str
    origin: str
    packet: str
    verdict: Literal["dropped", "allowed"] = "dropped"
    receiver: str = ""
    begins: bool = False
    protocol: int = -1
    source: str = ""
    destination: str = ""
    source_port: int = 0
    destination_port: int = 0
    decisions: list[_Decision] = []


class Verdicts(_Told, kw_only=True):
    """What a host tells of a watch, unasked. `unshown`: how many packets more there were."""

    verdicts: list[_Verdict]
    host: str = ""
    unshown: Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNT)] = 0


class Found(_Told, kw_only=True):
    """What a ConnectivityCheck has found, as a controller has written it."""

    asked: dict[str, object]
    at_s: Annotated[int, msgspec.Meta(ge=0, le=LAST_S)] = msgspec.field(name="atS")


_SHAPES: Mapping[str, type[msgspec.Struct]] = {
    "port": _Port,
    "trace": _Trace,
    "counters": _Counters,
    "probe": _Probe,
    "health": _Health,
}
"""By the first word of a question; any object is an answer to the others."""


def read_answer(question: str, text: str) -> JsonObject:
    """What a host answers to a question; an object with ``error`` where it does not."""
    return _read(text, _SHAPES.get(question.partition(" ")[0], _Told))


def read_told(text: str, shape: type[msgspec.Struct] | None) -> JsonObject:
    """What is told unasked, of that shape; None for any object."""
    return _read(text, shape or _Told)


def _read(text: str, shape: type[msgspec.Struct]) -> JsonObject:
    try:
        found: dict[str, Json] = msgspec.json.decode(text, type=dict[str, Any])
        refused = msgspec.convert(found, _Told).error
        if not refused:
            msgspec.convert(found, shape)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        return {"error": f"what it says cannot be read: {error}"}
    # Who says why there is no answer has given no part of one.
    return {"error": refused} if refused else found
