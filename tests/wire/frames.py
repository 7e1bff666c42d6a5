# SPDX-License-Identifier: Apache-2.0
"""Frames as scapy builds them, and such as nobody would build."""

from __future__ import annotations

from struct import pack

from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

HERE, THERE = "02:00:00:00:00:01", "02:00:00:00:00:02"
ETHER = Ether(src=HERE, dst=THERE)
FOUR, SIX = IP(src="10.0.0.4", dst="10.0.0.5"), IPv6(src="fd00::4", dst="fd00::5")

_types = st.sampled_from((0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x1234))
any_frames = st.one_of(
    st.binary(max_size=120),
    st.builds(
        lambda ends, kind, rest: ends + pack("!H", kind) + rest,
        st.binary(min_size=12, max_size=12),
        _types,
        st.binary(max_size=120),
    ),
)
