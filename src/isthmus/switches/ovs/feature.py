# SPDX-License-Identifier: Apache-2.0
"""What a feature of the data plane is: one value.

It holds the units of a feature, the indexes and tables that they need, and what else follows from
its flows: who deals with the packets that they send up, what is closed when the switch refuses one
of them, and which decision each of them stands for. Programs, packets, refusals, decisions and
answers iterate over features (`features`) and name none.

A feature that needs a state or a clock of its own to deal with packets has another half in the
agent (`agent.ovs.switch`), which is found by the feature's name (`given_to`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from isthmus.derive.engine import Engine, Index, Key, Table, Unit
from isthmus.host.guests import Guests
from isthmus.switches.ovs.facts import Whole
from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire.openflow_packets import PacketIn


class Hands(Protocol):
    """What the agent lends to those that deal with packets."""

    @property
    def engine(self) -> Engine:
        """The rows of this host."""

    @property
    def guests(self) -> Guests:
        """What is known of the guests of this host, and what was counted of their messages."""

    def send(self, frame: bytes, ofport: int) -> bool:
        """Send a frame out of a port of the switch; False while the switch is away."""

    def give(self, feature: str, packet: PacketIn) -> None:
        """Hand a packet to the half that a feature has in the agent. Raises Malformed."""


PacketHandler = Callable[[PacketIn, Hands], bool]
"""Deals with one packet-in; True if what the host says of its ports may have to change. A packet
that cannot be read may raise Malformed, and is counted."""

Closes = Callable[[Key, Engine], Iterable[Whole]]
"""What is not whole any more, by the key of a unit's call or of a row."""


class Decision(NamedTuple):
    """Whose a flow that decides is. `rule` is empty for the default of `rule_set`, which may be
    several names. Without `rule_set`, `rule` says what it is in words: the name of a feature."""

    rule_set: str
    rule: str
    direction: str
    level: str
    action: str
    origin: str

    @property
    def text(self) -> str:
        if not self.rule_set:
            return self.rule
        return f"{self.rule_set}/{self.rule}" if self.rule else f"default of {self.rule_set}"


class Decided(NamedTuple):
    """A decision and its flows: those whose cookies begin with `unit` (`pipeline.unit_cookie`).
    `is_applied`: it holds for a port of this host, and what its flows count is told."""

    unit: int
    decision: Decision
    is_applied: bool = True


def _nothing(_engine: Engine) -> Iterator[Decided]:
    yield from ()


@dataclass(frozen=True, slots=True)
class Feature:
    """`units` follow each other, and those of features before them, as their rows do: what gives a
    row stands before what reads it. Units are named by their functions."""

    name: str
    units: tuple[Unit, ...] = ()
    indexes: tuple[Index, ...] = ()
    tables: tuple[Table, ...] = ()
    """Tables that its units give or read, beside those that units and indexes stand over."""
    packets: Mapping[bytes, PacketHandler] = field(default_factory=dict)
    """Who deals with a packet-in, by its userdata, which no other feature has."""
    closes: Mapping[str, Closes] = field(default_factory=dict)
    """What is closed when the switch refuses a flow of a call, or when its flow contradicts another
    one: by the name of the unit. Its units read `Refused`."""
    closes_disputed: Mapping[Table, Closes] = field(default_factory=dict)
    """What is closed when calls disagree on a row of a table."""
    port_units: frozenset[str] = frozenset()
    """Units each of whose calls is a port's: the port shows that the switch refuses a flow."""
    shown_units: tuple[str, ...] = ()
    """Those of them whose flows are shown when somebody asks for a port."""
    decisions: Callable[[Engine], Iterator[Decided]] = _nothing
    """What its flows decide, by name."""
    decides_at: tuple[Stage, ...] = ()
    """Stages whose flows are counted by decision."""
    blocks_at: Mapping[Stage, int] = field(default_factory=dict)
    """Stages and priorities of flows that count by port what they drop: what they match begins with
    the number of the port."""


def given_to(feature: str) -> PacketHandler:
    """Leaves packets to the half that the feature has in the agent."""

    def give(packet: PacketIn, hands: Hands) -> bool:
        hands.give(feature, packet)
        return False

    return give


def closes_port(port: Key, _engine: Engine) -> Iterator[Whole]:
    """For units whose calls are those of ports: nothing passes from or to the port."""
    yield Whole("port", port)
