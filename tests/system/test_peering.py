# SPDX-License-Identifier: Apache-2.0
"""What goes beyond one network and one port, with packets: peered virtual networks, addresses that
move between ports, and ports that leave."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, product

import pytest

from isthmus_lab import frames, frames6, packets
from isthmus_lab.northbound import Resource
from isthmus_lab.pings import ping
from tests.system import cloud as clouds
from tests.system.cloud import (
    FAMILIES,
    ROUTER,
    SUBNETS,
    Frame,
    Nic,
    Plan,
    RunningCloud,
    access_control_list,
    arrivals_at,
    rule,
    to,
    until,
)
from tests.system.streams import Stream, Streams

pytestmark = pytest.mark.system

FLOATING = {4: "10.1.1.100", 6: "fd00:1:0:1::100"}
UNUSED = {4: "10.1.1.101", 6: "fd00:1:0:1::101"}
PAIRS = {"allowedAddressPairs": [{"ipAddress": text} for text in FLOATING.values()]}

PLANS = (
    *(Plan(f"a{n}", f"h{n}", ((10 + n, ""),)) for n in (1, 2, 3)),
    Plan("db", "h1", ((30, ""),), subnet="db"),
    *(
        Plan(f"b{n}", f"h{n}", ((10 + n, "of-blue"),), network="blue", subnet="store")
        for n in (1, 2, 3)
    ),
    *(Plan(f"v{n}", f"h{n}", ((20 + n, ""),), properties=PAIRS) for n in (1, 2, 3)),
    Plan("tracked", "h1", ((40, "of-tracked"),)),
    Plan("kept-out", "h1", ((41, ""),)),
)

LISTS = (
    access_control_list(
        "of-blue",
        rule("TCP", "80"),
        rule("UDP", "100"),
        rule("UDP", "200", sourceAddressPrefix="VIRTUALNETWORK"),
        rule("UDP", "300", sourceAddressPrefix="INTERNET"),
        *(rule(name) for name in ("ICMPv4", "ICMPv6")),
    ),
    access_control_list("of-tracked", rule("TCP", "80")),
)

_ports = count(20000)


def network(*subnets: str) -> Resource:
    """Of both families, and of these subnets only."""
    children = []
    prefixes = {
        4: [f"10.1.{clouds.NUMBERS[name]}.0/24" for name in subnets],
        6: [f"fd00:1:0:{clouds.NUMBERS[name]}::/64" for name in subnets],
    }
    (own,) = {"red" if name in SUBNETS else "blue" for name in subnets}
    for name, four, six in zip(subnets, prefixes[4], prefixes[6], strict=True):
        pair = {"resourceRef": f"/virtualNetworks/{own}/subnets/{name}"}
        children.append({"resourceId": name, "properties": {"addressPrefix": four}})
        properties = {"addressPrefix": six, "dualStackSubnet": pair}
        children.append({"resourceId": f"{name}6", "properties": properties})
    return {
        "properties": {
            "addressSpace": {"addressPrefixes": [*prefixes[4], *prefixes[6]]},
            "logicalNetwork": {"resourceRef": "/logicalNetworks/underlay"},
            "subnets": children,
        }
    }


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(
            *LISTS,
            ("/virtualNetworks/red", network("web", "db")),
            ("/virtualNetworks/blue", network("store")),
            plans=PLANS,
        )
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


# -- peered networks -------------------------------------------------------------------------------

OURS = "/virtualNetworks/red/virtualNetworkPeerings/to-blue"
THEIRS = "/virtualNetworks/blue/virtualNetworkPeerings/to-red"


def peering(remote: str, **more: object) -> Resource:
    reference = {"resourceRef": f"/virtualNetworks/{remote}"}
    return {"properties": {"remoteVirtualNetwork": reference, **more}}


@pytest.fixture
def peered(cloud: RunningCloud) -> Iterator[None]:
    cloud.north.put_all([(OURS, peering("blue")), (THEIRS, peering("red"))])
    cloud.settle()
    yield
    for reference in (OURS, THEIRS):
        cloud.delete(reference)


def udp(sender: Nic, receiver: Nic, family: int, port: int) -> Frame:
    ends, ports = (sender.address(family), receiver.address(family)), (next(_ports), port)
    return lambda mark: to(sender, receiver, packets.udp(*ends, ports, mark))


ACROSS = [
    *(("a1", f"b{n}") for n in (1, 2, 3)),
    *((f"b{n}", "a1") for n in (1, 2, 3)),
    *(("a2", "b3"), ("b3", "a2"), ("db", "b2"), ("b2", "db")),
]
"""From, to."""


def crossing(cloud: RunningCloud, family: int, *, awaited: bool) -> set[tuple[str, str]]:
    """Between which ports of the two networks a packet arrives. A neighbour's packet, which may,
    follows each."""
    found = set()
    for source, target in ACROSS:
        sender, receiver = cloud[source], cloud[target]
        neighbour = cloud["a3" if target[0] != "b" else "b1" if target != "b1" else "b2"]

        def send(built: Sequence[bytes], sender: Nic = sender, neighbour: Nic = neighbour) -> None:
            sender.send(built[:1])
            neighbour.send(built[1:])

        sent = {
            "across": udp(sender, receiver, family, 100),
            "within": udp(neighbour, receiver, family, 100),
        }
        wanted = {"within", "across"} if awaited else {"within"}
        if "across" in arrivals_at({receiver: wanted}, send, sent)[target]:
            found.add((source, target))
    return found


def state(cloud: RunningCloud, reference: str) -> str:
    return str(cloud.north.get(reference)["properties"]["peeringState"])


def test_networks_reach_each_other_only_while_both_are_peered(cloud: RunningCloud) -> None:
    everyone = set(ACROSS)

    def crossing_now(*, awaited: bool) -> list[set[tuple[str, str]]]:
        return [crossing(cloud, family, awaited=awaited) for family in FAMILIES]

    assert crossing_now(awaited=False) == [set(), set()]
    cloud.put(OURS, peering("blue"))
    assert state(cloud, OURS) == "Initiated"
    assert crossing_now(awaited=False) == [set(), set()]
    cloud.put(THEIRS, peering("red"))
    assert (state(cloud, OURS), state(cloud, THEIRS)) == ("Connected", "Connected")
    assert crossing_now(awaited=True) == [everyone, everyone]
    # What one side does not allow does not pass in either direction.
    cloud.put(THEIRS, peering("red", allowVirtualNetworkAccess=False))
    assert crossing_now(awaited=False) == [set(), set()]
    cloud.put(THEIRS, peering("red"))
    assert crossing_now(awaited=True) == [everyone, everyone]
    cloud.delete(OURS)
    assert state(cloud, THEIRS) == "Disconnected"
    assert crossing_now(awaited=False) == [set(), set()]
    cloud.delete(THEIRS)
    assert crossing_now(awaited=False) == [set(), set()]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("target", ["b1", "b2", "b3"])
def test_rules_hold_between_peered_networks(
    cloud: RunningCloud, peered: None, target: str, family: int
) -> None:
    """To a peer, the other network is VIRTUALNETWORK, as Azure has it."""
    sender, receiver = cloud["a1"], cloud[target]
    sent = {
        "denied": udp(sender, receiver, family, 101),
        "as if from outside": udp(sender, receiver, family, 300),
        "as from within": udp(sender, receiver, family, 200),
        "allowed": udp(sender, receiver, family, 100),
    }
    allowed = {"as from within", "allowed"}
    assert arrivals_at({receiver: allowed}, sender.send, sent)[target] == allowed
    until(lambda: ping(sender.guest, receiver.address(family)).lost == 0)
    until(lambda: ping(receiver.guest, sender.address(family)).lost == 0)
    for port, verdict in ((100, "delivered"), (101, "dropped"), (200, "delivered")):
        how: dict[str, str | int] = {
            "protocol": 17,
            "port": port,
            "family": family,
        }
        told = cloud.trace("a1", target, **how)
        assert (told["verdict"], told["switches"]["verdict"]) == (verdict, verdict), told
    back = cloud.trace(target, "db", family=family)
    assert (back["verdict"], back["switches"]["verdict"]) == ("delivered", "delivered"), back


def test_a_connection_ends_with_the_peering_and_no_other_does(
    cloud: RunningCloud, peered: None
) -> None:
    across = [
        Stream(cloud["a1"], cloud[f"b{n}"], family, 80)
        for n, family in product((1, 2, 3), FAMILIES)
    ]
    within = [Stream(cloud["b1"], cloud["b2"], family, 80) for family in FAMILIES]
    with Streams([*across, *within]) as streams:
        assert streams.moving([*across, *within])
        cloud.delete(OURS)
        deleted_at = time.monotonic()
        until(partial(quiet, across, deleted_at))
        assert streams.moving(within)


def quiet(streams: Sequence[Stream], since: float) -> bool:
    """Whether nothing has arrived for a second."""
    last = max(since, *(moment for stream in streams for moment in stream.last_arrival))
    return time.monotonic() > last + 1.0


# -- addresses that move ---------------------------------------------------------------------------


def announcement(nic: Nic, family: int, address: str) -> bytes:
    if family == 4:
        return frames.gratuitous_arp(nic.mac, address)
    message = frames6.advertisement(address, nic.mac)
    packet = packets.icmpv6_message(address, frames6.ALL_NODES, *message)
    whole = packets.ipv6(address, frames6.ALL_NODES, packets.PROTOCOL_ICMPV6, packet, hops=255)
    return packets.ethernet(frames6.ALL_NODES_MAC, nic.mac, whole)


HOLDERS = ("v1", "v2", "v3")


def receiving(cloud: RunningCloud, family: int, address: str, awaited: str = "") -> set[str]:
    """At whom arrives what is sent to `address` through the router; a packet to the own address of
    each follows."""
    sender = cloud["db"]
    receivers = [cloud[name] for name in (*HOLDERS, "a1", "a2")]

    def routed(target: str) -> Frame:
        ends, ports = (sender.address(family), target), (next(_ports), 9)
        return lambda mark: packets.ethernet(ROUTER, sender.mac, packets.udp(*ends, ports, mark))

    sent = {"floating": routed(address)}
    sent |= {nic.plan.name: routed(nic.address(family)) for nic in receivers}
    wanted = {
        nic: {nic.plan.name, *(["floating"] if nic.plan.name == awaited else [])}
        for nic in receivers
    }
    found = arrivals_at(wanted, sender.send, sent)
    return {name for name, seen in found.items() if "floating" in seen}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_floating_address_is_where_it_was_last_announced(
    cloud: RunningCloud, family: int
) -> None:
    address = FLOATING[family]
    assert receiving(cloud, family, address) == set()
    for holder in ("v2", "v3", "v1", "v3"):
        announce(cloud, holder, family, address)
        assert receiving(cloud, family, address, holder) == {holder}
        # A port that was not given the address takes it from nobody; nor do others of the pairs.
        for other, claimed in (("a1", address), (holder, UNUSED[family])):
            cloud[other].send([announcement(cloud[other], family, claimed)] * 3)
        assert receiving(cloud, family, address, holder) == {holder}
        assert receiving(cloud, family, UNUSED[family]) == set()


def announce(cloud: RunningCloud, holder: str, family: int, address: str) -> None:
    """Until all hosts have heard it."""
    nic = cloud[holder]

    def is_heard() -> bool:
        nic.send([announcement(nic, family, address)])
        told = cloud.trace("db", address)
        return bool(told["receiver"] == holder)

    until(is_heard)
    cloud.settle()


@pytest.mark.parametrize("family", FAMILIES)
def test_guests_speak_with_who_holds_a_floating_address(cloud: RunningCloud, family: int) -> None:
    """Their own stacks, on the same segment and routed, and what answers."""
    address, length = FLOATING[family], {4: 32, 6: 128}[family]
    more = ["nodad"] if family == 6 else []
    for holder in ("v1", "v2", "v3"):
        guest = cloud[holder].guest
        guest.run(["ip", "addr", "add", f"{address}/{length}", "dev", "eth0", *more])
        try:
            announce(cloud, holder, family, address)
            for name in ("a1", "a2", "db"):
                until(lambda name=name: ping(cloud[name].guest, address).lost == 0)  # type: ignore[misc]
        finally:
            guest.run(["ip", "addr", "del", f"{address}/{length}", "dev", "eth0"])


def test_an_address_that_no_port_is_given_any_more_goes_nowhere(cloud: RunningCloud) -> None:
    def give(names: Sequence[str], *, back: bool) -> None:
        bodies = {name: clouds.interface(cloud[name].plan) for name in names}
        for body in bodies.values():
            if not back:
                del body["properties"]["allowedAddressPairs"]
        cloud.north.put_all((f"/networkInterfaces/{name}", body) for name, body in bodies.items())
        cloud.settle()

    for holder, family in product(("v3", "v2"), FAMILIES):
        announce(cloud, holder, family, FLOATING[family])
    give(["v2"], back=False)
    try:
        for family in FAMILIES:
            # Who has announced it before has it again.
            assert receiving(cloud, family, FLOATING[family], "v3") == {"v3"}
        give(HOLDERS, back=False)
        for family in FAMILIES:
            assert receiving(cloud, family, FLOATING[family]) == set()
    finally:
        give(HOLDERS, back=True)


# -- ports that leave, and ports that may not come -------------------------------------------------


def tracked(cloud: RunningCloud, address: str) -> int:
    """Entries of connection tracking on h1 that name the address."""
    dump = cloud.lab.host("h1").switch.appctl("dpctl/dump-conntrack")
    return sum(f"={address}," in line for line in dump.splitlines())


def test_what_was_tracked_of_an_unplugged_port_is_forgotten(cloud: RunningCloud) -> None:
    nic = cloud["tracked"]
    clients = [("a1", 4), ("a1", 6), ("a2", 4), ("a3", 6)]
    streams = [Stream(cloud[name], nic, family, 80) for name, family in clients]
    with Streams(streams) as running:
        assert running.moving(streams)
    assert all(tracked(cloud, nic.address(family)) for family in FAMILIES)
    cloud.lab.unplug(nic.guest)
    try:
        until(lambda: not any(tracked(cloud, nic.address(family)) for family in FAMILIES))
    finally:
        cloud.lab.plug(nic.guest, cloud.lab.host("h1"))
        until(lambda: cloud.is_configured("tracked"))


def test_a_port_is_on_the_servers_that_it_is_allowed_only(cloud: RunningCloud) -> None:
    nic, reference = cloud["kept-out"], "/networkInterfaces/kept-out"

    def location() -> object:
        return cloud.north.get(reference)["properties"].get("server")

    def only(*hosts: str) -> None:
        body = clouds.interface(nic.plan)
        servers = [{"resourceRef": f"/servers/{host}"} for host in hosts]
        cloud.put(reference, {"properties": {**body["properties"], "allowedServers": servers}})

    def reached(*, awaited: bool) -> list[bool]:
        """From each of the hosts; what follows is for its neighbour there."""
        found = []
        for name, family in product(("a1", "a2", "a3"), FAMILIES):
            sender, witness = cloud[name], cloud["v1"]
            sent = {
                "to it": udp(sender, nic, family, 9),
                "to another": udp(sender, witness, family, 9),
            }
            wanted = {nic: {"to it"} if awaited else set(), witness: {"to another"}}
            arrived = arrivals_at(wanted, sender.send, sent)
            found.append("to it" in arrived["kept-out"])
        return found

    assert reached(awaited=True) == [True] * 6
    only("h2", "h3")
    until(lambda: location() is None)
    assert reached(awaited=False) == [False] * 6
    told = cloud.trace("a1", "kept-out")
    assert (told["verdict"], told["switches"]["verdict"]) == ("dropped", "dropped")
    only("h1", "h2")
    until(lambda: location() == {"resourceRef": "/servers/h1"})
    until(lambda: cloud.is_configured("kept-out"))
    assert reached(awaited=True) == [True] * 6
