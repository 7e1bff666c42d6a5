# SPDX-License-Identifier: Apache-2.0
"""Guests are asked for their address pairs: whom for what, and what an answer means."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from isthmus.addresses import Mac, parse_mac
from isthmus.agent.ovs.host import OvsHost
from isthmus.host.address_pairs import Pairs
from isthmus.host.facts import Plugged
from isthmus.host.solicitations import MOST_ADDRESSES, Asked, PairAsking, candidates
from isthmus.policy.rows import LearnedAddress, Port
from isthmus.wire.ethernet import (
    Arp,
    Ethernet,
    build_arp,
    build_ethernet,
    parse_arp,
    parse_ethernet,
)
from isthmus.wire.neighbours import announced, is_answer
from isthmus_lab import frames, frames6, packets
from tests.agent.ovs.hosts import host, plug
from tests.host.test_address_pairs import ADDRESS, MAC, OTHER, WEB, row
from tests.switches.policy_rows import ROUTER_MAC, claim, network_rows, port
from tests.texts import pairs

SIX = "fd00::100"


def test_a_port_may_have_its_single_pairs_and_what_is_in_use_in_the_others() -> None:
    of: Port = msgspec.structs.replace(
        port("red", "a", 4),
        pairs=pairs(
            f"10.0.1.96/28 {MAC}", f"10.0.1.200/32 {MAC}", f"{SIX}/128 {MAC}", f"fd01::/64 {MAC}"
        ),
    )
    in_use = {"10.0.1.100", "10.0.1.150", "fd01::7", "10.0.1.4"}
    assert [str(one) for one in candidates(of, in_use)] == ["10.0.1.100", "10.0.1.200", SIX]
    own = msgspec.structs.replace(of, addresses=("10.0.1.200", "10.0.1.100"))
    assert [str(one) for one in candidates(own, in_use)] == [SIX]


def _state(*texts: str, learned: tuple[LearnedAddress, ...] = ()) -> OvsHost:
    of: Port = msgspec.structs.replace(port("red", "a", 4), pairs=pairs(*texts))
    state = host("h1", *network_rows("red"), of, claim(of, "h1"), *learned)
    plug(state, of)
    return state


def _round(asking: PairAsking, state: OvsHost) -> list[Asked]:
    return asking.questions(state.engine.rows(Plugged).values())


def test_a_guest_is_asked_as_its_gateway_would_ask() -> None:
    state = _state(f"10.0.1.100/32 {MAC}", f"{SIX}/128 {MAC}")
    four, six = _round(PairAsking(state), state)
    assert four.ofport == six.ofport == 1
    message = parse_arp(parse_ethernet(four.frame).payload)
    assert (message.operation, message.target) == (1, IPv4Address("10.0.1.100"))
    assert (message.sender, message.sender_mac) == (IPv4Address("10.0.1.1"), parse_mac(ROUTER_MAC))
    packet = parse_ethernet(six.frame).payload
    assert IPv6Address(packet[8:24]).is_link_local
    assert packet[7] == 255
    assert (packet[40], IPv6Address(packet[48:64])) == (135, IPv6Address(SIX))


def test_a_port_without_pairs_is_asked_nothing() -> None:
    state = _state()
    assert _round(PairAsking(state), state) == []


def test_of_many_addresses_each_has_its_turn() -> None:
    learned = tuple(
        LearnedAddress(
            address=f"10.0.1.{96 + n}", port="x", host="h2", segment="red/a", mac=MAC, sequence=1
        )
        for n in range(MOST_ADDRESSES + 3)
    )
    state = _state(f"10.0.1.96/28 {MAC}", learned=learned)
    asking = PairAsking(state)
    rounds = [_round(asking, state) for _ in range(2)]
    assert [len(one) for one in rounds] == [MOST_ADDRESSES] * 2
    asked = {parse_arp(parse_ethernet(q.frame).payload).target for one in rounds for q in one}
    assert asked == {ip_address(one.address) for one in learned}


def test_an_answer_is_no_announcement() -> None:
    own, other = "10.0.1.100", "10.0.1.1"
    mac = parse_mac(MAC)
    assert not is_answer(frames.gratuitous_arp(mac, own))
    six = frames6.advertisement(SIX, mac)
    packet = packets.icmpv6_message(SIX, frames6.ALL_NODES, *six)
    whole = packets.ipv6(SIX, frames6.ALL_NODES, packets.PROTOCOL_ICMPV6, packet, hops=255)
    assert not is_answer(packets.ethernet(frames6.ALL_NODES_MAC, mac, whole))
    reply = bytearray(frames.gratuitous_arp(mac, own))
    reply[20:22] = b"\0\2"
    reply[38:42] = ip_address(other).packed
    assert is_answer(bytes(reply))
    assert announced(bytes(reply)) == (IPv4Address(own), mac)


def test_an_answer_to_us_is_told_from_what_guests_say_to_each_other() -> None:
    asking = PairAsking(_state(f"10.0.1.100/32 {MAC}"))
    mac, router = parse_mac(MAC), parse_mac(ROUTER_MAC)
    own, gateway = IPv4Address("10.0.1.100"), IPv4Address("10.0.1.1")
    reply = build_arp(Arp(2, mac, own, router, gateway))
    to_us = build_ethernet(Ethernet(router, mac, 0x0806, reply))
    to_a_neighbour = build_ethernet(Ethernet(Mac(0x020000000007), mac, 0x0806, reply))
    assert asking.is_answered_by(1, to_us)
    assert not asking.is_answered_by(1, to_a_neighbour)
    assert not asking.is_answered_by(9, to_us)
    assert not asking.is_answered_by(1, frames.gratuitous_arp(mac, str(own)))
    assert not asking.is_answered_by(1, b"")


# -- what an answer means --------------------------------------------------------------------------


def answers(pairs: Pairs, stored: LearnedAddress | None = None, *others: LearnedAddress) -> bool:
    return pairs.announce(WEB, "h1", ADDRESS, MAC, stored, others, asked=True)


def test_the_first_answer_of_a_guest_takes_an_address_whose_announcement_was_missed() -> None:
    pairs = Pairs()
    pairs.ask(WEB.id, [ADDRESS])
    assert answers(pairs, None, row(4, OTHER, host="h2"))
    assert pairs.wanted(WEB, {}) == {ADDRESS: row(5)}


def test_so_does_the_first_after_a_silence() -> None:
    pairs = Pairs()
    pairs.announce(WEB, "h1", ADDRESS, MAC, None, ())
    pairs.ask(WEB.id, [ADDRESS])
    pairs.ask(WEB.id, [ADDRESS])
    assert answers(pairs, row(1), row(2, OTHER))


def test_a_guest_that_goes_on_answering_takes_nothing_back() -> None:
    """Of two that both believe to have it, the last one keeps it: no flapping."""
    pairs = Pairs()
    pairs.announce(WEB, "h1", ADDRESS, MAC, None, ())
    for _ in range(3):
        pairs.ask(WEB.id, [ADDRESS])
        assert not answers(pairs, row(1), row(2, OTHER))
    assert pairs.wanted(WEB, {ADDRESS: row(1)}) == {ADDRESS: row(1)}


def test_the_holder_s_answer_is_no_news() -> None:
    pairs = Pairs()
    pairs.ask(WEB.id, [ADDRESS])
    assert not answers(pairs, row(3), row(2, OTHER))


def test_a_guest_that_was_plugged_anew_is_asked_as_if_never_before() -> None:
    pairs = Pairs()
    pairs.announce(WEB, "h1", ADDRESS, MAC, None, ())
    pairs.forget(WEB.id)
    pairs.ask(WEB.id, [ADDRESS])
    assert answers(pairs, row(1), row(2, OTHER))


def test_an_address_whose_turn_it_is_not_is_held_as_before() -> None:
    pairs = Pairs()
    pairs.announce(WEB, "h1", ADDRESS, MAC, None, ())
    pairs.ask(WEB.id, ["10.0.1.99"])
    pairs.ask(WEB.id, [ADDRESS])
    assert not answers(pairs, row(1), row(2, OTHER))


def test_a_guest_that_answered_and_is_silent_gives_an_address_up_to_another() -> None:
    pairs = Pairs()
    pairs.announce(WEB, "h1", ADDRESS, MAC, None, ())
    pairs.ask(WEB.id, [ADDRESS])
    answers(pairs, row(1))
    stored = {ADDRESS: row(1)}
    assert not pairs.ask(WEB.id, [ADDRESS])
    # One answer may be lost.
    assert not pairs.ask(WEB.id, [ADDRESS])
    assert pairs.wanted(WEB, stored, [ADDRESS]) == stored
    assert pairs.ask(WEB.id, [ADDRESS])
    assert pairs.wanted(WEB, stored, [ADDRESS]) == {}
    # Nobody else wants it: then it stays where it was.
    assert pairs.wanted(WEB, stored) == stored
    # It speaks again, and has it again.
    assert answers(pairs, None, row(1, OTHER))
    assert pairs.wanted(WEB, {}, [ADDRESS]) == {ADDRESS: row(2)}


def test_a_guest_that_never_answers_questions_keeps_what_it_has_announced() -> None:
    pairs = Pairs()
    pairs.announce(WEB, "h1", ADDRESS, MAC, None, ())
    stored = {ADDRESS: row(1)}
    for _ in range(5):
        assert not pairs.ask(WEB.id, [ADDRESS])
        assert pairs.wanted(WEB, stored, [ADDRESS]) == stored


def test_a_host_takes_back_what_its_silent_guest_held_while_another_is_there() -> None:
    of: Port = msgspec.structs.replace(port("red", "a", 4), pairs=pairs(f"{ADDRESS}/32 {MAC}"))
    mine = LearnedAddress(
        address=ADDRESS, port=of.id, host="h1", segment="red/a", mac=MAC, sequence=2
    )
    other = msgspec.structs.replace(mine, port="red-a-5", host="h2", sequence=1)
    state = _state(f"{ADDRESS}/32 {MAC}", learned=(mine, other))
    asking = PairAsking(state)
    _round(asking, state)
    assert not state.pair_seen(1, ADDRESS, MAC, asked=True)
    state.take_reports()
    for _ in range(3):
        _round(asking, state)
    assert state.take_reports() == [of.id]
    assert state.wanted_learned(of.id) == {}
