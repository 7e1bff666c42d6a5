# SPDX-License-Identifier: Apache-2.0
"""What the host answers itself, with packets: every message that a standard lets a guest send there
is answered, in fragments too where it may come so, and what is not for the host goes its way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv6Address
from itertools import count
from typing import NamedTuple

import pytest

from isthmus.addresses import Mac, mac_bytes
from isthmus_lab import frames, frames6, packets
from isthmus_lab.rawsocket import Capture
from tests.system import cloud as clouds
from tests.system.cloud import (
    CARRIAGES,
    FAMILIES,
    ROUTER,
    Frame,
    Nic,
    Plan,
    RunningCloud,
    access_control_list,
    arrivals,
    rule,
    to,
    until,
    virtual_network,
)

pytestmark = pytest.mark.system

PLANS = (
    Plan("free", "h1", ((11, ""),)),
    Plan("ruled", "h1", ((12, "some"),)),
    Plan("db", "h1", ((13, ""),), subnet="db"),
    *(Plan(f"server{host[1]}", host, ((20 + int(host[1]), ""),)) for host in CARRIAGES),
)
LISTS = (
    access_control_list(
        "some",
        rule("ICMPv4", type="Outbound"),
        rule("ICMPv6", type="Outbound"),
        rule("UDP", "67", type="Outbound"),
        outbound="Deny",
    ),
)
GATEWAY, GATEWAY6, SERVER_OF_DB = "10.1.1.1", "fd00:1:0:1::1", "10.1.2.1"
STALE, NOBODYS = "10.1.1.200", "10.1.1.201"
EVERYBODY = "255.255.255.255"
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)

_numbers = count(1)

each_guest = pytest.mark.parametrize("guest", ["free", "ruled"])


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(*LISTS, virtual_network("red"), plans=PLANS)
        yield made


# -- DHCP ------------------------------------------------------------------------------------------


class Message(NamedTuple):
    """What a client sends (RFC 2131 table 4), and which kind of answer it gets, if any."""

    kind: int
    answer: int | None
    source: str = "0.0.0.0"
    to: str = EVERYBODY
    ciaddr: str = "0.0.0.0"
    requested: str = ""
    server: str = ""

    def frame(self, sender: Nic, xid: int) -> bytes:
        body = struct.pack("!BBBBIHH", 1, 1, 6, 0, xid, 0, 0) + packed(self.ciaddr)
        body += bytes(12) + mac_bytes(sender.mac).ljust(16, b"\0") + bytes(192)
        options = bytes((53, 1, self.kind))
        for code, address in ((50, self.requested), (54, self.server)):
            options += bytes((code, 4)) + packed(address) if address else b""
        datagram = body + b"\x63\x82\x53\x63" + options + b"\xff"
        packet = packets.udp(self.source, self.to, (68, 67), datagram.ljust(300, b"\0"))
        return packets.ethernet(
            frames.BROADCAST if self.to == EVERYBODY else ROUTER, sender.mac, packet
        )


def packed(address: str) -> bytes:
    return bytes(int(part) for part in address.split("."))


def messages(own: str) -> dict[str, Message]:
    """By the client's state (RFC 2131 figure 5), with its true address and with one that it had."""
    return {
        "INIT": Message(DISCOVER, OFFER),
        "SELECTING": Message(REQUEST, ACK, requested=own, server=GATEWAY),
        "SELECTING, another's address": Message(REQUEST, NAK, requested=STALE, server=GATEWAY),
        "INIT-REBOOT": Message(REQUEST, ACK, requested=own),
        "INIT-REBOOT, changed": Message(REQUEST, NAK, requested=STALE),
        "RENEWING": Message(REQUEST, ACK, own, GATEWAY, own),
        "RENEWING, changed": Message(REQUEST, NAK, STALE, GATEWAY, STALE),
        "REBINDING": Message(REQUEST, ACK, own, ciaddr=own),
        "REBINDING, changed": Message(REQUEST, NAK, STALE, ciaddr=STALE),
        "inform": Message(INFORM, ACK, own, ciaddr=own),
        "inform by unicast": Message(INFORM, ACK, own, GATEWAY, own),
        "inform, address by hand": Message(INFORM, ACK, STALE, ciaddr=STALE),
        "release": Message(RELEASE, None, own, GATEWAY, own, server=GATEWAY),
        "release, changed": Message(RELEASE, None, STALE, GATEWAY, STALE, server=GATEWAY),
        "decline": Message(DECLINE, None, requested=own, server=GATEWAY),
    }


