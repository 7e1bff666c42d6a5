# SPDX-License-Identifier: Apache-2.0
"""The means of attack work: on switches without any protection, what is forged arrives."""

from __future__ import annotations

import pytest

from isthmus.addresses import parse_mac
from isthmus_lab import frames
from isthmus_lab.guest import Guest
from isthmus_lab.lab import Lab
from isthmus_lab.rawsocket import Capture, send_frames
from tests.lab import handmade

pytestmark = pytest.mark.system

NOBODY = parse_mac("02:66:66:66:66:66")


def test_a_guest_can_send_any_frame(a1: Guest, b1: Guest) -> None:
    packet = frames.udp("10.66.66.66", "10.0.0.3", (9, 9), b"forged by a1")
    forged = frames.ethernet(b1.mac, NOBODY, frames.ETHERTYPE_IPV4, packet)
    with Capture(b1.namespace, b1.nic) as capture:
        assert send_frames(a1.namespace, a1.nic, [forged]) == 1
        assert capture.wait_for(lambda frame: frame == forged) is not None


@pytest.mark.parametrize("encapsulation", ["vxlan", "nvgre"])
def test_a_stranger_on_the_underlay_can_send_into_a_tunnel(
    lab: Lab, a1: Guest, encapsulation: str
) -> None:
    name = f"s-{encapsulation}"
    stranger = lab.add_stranger(name, "172.31.0.66")
    host = lab.host("h1").spec
    inner = frames.ethernet(a1.mac, NOBODY, 0x88B5, f"from {name}".encode())
    vsid = handmade.VSID
    frame = frames.tunnelled(
        encapsulation,
        vsid,
        inner,
        (stranger.mac, stranger.provider_address),
        (host.provider_mac, host.provider_address),
    )
    with Capture(a1.namespace, a1.nic, lambda frame: b"from s-" in frame) as capture:
        send_frames(stranger.namespace, stranger.nic, [frame])
        assert capture.wait_for(lambda frame: frame[:14] == inner[:14]) is not None
    assert len(capture.frames) == 1


def test_a_capture_keeps_only_what_is_wanted_and_not_what_was_sent(a1: Guest, a2: Guest) -> None:
    wanted = frames.ethernet(a2.mac, a1.mac, 0x88B5, b"wanted" + b"\0" * 40)
    other = frames.ethernet(a2.mac, a1.mac, 0x88B5, b"other" + b"\0" * 41)
    with (
        Capture(a2.namespace, a2.nic, lambda frame: b"wanted" in frame) as there,
        Capture(a1.namespace, a1.nic, lambda frame: frame in (wanted, other)) as here,
    ):
        send_frames(a1.namespace, a1.nic, [other, wanted])
        assert there.wait_for(lambda frame: True) == wanted
        assert there.wait_for(lambda frame: frame == other, timeout_s=0.1) is None
    assert there.frames == there.having(b"wanted") == [wanted]
    assert here.frames == []
