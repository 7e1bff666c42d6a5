# SPDX-License-Identifier: Apache-2.0
"""What a host answers to the questions of `policy.questions`, as agents write it and controllers
read it.

An answer that is not of the shape of its question is an error, said to whoever asked, and nothing
that others could stumble over. Only what is relied upon has a shape: a host of a newer version may
say more. But all that it says is bounded, and its texts can be shown: none moves the cursor of a
terminal. Names of fields in the text are those of the first version; new fields have defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from isthmus.policy.observed import LAST_S, LAST_US, MOST_COUNT, plain
from isthmus.wire.header_fields import headers_of
from isthmus.wire.headers import Headers

MOST_ANSWER = 1 << 24
"""Characters of one answer: a host with 50,000 rules that count says less."""
MOST_TEXT = 4000
"""Characters of one text in an answer: a flow of a switch is shown in a few hundred."""

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""What a switch counts. It has 64 bits for it; at 100 Gbit/s, 63 bits of bytes last 23 years."""
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
"""A VSID, or a number of an interface."""
Address = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,3}(?:\.[0-9]{1,3}){3}\Z")]
"""A provider address."""
Peers = Annotated[tuple[Address, ...], msgspec.Meta(max_length=10_000)]

_MANY = msgspec.Meta(max_length=100_000)
"""Flows and rules of one host."""
_SOME = msgspec.Meta(max_length=10_000)
_FEW = msgspec.Meta(max_length=1000)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a host says, whatever it was asked. With `error`, it is no answer."""

    error: str = ""


class AliveAnswer(Told, frozen=True, kw_only=True):
    """That the agent is there."""

    alive: bool = False


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """An interface of a host's switch: its name, and its number there."""

    id: str
    number: Number = msgspec.field(name="ofport")


class InstalledRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a switch does with some packets, in its own words, and how many it was. `place` is where
    in the switch's program."""

    place: str = msgspec.field(name="stage")
    text: str = msgspec.field(name="flow")
    packets: Count
    bytes: Count


class PortAnswer(Told, frozen=True, kw_only=True):
    """One port on a host. `missing` is what its switch lacks of it, `problems` what is wrong with
    it, as sentences."""

    interface: Interface | None
    location: str | None
    state: str | None
    detail: str
    installed: Annotated[tuple[InstalledRule, ...], _MANY] = msgspec.field(name="flows")
    missing: Annotated[tuple[str, ...], _MANY]
    problems: Annotated[tuple[str, ...], _FEW] = ()


class Outcome(StrEnum):
    """Where a packet ends on a host. A host of a newer version may know others."""

    TO_PORT = "port"
    TO_TUNNEL = "tunnel"
    ANSWERED = "answered"
    """By the switch, in the router's place."""
    BY_HOST = "controller"
    """The host's agent answers it."""
    DROPPED = "dropped"


class TraceAnswer(Told, frozen=True, kw_only=True):
    """The way of a packet through one host's switch. `places` are those of the switch's program
    that it passed, in its own words, and `place` the last one; `decision` is the rule that decided
    there. `peer` is the provider address to which a tunnel packet goes, with `vsid`."""

    outcome: str
    place: str = msgspec.field(name="stage")
    decision: str
    port: str
    peer: str
    vsid: Number
    places: Annotated[tuple[str, ...], _SOME] = msgspec.field(name="stages")
    packet: Headers | None = None
    """As it leaves, where it does."""
    fields: Annotated[dict[str, str], _FEW] = {}
    """The same in the words of Open vSwitch, for controllers of the version before."""

    @property
    def leaving(self) -> Headers | None:
        """The packet as it leaves, also from agents of the version before."""
        try:
            return self.packet or headers_of(self.fields)
        except ValueError:
            return None

    @property
    def is_delivered(self) -> bool:
        """Whether it has come to a port, or is answered on the host."""
        if self.outcome == Outcome.TO_PORT:
            return bool(self.port)
        return self.outcome in (Outcome.ANSWERED, Outcome.BY_HOST)


