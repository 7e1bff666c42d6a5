# SPDX-License-Identifier: Apache-2.0
"""Guests on hand-made switches: they reach each other, move, and get addresses."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from isthmus.addresses import mac_bytes
from isthmus.errors import NotFound, Unavailable
from isthmus_lab import frames
from isthmus_lab.dhcp import Lease
from isthmus_lab.guest import Guest
from isthmus_lab.lab import Lab
from isthmus_lab.pings import EchoStream, ping, ping_all
from isthmus_lab.rawsocket import Capture
from isthmus_lab.transfers import send_udp, tcp_transfer
from tests.lab import handmade
from tests.lab.conftest import TUNNELS

pytestmark = pytest.mark.system

LONGEST_S = 60.0


def test_guests_on_one_host_and_across_both_encapsulations_answer_each_other(lab: Lab) -> None:
    guests = list(lab.guests.values())
    pairs = [(one, other.addresses()[0]) for one in guests for other in guests if one is not other]
    assert [result.lost for result in ping_all(pairs)] == [0] * 12


def test_a_ping_of_nobody_is_counted_as_lost(a1: Guest) -> None:
    result = ping(a1, "10.0.0.99", count=2)
    assert (result.sent, result.received, result.lost) == (2, 0, 2)


@pytest.mark.parametrize(("receiver", "seen"), [("b1", "vxlan"), ("c1", "nvgre")])
def test_the_underlay_carries_each_pair_in_its_encapsulation(
    lab: Lab, a1: Guest, receiver: str, seen: str
) -> None:
    peer = lab.guest(receiver)
    ends = {mac_bytes(a1.mac), mac_bytes(peer.mac)}

    def between(frame: bytes) -> bool:
        packet = frames.read_tunnelled(frame)
        return packet is not None and {packet.inner[0:6], packet.inner[6:12]} == ends

    with Capture(lab.underlay.namespace, "h1", between) as capture:
        assert ping(a1, peer.addresses()[0], count=1).lost == 0
        assert capture.wait_for(between) is not None
        carried = [packet for packet in map(frames.read_tunnelled, capture.frames) if packet]
    assert {packet.encapsulation for packet in carried} == {seen}
    assert {packet.vsid for packet in carried} == {handmade.VSID}
    assert "172.31.0.1" in {packet.source for packet in carried}


@pytest.mark.parametrize("receiver", ["a2", "b1", "c1"])
def test_tcp_delivers_every_byte_because_checksums_are_computed(
    lab: Lab, a1: Guest, receiver: str
) -> None:
    peer = lab.guest(receiver)
    assert tcp_transfer(a1, peer, peer.addresses()[0], size_bytes=1 << 20).size_bytes == 1 << 20


def test_a_tcp_transfer_that_cannot_connect_says_so(a1: Guest, b1: Guest) -> None:
    # Of an address that was asked for lately the guest may know already that nobody has it.
    with pytest.raises(
        Unavailable, match=r"expected 100 bytes .* a1 failed: (timed out|.*No route to host)"
    ):
        tcp_transfer(a1, b1, "10.0.0.98", size_bytes=100, timeout_s=0.5)


def test_a_guest_that_moves_keeps_its_configuration_and_goes_on_answering(
    lab: Lab, a1: Guest, b1: Guest
) -> None:
    before = a1.run(["ip", "-4", "address", "show", "eth0"])
    a1.run(["ip", "route", "add", "192.0.2.0/24", "via", "10.0.0.2"])
    with EchoStream(b1, a1.addresses()[0]) as stream:
        assert stream.wait_for_answers(10, LONGEST_S)
        lab.move(a1, lab.host("h3"))
        handmade.Hand(lab, TUNNELS).program()
        assert stream.wait_for_answers(50, LONGEST_S)
        lab.move(a1, lab.host("h1"), live=False)
        handmade.Hand(lab, TUNNELS).program()
        assert stream.wait_for_answers(50, LONGEST_S)
    assert a1.run(["ip", "-4", "address", "show", "eth0"]) == before
    assert "192.0.2.0/24 via 10.0.0.2" in a1.run(["ip", "route"])
    assert lab.host("h3").switch.vsctl("list-ports", "br-int").split() == ["c1.1", "gre0", "vx0"]
    a1.run(["ip", "route", "del", "192.0.2.0/24"])


def test_a_guest_that_arrives_is_announced(lab: Lab, a1: Guest, a2: Guest) -> None:
    expected = frames.gratuitous_arp(a1.mac, a1.addresses()[0])
    with Capture(a2.namespace, a2.nic) as capture:
        a1.announce()
        assert capture.wait_for(lambda frame: frame == expected) is not None


def test_an_undisturbed_stream_of_pings_loses_none(a1: Guest, c1: Guest) -> None:
    with EchoStream(a1, c1.addresses()[0], grace_s=5.0) as stream:
        assert stream.wait_for_answers(50, LONGEST_S)
    assert stream.report.lost == ()
    assert stream.report.sent == stream.report.received >= 50


def test_a_stream_notes_what_was_lost_and_how_long(lab: Lab, a1: Guest, b1: Guest) -> None:
    with EchoStream(a1, b1.addresses()[0]) as stream:
        assert stream.wait_for_answers(20, LONGEST_S)
        lab.host("h2").switch.ofctl("del-flows", "br-int")
        end = time.monotonic() + LONGEST_S
        # For a moment the switch forwards by what it has cached; and an answer may be on its way.
        while len(stream.report.lost) < 60:
            assert time.monotonic() < end, "without flows there are answers"
            time.sleep(0.01)
        handmade.Hand(lab, TUNNELS).program()
        assert stream.wait_for_answers(20, LONGEST_S)
    report = stream.report
    assert len(report.lost) >= 30
    assert report.sent == report.received + len(report.lost)
    assert report.longest_gap_s > 0.1


def test_a_guest_that_is_unplugged_is_gone_from_its_switch(lab: Lab) -> None:
    guest = lab.add_guest("x1", "02:00:00:00:00:77", "port-x1")
    lab.plug(guest, lab.host("h2"))
    assert "x1.1" in lab.host("h2").switch.vsctl("list-ports", "br-int").split()
    identifier = lab.host("h2").switch.vsctl("get", "Interface", "x1.1", "external_ids:iface-id")
    assert identifier.strip() == "port-x1"
    lab.remove_guest(guest)
    assert "x1.1" not in lab.host("h2").switch.vsctl("list-ports", "br-int").split()
    with pytest.raises(NotFound):
        lab.guest("x1")


def test_a_guest_gets_everything_by_dhcp(
    lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A real server, busybox's, in the guest a2; two leases are asked for side by side."""
    server = lab.guest("a2")
    configuration = tmp_path / "udhcpd.conf"
    configuration.write_text(
        "start 10.0.0.100\nend 10.0.0.110\ninterface eth0\n"
        f"lease_file {tmp_path}/leases\npidfile {tmp_path}/udhcpd.pid\n"
        "option subnet 255.255.255.0\noption router 10.0.0.2\noption dns 192.0.2.53 192.0.2.54\n"
        "option lease 3600\noption mtu 1400\n"
        "option staticroutes 198.51.100.0/24 10.0.0.3, 0.0.0.0/0 10.0.0.2\n"
    )
    (tmp_path / "leases").touch()
    daemon = server.start(["busybox", "udhcpd", "-f", str(configuration)])
    request.addfinalizer(daemon.wait)
    request.addfinalizer(daemon.kill)
    clients = [lab.add_guest(f"d{n}", f"02:00:00:00:01:{n:02x}", f"port-d{n}") for n in (1, 2)]
    for client, host in zip(clients, ("h1", "h3"), strict=True):
        lab.plug(client, lab.host(host))
    handmade.Hand(lab, TUNNELS).program()

    leases = [exchange.finish() for exchange in [client.start_dhcp() for client in clients]]

    assert leases[0] == Lease(
        address=leases[0].address,
        prefix_length=24,
        routers=("10.0.0.2",),
        dns=("192.0.2.53", "192.0.2.54"),
        mtu_bytes=1400,
        routes=(("198.51.100.0/24", "10.0.0.3"), ("0.0.0.0/0", "10.0.0.2")),
        server="10.0.0.2",
        lease_s=3600,
    )
    assert len({lease.address for lease in leases}) == 2
    assert [client.addresses() for client in clients] == [[lease.address] for lease in leases]
    routes = clients[0].run(["ip", "route"])
    assert "default via 10.0.0.2" in routes and "198.51.100.0/24 via 10.0.0.3" in routes
    assert "mtu 1400" in clients[0].run(["ip", "link", "show", "eth0"])
    assert "192.0.2.53" in (clients[0].directory / "resolv.conf").read_text()
    assert ping(clients[1], leases[0].address).lost == 0

    clients[0].run(["ip", "address", "add", "10.9.9.9/32", "dev", "eth0"])
    assert clients[0].dhcp(apply=False).address == leases[0].address
    assert "10.9.9.9" in clients[0].addresses(), "asking again must not touch the configuration"

    for client in clients:
        lab.remove_guest(client)
    handmade.Hand(lab, TUNNELS).program()