@each_guest
def test_each_message_of_a_dhcp_client_is_answered_as_its_state_wants(
    cloud: RunningCloud, guest: str
) -> None:
    sender, near = cloud[guest], cloud["server1"]
    sent = messages(sender.address(4))
    xids = {name: 0xABC00000 + next(_numbers) for name in sent}
    with (
        Capture(sender.guest.namespace, sender.guest.nic) as heard,
        Capture(near.guest.namespace, near.guest.nic) as beside,
    ):
        for name, message in sent.items():
            if message.answer is not None:
                ask = partial(sender.send, [message.frame(sender, xids[name])])
                until(partial(is_answered, heard, xids[name], ask))
                found = answer_of(heard, xids[name])
                assert found[282:285] == bytes((53, 1, message.answer)), name
                # RFC 2131 section 4.3.2: a server "MUST broadcast the DHCPNAK message".
                assert (found[:6] == b"\xff" * 6) == (message.answer == NAK), name
            else:
                sender.send([message.frame(sender, xids[name])])
        last = messages(sender.address(4))["INIT"].frame(sender, 0xABCFFFFF)
        until(partial(is_answered, heard, 0xABCFFFFF, partial(sender.send, [last])))
        for name, message in sent.items():
            if message.answer is None:
                assert answer_of(heard, xids[name]) == b"", name
        # Nobody else hears of it: what is allowed and comes after has arrived.
        control = {"control": udp(sender, near, (9, 67))}
        assert arrivals(sender, near, control, ("control",)) == {"control"}
        assert [frame for frame in beside.frames if frame[34:38] == b"\0\x44\0\x43"] == []


def is_answered(heard: Capture, xid: int, ask: partial[None]) -> bool:
    ask()
    return heard.wait_for(lambda frame: has_xid(frame, xid), 1.0) is not None


def has_xid(frame: bytes, xid: int) -> bool:
    return frame[34:38] == b"\0\x43\0\x44" and frame[46:50] == struct.pack("!I", xid)


def answer_of(heard: Capture, xid: int) -> bytes:
    return next((frame for frame in heard.frames if has_xid(frame, xid)), b"")


def udp(sender: Nic, receiver: Nic, ports: tuple[int, int], source: str = "") -> Frame:
    ends = source or sender.address(4), receiver.address(4)
    return lambda mark: to(sender, receiver, packets.udp(*ends, ports, mark))


@pytest.mark.parametrize("receiver", ["server1", "server2", "server3", "db"])
def test_what_is_for_another_dhcp_server_goes_its_way(cloud: RunningCloud, receiver: str) -> None:
    sender, other = cloud["free"], cloud[receiver]
    forged = {"from a changed address": udp(sender, other, (68, 67), STALE)}
    sent = {
        "to a server": udp(sender, other, (68, 67)),
        "by a relay": udp(sender, other, (67, 67)),
    }
    if receiver != "db":
        sent["to all of the subnet"] = lambda mark: packets.ethernet(
            frames.BROADCAST,
            sender.mac,
            packets.udp(sender.address(4), "10.1.1.255", (68, 67), mark),
        )
    assert arrivals(sender, other, forged | sent, sent) == set(sent)


def test_dhcp_of_ipv6_is_not_answered_and_goes_its_way(cloud: RunningCloud) -> None:
    sender = cloud["free"]

    def solicited(source: str, mark: bytes) -> bytes:
        packet = packets.udp(source, "ff02::1:2", (546, 547), mark)
        return packets.ethernet(Mac(0x333300010002), sender.mac, packet)

    sent = {
        "from a link-local address": partial(solicited, frames6.link_local(sender.mac)),
        "from its own address": partial(solicited, sender.address(6)),
    }
    for n in (1, 2, 3):
        awaited = ("from its own address",)
        assert arrivals(sender, cloud[f"server{n}"], sent, awaited) == set(awaited)


def test_what_is_sent_to_the_dhcp_port_is_judged_like_all_else(cloud: RunningCloud) -> None:
    sender, other = cloud["ruled"], cloud["server1"]
    sent = {"denied": udp(sender, other, (68, 68)), "allowed": udp(sender, other, (68, 67))}
    assert arrivals(sender, other, sent, ("allowed",)) == {"allowed"}


# -- ARP and neighbour discovery -------------------------------------------------------------------


