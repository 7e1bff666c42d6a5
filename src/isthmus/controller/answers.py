# SPDX-License-Identifier: Apache-2.0
"""What hosts answer, read: an answer that is not of the shape of its question is an error, said to
whoever asked, and nothing that others could stumble over.

Only what is relied upon has a shape: a host of a newer version may say more. But all that it says
is bounded, and its texts can be shown: none moves the cursor of a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from isthmus.intent.model import Json, JsonObject
from isthmus.policy.observed import LAST_S, LAST_US, MOST_COUNT, plain

MOST_ANSWER = 1 << 24
"""Characters of one answer: a host with 50,000 rules that count says less."""
MOST_TEXT = 4000
"""Characters of one text in an answer: flows are shown in a few hundred."""

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""What a switch counts. It has 64 bits for it; at 100 Gbit/s, 63 bits of bytes last 23 years."""
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
"""A register, or an OpenFlow port."""
Address = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")]
"""A provider address."""
Peers = Annotated[list[Address], msgspec.Meta(max_length=10_000)]

_MANY = msgspec.Meta(max_length=100_000)
"""Flows and rules of one host."""
_SOME = msgspec.Meta(max_length=10_000)
_FEW = msgspec.Meta(max_length=1000)


class _Told(msgspec.Struct, kw_only=True):
    error: str = ""


class _Interface(msgspec.Struct):
    id: str
    ofport: Number


class _Flow(msgspec.Struct):
    stage: str
    flow: str
    packets: Count
    bytes: Count


class _Port(_Told, kw_only=True):
    interface: _Interface | None
    location: str | None
    state: str | None
    detail: str
    flows: Annotated[list[_Flow], _MANY]
    missing: Annotated[list[str], _MANY]
    problems: Annotated[list[str], _FEW] = []


class _Trace(_Told, kw_only=True):
    outcome: str
    stage: str
    decision: str
    port: str
    peer: str
    vsid: Number
    fields: Annotated[dict[str, str], _FEW]
    stages: Annotated[list[str], _SOME]


class _Rule(msgspec.Struct):
    rule_set: str
    rule: str
    direction: str
    level: str
    action: str
    origin: str
    packets: Count
    bytes: Count


class _Counters(_Told, kw_only=True):
    rules: Annotated[list[_Rule], _MANY]
    dropped: Annotated[dict[str, Count], _FEW]
    blocked: Annotated[dict[str, Count], _MANY]
    unopened: Annotated[dict[str, Count], _MANY] = {}
    fragments: Annotated[dict[str, Count], _MANY] = {}


class _Probe(_Told, kw_only=True):
    answered: bool
    milliseconds: Annotated[float, msgspec.Meta(ge=0.0, le=MOST_COUNT)] = 0.0


class _Certificate(_Told, kw_only=True):
    name: str = ""
    expires_s: Annotated[int, msgspec.Meta(ge=0, le=LAST_S)] | None = msgspec.field(
        name="expiresS", default=None
    )
    signed_by: str | None = msgspec.field(name="signedBy", default=None)
    trusts: Annotated[list[str], _FEW] = []


class _Health(_Told, kw_only=True):
    time_us: Annotated[int, msgspec.Meta(ge=0, le=LAST_US)] = msgspec.field(
        name="timeUs", default=0
    )
    mtu: Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNT)] = 0
    interface: str = ""
    certificate: _Certificate | None = None
    unreachable: Peers = []
    too_small: Peers = msgspec.field(name="tooSmall", default_factory=list)
    unknown: Peers = []
    unpinged: Peers = []
    seen_as: Annotated[dict[Address, Address], _SOME] = msgspec.field(
        name="seenAs", default_factory=dict
    )


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

    verdicts: Annotated[list[_Verdict], _SOME]
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
    if len(text) > MOST_ANSWER:
        return {"error": f"what it says cannot be read: it has {len(text)} characters"}
    try:
        said: dict[str, Json] = msgspec.json.decode(text, type=dict[str, Any])
        found = {_plain(name): _shown(value) for name, value in said.items()}
        refused = msgspec.convert(found, _Told).error
        if not refused:
            msgspec.convert(found, shape)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        return {"error": _plain(f"what it says cannot be read: {error}")}
    # Who says why there is no answer has given no part of one.
    return {"error": refused} if refused else found


def _shown(value: Json) -> Json:
    """With texts that can be shown. Raises RecursionError."""
    match value:
        case str():
            return _plain(value)
        case Mapping():
            return {_plain(name): _shown(one) for name, one in value.items()}
        case list() | tuple():
            return [_shown(one) for one in value]
    return value


def _plain(text: str) -> str:
    return plain(text, MOST_TEXT)