def test_without_a_dhcp_server_the_clients_words_are_shown(
    lab: Lab, a1: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus_lab.dhcp._TRIES", 1)
    with pytest.raises(Unavailable, match=r"a1: expected a DHCP lease(.|\n)*discover"):
        a1.dhcp(apply=False)
    assert a1.addresses() == ["10.0.0.1"]


def test_a_command_in_a_guest_that_fails_says_what_it_said(a1: Guest) -> None:
    with pytest.raises(Unavailable, match=r"a1: ip link show nosuch failed with 1: .*nosuch"):
        a1.run(["ip", "link", "show", "nosuch"])


def test_a_broadcast_reaches_all_guests(lab: Lab, a1: Guest) -> None:
    others = [guest for guest in lab.guests.values() if guest is not a1]
    captures = [Capture(guest.namespace, guest.nic) for guest in others]
    for capture in captures:
        capture.__enter__()
    try:
        send_udp(a1, "10.0.0.255", b"to everybody")
        assert all(capture.wait_for(lambda frame: b"to everybody" in frame) for capture in captures)
    finally:
        for capture in captures:
            capture.__exit__(None, None, None)


def test_a_guest_that_cannot_be_plugged_stays_where_it_was(lab: Lab, a1: Guest, a2: Guest) -> None:
    lab.host("h3").switch.bridge_wait_s = 0.2
    lab.host("h3").switch.vsctl("del-br", "br-int")
    with pytest.raises(Unavailable, match=r"h3 has no br-int: does its agent run\?"):
        lab.move(a1, lab.host("h3"))
    assert a1.state.host == "h1"
    assert ping(a1, a2.addresses()[0]).lost == 0