def arp(sender: Nic, source: str, target: str, destination: Mac = frames.BROADCAST) -> bytes:
    ends = (sender.mac, source), (Mac(0), target)
    return frames.arp(1, *ends, source=sender.mac, destination=destination)


@each_guest
def test_arp_is_answered_where_its_target_is_known(cloud: RunningCloud, guest: str) -> None:
    sender, near = cloud[guest], cloud["server1"]
    own = sender.address(4)
    questions = {
        **{
            f"{name} of {who}": (arp(sender, source, target, mac), target, owner)
            for who, target, owner in (
                ("the gateway", GATEWAY, ROUTER),
                *(
                    (f"server{n}", cloud[f"server{n}"].address(4), cloud[f"server{n}"].mac)
                    for n in (1, 2, 3)
                ),
            )
            for name, source, mac in (
                ("question", own, frames.BROADCAST),
                ("probe", "0.0.0.0", frames.BROADCAST),
                ("unicast poll", own, owner),
            )
        },
        # Before its renewal, whose answer is that the address is another.
        "of the gateway, changed": (arp(sender, STALE, GATEWAY), GATEWAY, ROUTER),
    }
    silent = {
        "probe of its own": arp(sender, "0.0.0.0", own),
        "announcement": arp(sender, own, own),
        "probe of a free one": arp(sender, "0.0.0.0", NOBODYS),
        "of a neighbour, changed": arp(sender, STALE, near.address(4)),
        "answer": frames.arp(2, (sender.mac, own), (near.mac, near.address(4)), source=sender.mac),
        "reverse": frames.ethernet(
            frames.BROADCAST, sender.mac, 0x8035, arp(sender, own, own)[14:20] + b"\0\3" + bytes(20)
        ),
    }
    with (
        Capture(sender.guest.namespace, sender.guest.nic, is_arp) as heard,
        Capture(near.guest.namespace, near.guest.nic, is_arp) as beside,
    ):
        sender.send(silent.values())
        for name, (question, target, owner) in questions.items():
            before = len(heard.frames)
            sender.send([question])
            until(partial(has_grown, heard, before))
            answer = heard.frames[before]
            assert answer[20:22] == b"\0\2", name
            assert answer[22:32] == mac_bytes(owner) + packed(target), name
            assert answer[:6] == mac_bytes(sender.mac), name
        assert len(heard.frames) == len(questions)
        control = {"control": udp(sender, near, (9, 67))}
        assert arrivals(sender, near, control, ("control",)) == {"control"}
        assert beside.frames == []


def is_arp(frame: bytes) -> bool:
    return frame[12:14] in (b"\x08\x06", b"\x80\x35")


def has_grown(heard: Capture, before: int) -> bool:
    return len(heard.frames) > before


def solicitation(sender: Nic, source: str, target: str, owner: Mac | None = None) -> bytes:
    """To all who may have it (RFC 4291 section 2.7.1), or to who has had it until now."""
    asked = frames6.solicitation(target, None if source == "::" else sender.mac)
    end = int(IPv6Address(target)) & 0xFFFFFF
    many = str(IPv6Address((0xFF02 << 112) | 0x1FF000000 | end)), Mac(0x3333FF000000 | end)
    destination, mac = many if owner is None else (target, owner)
    return packets.ethernet(mac, sender.mac, packets.icmpv6(source, destination, *asked))


@each_guest
def test_neighbour_discovery_is_answered_where_its_target_is_known(
    cloud: RunningCloud, guest: str
) -> None:
    sender, near = cloud[guest], cloud["server1"]
    own, link_local = sender.address(6), frames6.link_local(sender.mac)
    targets = {
        GATEWAY6: ROUTER,
        near.address(6): near.mac,
        cloud["server3"].address(6): cloud["server3"].mac,
    }
    questions = [
        (solicitation(sender, source, target, to_whom), target, owner)
        for target, owner in targets.items()
        for source, to_whom in ((own, None), (own, owner), ("::", None), (link_local, None))
    ]
    silent = [
        solicitation(sender, "::", own),
        solicitation(sender, "::", link_local),
        solicitation(sender, own, "fd00:1:0:1::99"),
        solicitation(sender, link_local, link_local),
        solicitation(sender, "fd00:1:0:1::99", near.address(6)),
    ]
    with (
        Capture(sender.guest.namespace, sender.guest.nic, is_advertisement) as heard,
        Capture(near.guest.namespace, near.guest.nic, is_discovery) as beside,
    ):
        sender.send(silent)
        for question, target, owner in questions:
            before = len(heard.frames)
            sender.send([question])
            until(partial(has_grown, heard, before))
            answer = heard.frames[before]
            assert answer[62:78] == IPv6Address(target).packed
            # Who looks whether an address is free gives no option, in whose place the answer's is.
            assert len(answer) == len(question)
            assert answer[78:86] in (b"", b"\2\1" + mac_bytes(owner))
            assert answer[6:12] == mac_bytes(owner)
        assert len(heard.frames) == len(questions)
        control = {"control": udp(sender, near, (9, 67))}
        assert arrivals(sender, near, control, ("control",)) == {"control"}
        assert beside.frames == []


