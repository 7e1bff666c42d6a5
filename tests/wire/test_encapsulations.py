# SPDX-License-Identifier: Apache-2.0
"""What an encapsulation adds to a packet, and what has to pass for it."""

from __future__ import annotations

from isthmus.wire.encapsulations import (
    ENCAPSULATIONS,
    OUTER_BYTES,
    OVERHEAD_BYTES,
    firewall_text,
)


def test_a_guest_s_packet_and_its_ethernet_header_fit_beside_what_is_added() -> None:
    # RFC 7348: IPv4 20, UDP 8, VXLAN 8, Ethernet 14. RFC 7637: IPv4 20, GRE with a key 8.
    assert OUTER_BYTES == {"vxlan": 36, "nvgre": 28}
    assert OVERHEAD_BYTES == {"vxlan": 50, "nvgre": 42}
    assert set(ENCAPSULATIONS) == set(OUTER_BYTES)


def test_a_firewall_s_reader_is_told_what_has_to_pass() -> None:
    assert firewall_text("vxlan") == "UDP port 4789 (VXLAN)"
    assert firewall_text("nvgre") == "IP protocol 47 (NVGRE)"
    assert firewall_text("") == "UDP port 4789 (VXLAN) and IP protocol 47 (NVGRE)"
