# SPDX-License-Identifier: Apache-2.0
"""A cloud with an attacker, and what of the attacker's frames arrives in it.

Each forged frame is for a guest on the same host, one behind each encapsulation, one in another
subnet, and for all; and is followed by an allowed packet to each of these, and by one within
another tenant's network. Only what the capture that sees the allowed packet has not seen, did not
arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice

from isthmus.addresses import Mac
from isthmus_lab import packets
from isthmus_lab.rawsocket import Capture
from tests.system import cloud as clouds
from tests.system.cloud import (
    HOSTS,
    ROUTER,
    Frame,
    Nic,
    Plan,
    RunningCloud,
    arrivals_at,
    to,
    virtual_network,
)
from tests.system.forgeries import ALL_NODES, Attack, Scene, fresh_numbers

PAIRS = [
    {"ipAddress": "10.1.1.200"},
    {"ipAddress": "10.1.1.208/28", "macAddress": "02-00-5E-00-01-01"},
    {"ipAddress": "fd00:1:0:1::200"},
    {"ipAddress": "fd00:1:0:1:aa::/80", "macAddress": "02-00-5E-00-01-01"},
]
PAIR_MAC = Mac(0x02005E000101)

PLANS = (
    Plan("attacker", "h1", ((11, ""),)),
    *(Plan(f"victim{host.name[1]}", host.name, ((20 + int(host.name[1]), ""),)) for host in HOSTS),
    Plan("db", "h1", ((30, ""),), subnet="db"),
    Plan(
        "any-mac", "h1", ((41, ""),), properties={"portSettings": {"macSpoofingEnabled": "Enabled"}}
    ),
    Plan(
        "guarded", "h1", ((42, ""),), properties={"portSettings": {"dhcpGuardEnabled": "Enabled"}}
    ),
    Plan(
        "router", "h1", ((43, ""),), properties={"portSettings": {"routerGuardEnabled": "Disabled"}}
    ),
    Plan("storm", "h1", ((44, ""),), properties={"portSettings": {"stormLimit": 5}}),
    Plan("pairs", "h1", ((45, ""),), properties={"allowedAddressPairs": PAIRS}),
    Plan("blue1", "h1", ((99, ""),), network="blue"),
    Plan("blue2", "h1", ((98, ""),), network="blue"),
)
VICTIMS = ("victim1", "victim2", "victim3", "db")

AT_ONCE = 8
"""Forgeries in one burst: what a switch's buffer loses would prove nothing."""


@contextmanager
def attacked_cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(virtual_network("red"), virtual_network("blue"), plans=PLANS)
        yield made


def assert_closed(
    cloud: RunningCloud, sender: str, family: int, attacks: Mapping[str, Attack]
) -> None:
    """None of `attacks` arrives anywhere."""
    left = iter(attacks.items())
    while part := dict(islice(left, AT_ONCE)):
        assert (
            stray(cloud, cloud[sender], family, everywhere(cloud, sender, family, part), {}) == {}
        )


def assert_open(
    cloud: RunningCloud,
    sender: str,
    family: int,
    attacks: Mapping[str, Attack],
    *,
    closed: Mapping[str, Attack] | None = None,
    routed: bool = True,
) -> None:
    """All of `attacks` arrive everywhere, but nothing that is `closed`; in the other subnet only if
    they are routed."""
    expected = {
        victim: {
            f"{name}, for {whom}"
            for name in attacks
            for whom in ((victim,) if victim == "db" else (victim, "all"))
        }
        for victim in VICTIMS
        if routed or victim != "db"
    }
    sent = everywhere(cloud, sender, family, {**(closed or {}), **attacks})
    assert stray(cloud, cloud[sender], family, sent, expected) == expected


def everywhere(
    cloud: RunningCloud, sender: str, family: int, attacks: Mapping[str, Attack]
) -> dict[str, Frame]:
    """Each for each victim, and for all."""
    scenes = {}
    for number, name in enumerate(VICTIMS):
        victim, peer = cloud[name], cloud[VICTIMS[(number + 1) % 3]]
        mac = victim.mac if victim.plan.subnet == "web" else ROUTER
        scenes[name] = Scene(cloud, cloud[sender], peer, victim.address(family), mac, family)
    everyone = ALL_NODES[family == 6]
    scenes["all"] = Scene(cloud, cloud[sender], cloud["victim2"], *everyone, family)
    return {
        f"{name}, for {whom}": partial(attack, scene)
        for name, attack in attacks.items()
        for whom, scene in scenes.items()
    }


def stray(
    cloud: RunningCloud,
    sender: Nic,
    family: int,
    sent: Mapping[str, Frame],
    awaited: Mapping[str, set[str]],
) -> dict[str, set[str]]:
    """What of `sent` arrives, by the receiver's name; nothing is left out. Every receiver sees
    something allowed after it. What is `awaited` is sent until it arrives."""
    one, other = cloud["blue1"], cloud["blue2"]
    allowed: dict[Nic, tuple[str, Frame]] = {}
    for victim in (*map(cloud.__getitem__, VICTIMS), one):
        source = other if victim is one else sender
        allowed[victim] = f"allowed, for {victim.plan.name}", honest(source, victim, family)

    def send(built: list[bytes]) -> None:
        sender.send(built[:-1])
        other.send(built[-1:])

    found = arrivals_at(
        {
            victim: (*awaited.get(victim.plan.name, ()), name)
            for victim, (name, _) in allowed.items()
        },
        send,
        {**sent, **dict(allowed.values())},
    )
    extra = {}
    for victim, (name, _) in allowed.items():
        arrived = found[victim.plan.name]
        assert name in arrived, f"the control at {victim.plan.name}"
        extra[victim.plan.name] = arrived - {name}
    return {name: names for name, names in extra.items() if names}


def honest(sender: Nic, receiver: Nic, family: int) -> Frame:
    ends, ports = (sender.address(family), receiver.address(family)), (next(fresh_numbers), 9)
    return lambda mark: to(sender, receiver, packets.udp(*ends, ports, mark))


def has(seen: Capture, mark: bytes, count: int) -> bool:
    return len(seen.having(mark)) >= count