class CountedRule(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule has decided; `rule` is empty for the default of its sets."""

    rule_set: str
    rule: str
    direction: str
    level: str
    action: str
    origin: str
    packets: Count
    bytes: Count


class CountersAnswer(Told, frozen=True, kw_only=True):
    """What a host has counted: packets dropped by place in the switch's program, and blocked, not
    let begin a connection, and fragments dropped by port."""

    rules: Annotated[tuple[CountedRule, ...], _MANY]
    dropped: Annotated[dict[str, Count], _FEW]
    blocked: Annotated[dict[str, Count], _MANY]
    unopened: Annotated[dict[str, Count], _MANY] = {}
    fragments: Annotated[dict[str, Count], _MANY] = {}


class ProbeAnswer(Told, frozen=True, kw_only=True):
    """Whether a real packet was answered, and after how long."""

    answered: bool
    milliseconds: Annotated[float, msgspec.Meta(ge=0.0, le=MOST_COUNT)] = 0.0


class Certificate(Told, frozen=True, kw_only=True, omit_defaults=True):
    """A host's own; thumbprints of the authority that has signed it and of those that it trusts."""

    file: str = ""
    name: str = ""
    expires_s: Annotated[int, msgspec.Meta(ge=0, le=LAST_S)] | None = msgspec.field(
        name="expiresS", default=None
    )
    signed_by: str | UnsetType | None = msgspec.field(name="signedBy", default=UNSET)
    trusts: Annotated[tuple[str, ...], _FEW] = ()


class HealthAnswer(Told, frozen=True, kw_only=True):
    """A host and its underlay. An `mtu` of 0: no interface has the provider address. Peers by what
    is wrong with the way to them; `seen_as`, under which address they see this host."""

    time_us: Annotated[int, msgspec.Meta(ge=0, le=LAST_US)] | UnsetType = msgspec.field(
        name="timeUs", default=UNSET
    )
    mtu: Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNT)] | UnsetType = UNSET
    interface: str = ""
    certificate: Certificate | UnsetType | None = UNSET
    unreachable: Peers = ()
    too_small: Peers = msgspec.field(name="tooSmall", default=())
    unknown: Peers = ()
    unpinged: Peers = ()
    seen_as: Annotated[dict[Address, Address], _SOME] = msgspec.field(
        name="seenAs", default_factory=dict
    )


class WatchAnswer(Told, frozen=True, kw_only=True):
    """That a watch has begun, goes on or has ended."""

    watching: bool = False


class DecisionTold(msgspec.Struct, frozen=True, kw_only=True):
    """What one level of an end has decided."""

    direction: str
    level: str
    decision: str
    origin: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One packet that was shown. `port` is the local one that it came from or went to, if any, and
    `receiver` the one that it went to, where both are local; `place` is where in the switch's
    program it was dropped; `decision` is ``set/rule`` or ``default of sets`` where rules dropped
    it, and all that allowed it. `begins`: a connection begins with it."""

    verdict: Literal["dropped", "allowed"] = "dropped"
    at_us: Annotated[int, msgspec.Meta(ge=0, le=LAST_US)]
    host: str
    port: str
    receiver: str = ""
    place: str = msgspec.field(name="stage")
    reason: str
    decision: str
    origin: str
    packet: str
    begins: bool = False
    protocol: int = -1
    source: str = ""
    destination: str = ""
    source_port: int = 0
    destination_port: int = 0
    decisions: tuple[DecisionTold, ...] = ()


class Verdicts(Told, frozen=True, kw_only=True):
    """What a host tells of a watch, unasked. `unshown`: how many packets more there were."""

    host: str = ""
    verdicts: Annotated[tuple[Verdict, ...], _SOME]
    unshown: Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNT)] = 0


A = TypeVar("A", bound=Told)


class Reply(NamedTuple, Generic[A]):
    """What has come back. `answer` is None where there is no answer, and `error` says why."""

    answer: A | None
    error: str
    shown: Mapping[str, Json]
    """All that was said, for people: also what a newer host adds."""


def refused(error: str) -> Reply[A]:
    """There is no answer, for this reason."""
    return Reply(None, error, {"error": error})


def write(said: Told) -> str:
    """The text of what a host says; that there is no error is left out."""
    told = msgspec.to_builtins(said)
    assert isinstance(told, dict), "a struct is an object"
    if not said.error:
        del told["error"]
    return msgspec.json.encode(told).decode()


def write_refusal(error: str) -> str:
    """The text of an answer that there is none."""
    return msgspec.json.encode({"error": error}).decode()


def read(text: str, shape: type[A]) -> Reply[A]:
    """What a host has said."""
    if len(text) > MOST_ANSWER:
        return refused(f"what it says cannot be read: it has {len(text)} characters")
    try:
        said: dict[str, Json] = msgspec.json.decode(text, type=dict[str, Any])  # any JSON
        shown = {_plain(name): _shown(value) for name, value in said.items()}
        error = msgspec.convert(shown, Told).error
        # Who says why there is no answer has given no part of one.
        return refused(error) if error else Reply(msgspec.convert(shown, shape), "", shown)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        return refused(_plain(f"what it says cannot be read: {error}"))


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
