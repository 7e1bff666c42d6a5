# SPDX-License-Identifier: Apache-2.0
"""What the settings of a port open, with packets, is just what they name: any MAC address, DHCP
and router guard, the storm limit, address pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pytest

from isthmus.addresses import Mac, mac_bytes, mac_text
from isthmus_lab import frames, frames6, packets
from isthmus_lab.frames6 import Message
from isthmus_lab.rawsocket import Capture
from tests.system.cloud import FAMILIES, RunningCloud, carries, until
from tests.system.forgeries import (
    ALL_NODES,
    DISCOVERY,
    GATEWAY,
    MACS,
    NOBODY,
    Attack,
    Scene,
    claim,
    fragment4,
    fresh_numbers,
    of_family,
)
from tests.system.forging import PAIR_MAC, assert_closed, assert_open, attacked_cloud, has

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with attacked_cloud() as made:
        yield made


def test_any_mac_address_may_be_allowed_and_nothing_more(cloud: RunningCloud) -> None:
    names = ("MAC of a peer", "MAC of nobody")
    never = ("broadcast MAC", "multicast MAC", "MAC and address of a peer")
    sender, near = cloud["any-mac"], cloud["victim1"]
    for family in FAMILIES:
        assert_open(cloud, "any-mac", family, {name: MACS[name] for name in names})
        with Capture(near.guest.namespace, near.guest.nic) as seen:
            forged = Scene(cloud, sender, near, near.address(family), near.mac, family)
            datagram = forged.datagram(b"of nobody", source_mac=NOBODY)
            until(partial(is_seen, seen, b"of nobody", partial(sender.send, [datagram])))
            (found, *_) = seen.having(b"of nobody")
            assert found[6:12] == mac_bytes(NOBODY)
        closed = {
            name: attack
            for name, attack in of_family(family).items()
            if name not in MACS or name in never
        }
        assert_closed(cloud, "any-mac", family, closed)


def is_seen(seen: Capture, mark: bytes, send: Callable[[], None]) -> bool:
    """Whether the capture has seen the mark, which is sent."""
    send()
    return seen.wait_for(partial(carries, mark), 1.0) is not None


def test_a_guarded_port_answers_no_dhcp_in_any_pieces(cloud: RunningCloud) -> None:
    for family, (client, server) in {4: (68, 67), 6: (546, 547)}.items():
        answers: dict[str, Attack] = {
            "answer": partial(dhcp_answer, ports=(server, client)),
            "answer to another port": partial(dhcp_answer, ports=(server, 9)),
            "answer in fragments": partial(dhcp_answer, ports=(server, client), cut_at=48),
        }
        others: dict[str, Attack] = {
            "to a server's port": partial(dhcp_answer, ports=(9, server)),
            "something in fragments": partial(dhcp_answer, ports=(9, 10), cut_at=48),
        }
        assert_open(cloud, "attacker", family, answers | others)
        if family == 6:
            answers["answer, cut before its ports"] = partial(
                dhcp_answer,
                ports=(server, client),
                cut_at=8,
                headers=frames6.options_header(frames.PROTOCOL_UDP),
            )
        assert_open(cloud, "guarded", family, others, closed=answers)


def dhcp_answer(
    scene: Scene, mark: bytes, ports: tuple[int, int], *, cut_at: int = 0, headers: bytes = b""
) -> bytes | tuple[bytes, ...]:
    """From the guest's own address; or in two fragments, of which the first has `cut_at` bytes, and
    the mark as padding."""
    if not cut_at:
        return scene.frame(packets.udp(scene.own, scene.destination, ports, bytes(48) + mark))
    whole = packets.udp(scene.own, scene.destination, ports, bytes(96))
    if scene.family == 6:
        first = frames6.DESTINATION_OPTIONS if headers else frames.PROTOCOL_UDP
        one, other = frames6.fragments(
            *(scene.own, scene.destination, first, headers + whole[40:], cut_at),
            identifier=next(fresh_numbers),
        )
    else:
        one = fragment4(scene, whole[20:][:cut_at], 0, more=True)
        other = fragment4(scene, whole[20:][cut_at:], cut_at, more=False)
    return scene.frame(one) + mark, scene.frame(other)


ROUTERS_OWN = ("router, link-local", "router, link-local of the gateway")
"""What a port without router guard may send: any link-local address could be its guest's."""


def test_a_router_may_be_allowed_and_nothing_more(cloud: RunningCloud) -> None:
    opened = {name: DISCOVERY[name] for name in ROUTERS_OWN}
    assert_open(cloud, "router", 6, opened, routed=False)
    closed = {name: attack for name, attack in of_family(6).items() if name not in opened}

    def advertised(scene: Scene) -> Message:
        return frames6.router_advertisement(scene.sender.mac)

    closed["router, link-local, hop limit 64"] = lambda s, mark: s.icmpv6(
        mark, advertised(s), frames6.link_local(s.sender.mac), hops=64
    )
    closed["router, link-local, a peer's MAC"] = lambda s, mark: retold(
        s.icmpv6(mark, advertised(s), frames6.link_local(s.sender.mac)), s.peer.mac
    )
    assert_closed(cloud, "router", 6, closed)


