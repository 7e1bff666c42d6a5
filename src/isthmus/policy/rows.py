# SPDX-License-Identifier: Apache-2.0
"""What must hold on the network, and what hosts say of it: the rows of the south store, as values.

Desired rows are written by the deriver alone; observed rows by the host that they name. The two
never share a row. One port is O(1) rows and no row holds a list that grows with the network.
`SEGMENT` columns are the scope by which a host filters what it reads. Every desired row has
`origin`, the north reference it comes from.

Columns are the attributes: ``str``, ``int``, ``bool`` and what `policy.values` has; ``tuple[X,
...]`` is an OVSDB set (kept sorted); ``X | None`` of a plain type is a set of at most one. `store/`
maps them, and it alone knows the text of a value; `TABLES` is the source of the store's schema. A
row that has just been read may hold texts that are no values: `policy.observed.believable` takes
these out, and nobody computes with a row of others' before that.

MAC addresses, addresses and prefixes of ports, subnets and routers are canonical text (`addresses`,
RFC 5952): so they are keys, and so they are shown.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from isthmus.addresses import Address
from isthmus.policy.values import (
    Action,
    AddressPair,
    AppliedSet,
    ClaimState,
    Direction,
    HostRoute,
    LegKind,
    PortGuard,
    PortRange,
    PortState,
    Preference,
)
from isthmus.wire.encapsulations import Encapsulation


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all rows. `KEY` are the columns whose values are unique together (an OVSDB index)."""

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]

    @property
    def key(self) -> str | tuple[str, ...]:
        """What the row is found by: the value of its one key column, or a tuple of them."""
        if len(self.KEY) == 1:
            return str(getattr(self, self.KEY[0]))
        return tuple(str(getattr(self, column)) for column in self.KEY)


def row_or_none(value: object) -> Row | None:
    """A row of these tables that came untyped."""
    assert value is None or isinstance(value, Row), f"{value!r} is no row of policy"
    return value


class Deriver(Row, frozen=True, kw_only=True):
    """One row: who may write desired rows. Taking over increments `generation`; every derived
    transaction begins with a ``wait`` on it, which is the fence.
    """

    TABLE = "Deriver"
    KEY = ("name",)
    name: str = "deriver"
    generation: int = 0
    holder: str = ""


class PhysicalNetwork(Row, frozen=True, kw_only=True):
    """Desired. An underlay, and what it may carry."""

    TABLE = "Physical_Network"
    KEY = ("name",)
    name: str
    transports: tuple[Encapsulation, ...] = ()
    mtu_bytes: int = 1500
    origin: str = ""


class Segment(Row, frozen=True, kw_only=True):
    """Desired. One broadcast domain. `vsid` is the VXLAN VNI and the NVGRE TNI (RFC 7348, RFC
    7637).
    """

    TABLE = "Segment"
    KEY = ("id",)
    id: str
    physical_network: str
    transport: str = "overlay"
    vsid: int = 0
    mtu_bytes: int = 1450
    unknown_destinations: str = "drop"
    origin: str = ""


class Subnet(Row, frozen=True, kw_only=True):
    """Desired. A prefix on a segment."""

    TABLE = "Subnet"
    KEY = ("segment", "prefix")
    segment: str
    prefix: str
    gateway: str | None = None
    dhcp: bool = True
    dns: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()
    lease_s: int = 86400
    origin: str = ""


class Router(Row, frozen=True, kw_only=True):
    """Desired. `rdid` is its number (1 .. 2^24 - 1); the routing domain that it is in has that of
    its first router (`policy.topology`). `mac` is that of its legs everywhere. `prefixes` are its
    address space, which rules call VIRTUALNETWORK.
    """

    TABLE = "Router"
    KEY = ("id",)
    id: str
    rdid: int
    mac: str
    prefixes: tuple[str, ...] = ()
    origin: str = ""


class RouterPort(Row, frozen=True, kw_only=True):
    """Desired. A router's leg in a segment. `addresses` are ``address/length``."""

    TABLE = "Router_Port"
    KEY = ("router", "segment")
    router: str
    segment: str
    addresses: tuple[str, ...] = ()
    kind: LegKind = LegKind.INTERNAL
    origin: str = ""


class Port(Row, frozen=True, kw_only=True):
    """Desired. Something with a MAC address on a segment.

    `id` is the networkInterface's resourceId in lower case (what ``external_ids:iface-id`` names),
    `profile_id` its instanceId in lower case (what a Hyper-V port profile names; OVS hosts accept
    it as iface-id as well). `addresses` are plain addresses of both families, and `dhcp_address`
    the one that DHCP gives. `hosts`: who may claim it, empty for any. `dns` overrides the subnet's.
    `revision` is the intent's etag: a host reports which revision it has applied.

    What no level of `rule_sets` forbids passes. `groups` are those whose member it is. `pairs` are
    further addresses that it may use. `storm_pps` limits its broadcasts and multicasts, 0 for no
    limit.
    """

    TABLE = "Port"
    KEY = ("id",)
    id: str
    segment: str
    mac: str
    addresses: tuple[str, ...] = ()
    dhcp_address: str = ""
    hosts: tuple[str, ...] = ()
    kind: str = "vm"
    profile_id: str = ""
    dns: tuple[str, ...] = ()
    rule_sets: tuple[AppliedSet, ...] = ()
    groups: tuple[str, ...] = ()
    pairs: tuple[AddressPair, ...] = ()
    guards: tuple[PortGuard, ...] = ()
    storm_pps: int = 0
    revision: str = ""
    origin: str = ""


