# SPDX-License-Identifier: Apache-2.0
"""What the units of an Open vSwitch host's program read beside the policy and `host.facts`, and
what they tell each other.

`ThisBridge` is an input, from the host's own switch. The rest is derived on the way.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.derive.tables import Key


class Limits(NamedTuple):
    """Of the connections that a host follows, and of fragments; 0 for no limit. docs/security.md
    has the reasons of the defaults."""

    connections: int = 200_000
    """At once, of one routing domain, or between two that are peered."""
    opened_pps: int = 1_000
    """Of one port: packets that open one, a second; and as many from other hosts to it."""
    opened_burst: int = 20_000
    """Of these, how many may come at once."""
    fragments_pps: int = 50
    """Of one port: fragments that connection tracking puts together, a second; and as many from
    other hosts to it; and as many from other hosts to all ports of a network."""
    fragments_burst: int = 500
    """Of these, how many may come at once."""


class ThisBridge(NamedTuple):
    """Input: the host's integration bridge. `tunnel_ports` are the OpenFlow port of each
    encapsulation. Key: `THIS`."""

    tunnel_ports: tuple[tuple[str, int], ...]
    forwarding: str = ""
    """Another one when ovs-vswitchd was started anew (`control.forwarding`)."""
    limits: Limits = Limits()


class SegmentFacts(NamedTuple):
    """A segment as the data plane knows it. It is known once its routing domain is. `first` is the
    first router of that, or the segment itself: it tells domains apart that were given one number,
    by mistake."""

    segment: str
    vsid: int
    domain: int
    first: str

    @property
    def domain_key(self) -> tuple[int, str]:
        """Of its `DomainFacts`."""
        return self.domain, self.first


class DomainFacts(NamedTuple):
    """A routing domain, in which addresses are unique and whose connections have one zone. Key: its
    number and its first router, or its segment that has none. `routers` are in order."""

    domain: int
    zone: int
    routers: tuple[str, ...]

    @property
    def has_several(self) -> bool:
        """Whether a packet in it must say by which router it goes."""
        return len(self.routers) > 1


class RouterDomain(NamedTuple):
    """The routing domain that a router is in. Key: the router."""

    domain: int
    routers: tuple[str, ...]


class NotRouting(NamedTuple):
    """That a router does not route in a segment, because of another. Key: segment and router."""

    segment: str
    detail: str


class NoZone(NamedTuple):
    """That this host has no connection tracking zone left for a segment, whose facts are missing
    for that."""

    segment: str
    detail: str


class NoPeerZone(NamedTuple):
    """Likewise for what passes between two routing domains: `domain`, of ports here, and another,
    peered."""

    domain: int
    other: int
    detail: str


class PeerZone(NamedTuple):
    """A connection tracking zone between two routing domains, in use on this host."""

    number: int


class LocalMember(NamedTuple):
    segment: str
    port: str
    ofport: int
    domain: int
    filtered: bool = False
    """Whether rules hold for what it receives."""


class TrackedAddress(NamedTuple):
    """An address of a local port with rules, whose connections are kept in a zone."""

    zone: int
    address: str
    port: str


class RemoteMember(NamedTuple):
    segment: str
    provider_address: int
    domain: int


class Watching(NamedTuple):
    """Input: somebody watches what is dropped here; of it, so many packets a second are shown. Key:
    `THIS`. `ports`: from or to which of them; empty for any."""

    rate_pps: int
    ports: tuple[str, ...] = ()


class Interest(NamedTuple):
    """What of the packets here somebody looks at: those from or to a port, from or to a network, or
    between the two. Empty texts are any."""

    port: str
    network: str


class WatchingAllowed(NamedTuple):
    """Input: somebody watches what is allowed here; of it, so many connections that begin are shown
    in a second, and as many packets that nobody follows. Key: `THIS`."""

    rate_pps: int
    interests: tuple[Interest, ...]


class Whole(NamedTuple):
    """What is enforced as a whole or closed: `kind` is list or port, `key` the profile's or the
    port's."""

    kind: str
    key: Key


class Refused(NamedTuple):
    """Input: the switch refuses a flow of a list of rules or of a port, or what they say of it
    cannot be told. What is not whole is closed. Key: a `Whole`."""

    detail: str


class Wanted(NamedTuple):
    """Something that needs a number on this host: `name` in the space `kind`. `number_names` has
    what the bridge calls it."""

    kind: str
    name: Key


class Assigned(NamedTuple):
    """Input: the number that this host has given it, and keeps through restarts; None where its
    space is full. Key: the `Wanted`."""

    number: int | None


class Meter(NamedTuple):
    """A packet-rate limit of one port. Its id is the port's OpenFlow port, plus an offset for what
    is limited (`pipeline.STORM_METERS`).
    """

    id: int
    rate_pps: int
    burst: int