def is_discovery(frame: bytes) -> bool:
    return frame[12:14] == b"\x86\xdd" and frame[20] == 58 and 133 <= frame[54] <= 137


def is_advertisement(frame: bytes) -> bool:
    return is_discovery(frame) and frame[54] == 136


# -- echo of the router ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def addressed(cloud: RunningCloud) -> RunningCloud:
    for name in ("free", "ruled"):
        cloud[name].use_addresses()
    return cloud


@pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)
@each_guest
def test_the_router_answers_an_echo_request_of_any_size(
    addressed: RunningCloud, guest: str, family: int
) -> None:
    """By the guest's own stack, which puts fragments together and compares what comes back."""
    nic = addressed[guest]
    gateway = GATEWAY if family == 4 else GATEWAY6
    sizes = [0, 1, 56, 1400, 1500, 3000, 20000, 44000]
    if guest == "free":
        sizes += [65507 if family == 4 else 65000]
    for size in sizes:
        told = nic.guest.run(["ping", "-c", "2", "-i", "0.2", "-W", "5", "-s", str(size), gateway])
        assert " 0% packet loss" in told, (size, told)
        assert "wrong" not in told, (size, told)


@each_guest
def test_the_router_answers_an_echo_request_with_options(
    addressed: RunningCloud, guest: str
) -> None:
    nic = addressed[guest]
    told = nic.guest.run(["ping", "-c", "1", "-W", "5", "-R", "-s", "100", GATEWAY])
    assert " 0% packet loss" in told, told
    with Capture(nic.guest.namespace, nic.guest.nic) as heard:
        source = nic.address(6)
        for first, headers in (
            (frames6.HOP_BY_HOP, frames6.options_header()),
            (frames6.DESTINATION_OPTIONS, frames6.options_header(units=3)),
        ):
            mark = b"isthmus-echo-%d" % next(_numbers)
            asked = frames6.Message(128, 0, struct.pack("!HH", 7, 1) + mark)
            packet = frames6.behind(headers, first, source, GATEWAY6, asked, hops=64)
            ask = partial(nic.send, [packets.ethernet(ROUTER, nic.mac, packet)])
            until(partial(is_echoed, heard, mark, ask))
            whole = next(frame for frame in heard.frames if mark in frame)
            reply = whole[54 + len(headers) :]
            assert reply == packets.icmpv6_message(GATEWAY6, source, 129, 0, asked.body)


def is_echoed(heard: Capture, mark: bytes, ask: partial[None]) -> bool:
    ask()
    return heard.wait_for(lambda frame: mark in frame, 1.0) is not None


# -- two traces ------------------------------------------------------------------------------------


@pytest.mark.parametrize("guest", ["free", "ruled"])
def test_policy_and_the_switches_agree_on_what_the_host_answers(
    cloud: RunningCloud, guest: str
) -> None:
    expected = {
        (GATEWAY, 68): "delivered",
        (EVERYBODY, 68): "delivered",
        (GATEWAY, 67): "dropped",
        (SERVER_OF_DB, 68): "dropped",
        **{(cloud[f"server{n}"].address(4), 68): "delivered" for n in (1, 2, 3)},
        (cloud["db"].address(4), 68): "delivered",
        (NOBODYS, 68): "dropped",
    }
    for (destination, source_port), verdict in expected.items():
        told = cloud.trace(guest, destination, protocol=17, port=67, sourcePort=source_port)
        shown = destination, source_port, told["steps"], told["switches"]
        assert (told["verdict"], told["switches"]["verdict"]) == (verdict, verdict), shown
    for gateway in (GATEWAY, GATEWAY6):
        told = cloud.trace(guest, gateway)
        assert told["verdict"] == told["switches"]["verdict"] == "delivered", told