def retold(frame: bytes, source: Mac) -> bytes:
    """The same from another MAC address."""
    return frame[:6] + mac_bytes(source) + frame[12:]


def test_a_storm_limit_holds_for_broadcasts_only(cloud: RunningCloud) -> None:
    sender = cloud["storm"]
    for family in FAMILIES:
        address, mac = ALL_NODES[family == 6]
        for name in ("victim1", "victim2", "victim3"):
            victim = cloud[name]
            near = Scene(cloud, sender, victim, victim.address(family), victim.mac, family)
            everyone = near._replace(destination=address, mac=mac)
            with Capture(victim.guest.namespace, victim.guest.nic) as seen:
                # Five in a second, and as many at once; to send them takes far less than a minute.
                for number in range(1, 7):
                    sender.send([everyone.datagram(b"to all")] * 50)
                    sender.send([near.datagram(b"to one")] * 10)
                    # No more at once than a switch's buffer holds that is not looked into.
                    until(partial(has, seen, b"to one", 10 * number))
                until(partial(has, seen, b"to all", 1))
                assert not has(seen, b"to all", 150)


def test_address_pairs_open_what_they_name(cloud: RunningCloud) -> None:
    sender, other = cloud["pairs"], PAIR_MAC
    own = sender.mac
    inside = {
        4: (("10.1.1.200", own), ("10.1.1.208", other), ("10.1.1.223", other)),
        6: (
            *(("fd00:1:0:1::200", own), ("fd00:1:0:1:aa::", other)),
            ("fd00:1:0:1:aa:ffff:ffff:ffff", other),
        ),
    }
    outside = {
        4: (
            *(("10.1.1.199", own), ("10.1.1.201", own), ("10.1.1.200", other)),
            *(("10.1.1.200", NOBODY), ("10.1.1.208", own), ("10.1.1.207", other)),
            *(("10.1.1.224", other), (sender.address(4), other)),
        ),
        6: (
            *(("fd00:1:0:1::1ff", own), ("fd00:1:0:1::201", own), ("fd00:1:0:1::200", other)),
            *(("fd00:1:0:1:aa::", own), ("fd00:1:0:1:a9:ffff:ffff:ffff", other)),
            *(("fd00:1:0:1:ab::", other), ("fd00:1:0:1::200", NOBODY), (sender.address(6), other)),
        ),
    }
    for family in FAMILIES:
        assert_open(cloud, "pairs", family, sourced(inside[family]))
        assert_closed(cloud, "pairs", family, of_family(family) | sourced(outside[family]))


def sourced(sources: Iterable[tuple[str, Mac]]) -> dict[str, Attack]:
    def attack(address: str, mac: Mac, scene: Scene, mark: bytes) -> bytes:
        return scene.datagram(mark, address, mac)

    return {f"{text} {mac_text(mac)}": partial(attack, text, mac) for text, mac in sources}


def test_of_address_pairs_only_true_announcements_pass(cloud: RunningCloud) -> None:
    four, six = "10.1.1.200", "fd00:1:0:1::200"
    true = frames6.advertisement(six, cloud["pairs"].mac)
    opened4: dict[str, Attack] = {"announcement": lambda s, mark: s.arp(mark, 1, four)}
    opened6: dict[str, Attack] = {"announcement": lambda s, mark: s.icmpv6(mark, true, six)}
    # These come to the agent, a few in a second: with the true one beside them.
    heard: dict[str, Attack] = {
        "answer": lambda s, mark: s.arp(mark, 2, four, target=s.destination),
        # A prefix of many addresses is for what is behind the guest, not for itself.
        "announcement of a prefix's": lambda s, mark: s.arp(
            mark, 1, "10.1.1.209", sender_mac=PAIR_MAC, source_mac=PAIR_MAC
        ),
    }
    assert_open(cloud, "pairs", 4, opened4, closed=heard, routed=False)
    assert_open(cloud, "pairs", 6, opened6, routed=False)
    closed4: dict[str, Attack] = {
        "announcement of another": lambda s, mark: s.arp(mark, 1, "10.1.1.201"),
        "announcement with another MAC": lambda s, mark: s.arp(mark, 1, four, sender_mac=PAIR_MAC),
        "announcement in another frame": lambda s, mark: s.arp(mark, 1, four, source_mac=PAIR_MAC),
    }
    assert_closed(cloud, "pairs", 4, closed4)
    closed6: dict[str, Attack] = {
        "announcement of another": lambda s, mark: s.icmpv6(mark, claim(s, f"{six[:-1]}1"), six),
        "announcement of a peer": lambda s, mark: s.icmpv6(mark, claim(s), six),
        "announcement with another MAC": lambda s, mark: s.icmpv6(
            mark, frames6.advertisement(six, PAIR_MAC), six
        ),
        "announcement without a MAC": lambda s, mark: s.icmpv6(
            mark, frames6.advertisement(six, None), six
        ),
        "announcement from a peer": lambda s, mark: s.icmpv6(mark, true, s.peer.address(6)),
        "announcement from the gateway": lambda s, mark: s.icmpv6(mark, true, GATEWAY[6]),
        "announcement from afar": lambda s, mark: s.icmpv6(mark, true, six, hops=64),
    }
    assert_closed(cloud, "pairs", 6, closed6)