class RuleSet(Row, frozen=True, kw_only=True):
    """Desired. Rules that stand together. The defaults are for packets to (in) and from (out) a
    port that no rule of its level matches.
    """

    TABLE = "Rule_Set"
    KEY = ("id",)
    id: str
    in_default: Action = Action.ALLOW
    out_default: Action = Action.ALLOW
    origin: str = ""


class Rule(Row, frozen=True, kw_only=True):
    """Desired. One rule of a set; lower `priority` first. `protocol` is an IP protocol number, -1
    for any, or, where there are ports, for TCP and UDP; `family` 4, 6, or 0 for both. An end is a
    prefix, VIRTUALNETWORK, INTERNET, AZURELOADBALANCER, or empty for any address; or, where there
    are groups, any address of a member of one of them. Ports are None for all; ICMP type and code
    are -1 for any.
    """

    TABLE = "Rule"
    KEY = ("rule_set", "id")
    rule_set: str
    id: str
    direction: Direction
    priority: int
    action: Action
    family: int = 0
    protocol: int = -1
    source: str = ""
    destination: str = ""
    source_groups: tuple[str, ...] = ()
    destination_groups: tuple[str, ...] = ()
    source_ports: PortRange | None = None
    destination_ports: PortRange | None = None
    icmp_type: int = -1
    icmp_code: int = -1
    stateless: bool = False
    origin: str = ""


class Host(Row, frozen=True, kw_only=True):
    """Desired. A host that may speak. `certificate_name` is the CN of its certificate."""

    TABLE = "Host"
    KEY = ("id",)
    id: str
    certificate_name: str
    kind: str = "ovs"
    origin: str = ""


class Probe(Row, frozen=True, kw_only=True):
    """One row: a number that any controller may raise. A host answers in its `Heartbeat` once it
    has programmed all that it had seen before; that is how one waits for the last host.
    """

    TABLE = "Probe"
    KEY = ("name",)
    name: str = "probe"
    number: int = 0


class HostStatus(Row, frozen=True, kw_only=True):
    """Observed. What peers need to know of a host. `instance` tells machines apart that were given
    one name: only the agent whose own it is writes the host's rows.
    """

    TABLE = "Host_Status"
    KEY = ("host",)
    host: str
    provider_addresses: tuple[Address, ...] = ()
    encapsulations: Preference = Preference(())  # a tuple
    version: str = ""
    switch_version: str = ""
    capabilities: tuple[str, ...] = ()
    instance: str = ""


class Heartbeat(Row, frozen=True, kw_only=True):
    """Observed. That a host lives, apart from `HostStatus` so that peers need not hear it. `at_s`
    is seconds since the epoch, written every `policy.heartbeats.HEARTBEAT_S`; `problems` are
    sentences for the operator.
    """

    TABLE = "Heartbeat"
    KEY = ("host",)
    host: str
    at_s: int = 0
    probe: int = 0
    ports: int = 0
    flows: int = 0
    problems: tuple[str, ...] = ()


class Claim(Row, frozen=True, kw_only=True):
    """Observed. `host` has `port` on its switch. Which of several claims has it: see
    `policy.placement`.
    """

    TABLE = "Claim"
    KEY = ("port", "host")
    port: str
    host: str
    segment: str
    provider_address: Address
    state: ClaimState = ClaimState.ACTIVE
    sequence: int = 0


class PortStatus(Row, frozen=True, kw_only=True):
    """Observed. What became of `revision` of `port` on `host`; `code` is one of MS-NCNBI section
    A.9's. `closed` is what of an error lets nothing pass, in the words of `policy.closed`; where it
    is empty, the port works as its policy says but for what `detail` names.
    """

    TABLE = "Port_Status"
    KEY = ("port", "host")
    port: str
    host: str
    segment: str
    revision: str = ""
    state: PortState = PortState.UP
    code: str = "Success"
    detail: str = ""
    closed: tuple[str, ...] = ()
    changed_us: int = 0
    """Microseconds since the epoch at which the host's switch had it."""


class LearnedAddress(Row, frozen=True, kw_only=True):
    """Observed. `port`, which `host` has, uses `address`, one of its pairs, with `mac`. Of several
    ports the one with the highest `sequence` has it, then the lowest name.
    """

    TABLE = "Learned_Address"
    KEY = ("address", "port")
    address: str
    port: str
    host: str
    segment: str
    mac: str
    sequence: int = 0


class Query(Row, frozen=True, kw_only=True):
    """A question of a controller to `host`, which answers in `Answer`. `question` is written as
    `policy.questions` says. `deadline_s`, seconds since the epoch by the clock of who asks, is for
    people and older agents: nobody else can compare it with a clock of its own."""

    TABLE = "Query"
    KEY = ("id",)
    id: str
    host: str
    question: str
    deadline_s: int


class Answer(Row, frozen=True, kw_only=True):
    """Observed. What `host` says to the `Query` of the same id; `result` is a JSON object."""

    TABLE = "Answer"
    KEY = ("id",)
    id: str
    host: str
    result: str


TABLES: tuple[type[Row], ...] = (
    Deriver,
    PhysicalNetwork,
    Segment,
    Subnet,
    Router,
    RouterPort,
    Port,
    RuleSet,
    Rule,
    Host,
    Probe,
    HostStatus,
    Heartbeat,
    Claim,
    PortStatus,
    LearnedAddress,
    Query,
    Answer,
)

DESIRED: tuple[type[Row], ...] = (
    PhysicalNetwork,
    Segment,
    Subnet,
    Router,
    RouterPort,
    Port,
    RuleSet,
    Rule,
    Host,
)
"""What the deriver writes."""

OBSERVED: tuple[type[Row], ...] = (HostStatus, Heartbeat, Claim, PortStatus, LearnedAddress)
"""What hosts say."""
