# SPDX-License-Identifier: Apache-2.0
"""What a controller may ask a host (`policy.rows.Query`), and how it is written there.

A question is a word and its arguments: ``port`` and the port's name, or a word and a JSON object.
The word is the version: what agents of the version before cannot understand in the meaning that it
has now has another word, which they refuse (`is_unknown`); so ``flows`` came beside ``watch``.
A field that may be passed over is added with a default to the object of a known word. Controllers
are upgraded before agents, so each side understands the other's text of one version before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, ClassVar, Generic, TypeVar, cast

import msgspec

from isthmus.addresses import parse_mac
from isthmus.errors import Invalid
from isthmus.policy.answers import (
    AliveAnswer,
    CountersAnswer,
    HealthAnswer,
    PortAnswer,
    ProbeAnswer,
    Told,
    TraceAnswer,
    WatchAnswer,
)
from isthmus.wire.header_fields import fields_of, headers_of
from isthmus.wire.headers import Headers

A = TypeVar("A", bound=Told)

MOST_BYTES, MOST_PEERS = 65_000, 4096
"""Bytes of a packet that a switch is given to send (an OpenFlow message has 64 KiB, and fields of
its own beside it), and peers of one question."""

_UNKNOWN = "is no question that this host knows"
"""How agents of every version refuse a word."""


class Question(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """Any of those below. `A` is what it is answered with."""

    WORD: ClassVar[str] = ""

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.WORD} {msgspec.json.encode(self).decode()}"


class Alive(Question[AliveAnswer], frozen=True, kw_only=True):
    """Nothing else than whether the agent is there."""

    WORD = "alive"

    @property
    def text(self) -> str:
        return self.WORD


class AskPort(Question[PortAnswer], frozen=True, kw_only=True):
    """What the switch has of one port, with counters; what it lacks; where the port is, and what is
    wrong with it."""

    WORD = "port"
    port: str

    @property
    def text(self) -> str:
        return f"{self.WORD} {self.port}"


class TracePacket(Question[TraceAnswer], frozen=True, kw_only=True):
    """Where a packet goes. It comes from a local `port`, or out of a tunnel: from the provider
    address `source`, with `vsid`, by `encapsulation`."""

    WORD = "trace"
    packet: Headers
    port: str = ""
    source: str = ""
    vsid: int = 0
    encapsulation: str = ""

    @property
    def text(self) -> str:
        # Agents of the version before read the packet in the words of Open vSwitch.
        told = {**msgspec.to_builtins(self), "fields": fields_of(self.packet)}
        return f"{self.WORD} {msgspec.json.encode(told).decode()}"


class _OlderTrace(msgspec.Struct, kw_only=True):
    """As controllers of the version before write it."""

    fields: dict[str, str]
    port: str = ""
    source: str = ""
    vsid: int = 0
    encapsulation: str = ""


class Counters(Question[CountersAnswer], frozen=True, kw_only=True):
    """What rules, the switch's program and ports have counted."""

    WORD = "counters"

    @property
    def text(self) -> str:
        return self.WORD


class SendProbe(Question[ProbeAnswer], frozen=True, kw_only=True):
    """Send a real packet from a port, as if its guest had, and wait for what answers it. `source`
    is which of the port's addresses, by default the first of the target's family; `length` bytes
    of an echo request's data."""

    WORD = "probe"
    port: str
    target: str
    next_hop_mac: str = msgspec.field(name="eth_dst")
    source: str = ""
    protocol: str = "icmp"
    destination_port: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)] = 0
    length: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)] = 0

    def __post_init__(self) -> None:
        ip_address(self.target)
        parse_mac(self.next_hop_mac)


class Health(Question[HealthAnswer], frozen=True, kw_only=True):
    """How it is with the host and its underlay, which must carry `mtu` bytes to the provider
    addresses `peers`."""

    WORD = "health"
    mtu: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)]
    peers: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_PEERS)] = ()

    def __post_init__(self) -> None:
        for peer in self.peers:
            IPv4Address(peer)


class WatchedVerdict(StrEnum):
    """Which packets a watch is for."""

    DROPPED = "dropped"
    ALLOWED = "allowed"
    ALL = "all"


class Watch(Question[WatchAnswer], frozen=True, kw_only=True):
    """Show for so many seconds what is dropped, allowed, or both: of one port, or with one of the
    networks `peers`. `name` names the watch: asked again, it goes on; for 0 seconds, it ends.
    `peer` is the port whose `peers` are, if they are one's."""

    WORD = "watch"
    FLOWS: ClassVar[str] = "flows"
    """The word for what agents of the first version would take for a question about drops."""

    name: Annotated[str, msgspec.Meta(max_length=100)]
    seconds: int
    port: str = ""
    verdict: WatchedVerdict = WatchedVerdict.DROPPED
    peers: tuple[str, ...] = ()
    peer: str = ""

    def __post_init__(self) -> None:
        self.networks()

    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The prefixes that one of the ends must be in; none for any."""
        return tuple(map(ip_network, self.peers))

    @property
    def text(self) -> str:
        if self.verdict == WatchedVerdict.DROPPED and not self.peers:
            told = {"name": self.name, "seconds": self.seconds, "port": self.port}
            return f"{self.WORD} {msgspec.json.encode(told).decode()}"
        return f"{self.FLOWS} {msgspec.json.encode(self).decode()}"


AnyQuestion = Alive | AskPort | TracePacket | Counters | SendProbe | Health | Watch

_ANSWERS: Mapping[type[object], type[Told]] = {
    Alive: AliveAnswer,
    AskPort: PortAnswer,
    TracePacket: TraceAnswer,
    Counters: CountersAnswer,
    SendProbe: ProbeAnswer,
    Health: HealthAnswer,
    Watch: WatchAnswer,
}


def shape_of(question: Question[A]) -> type[A]:
    """The type of its answer."""
    return cast("type[A]", _ANSWERS[type(question)])  # as each question says of itself


def is_unknown(error: str) -> bool:
    """Whether a host has refused the question because its agent is of an older version."""
    return _UNKNOWN in error


def parse(text: str) -> AnyQuestion:
    """A question as it is written. Raises Invalid for one that is not known or cannot be read."""
    word, _, argument = text.partition(" ")
    reader = _READERS.get(word)
    if reader is None:
        raise Invalid(
            f"{word!r} {_UNKNOWN}: ask alive, port ID, trace JSON, probe JSON, watch JSON,"
            " flows JSON, health JSON or counters"
        )
    try:
        return reader(argument)
    except (msgspec.DecodeError, ValueError) as error:
        raise Invalid(f"the question cannot be read: {error}") from error


def _trace(text: str) -> TracePacket:
    told = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    if "packet" in told:
        return msgspec.json.decode(text, type=TracePacket)
    older = msgspec.json.decode(text, type=_OlderTrace)
    return TracePacket(
        packet=headers_of(older.fields),
        port=older.port,
        source=older.source,
        vsid=older.vsid,
        encapsulation=older.encapsulation,
    )


_READERS: Mapping[str, Callable[[str], AnyQuestion]] = {
    Alive.WORD: lambda _: Alive(),
    AskPort.WORD: lambda text: AskPort(port=text),
    TracePacket.WORD: _trace,
    Counters.WORD: lambda _: Counters(),
    SendProbe.WORD: lambda text: msgspec.json.decode(text, type=SendProbe),
    Health.WORD: lambda text: msgspec.json.decode(text, type=Health),
    Watch.WORD: lambda text: msgspec.json.decode(text, type=Watch),
    Watch.FLOWS: lambda text: msgspec.json.decode(text, type=Watch),
}
