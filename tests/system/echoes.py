# SPDX-License-Identifier: Apache-2.0
"""Echo requests, and the rules that let them pass."""

from __future__ import annotations

from itertools import count

from isthmus_lab import packets
from tests.system.cloud import Frame, Nic, rule, to

ECHO = (rule("ICMPv4", icmpType=8, icmpCode=0), rule("ICMPv6", icmpType=128, icmpCode=0))

_numbers = count(41000)


def echo(sender: Nic, receiver: Nic, family: int) -> Frame:
    """An echo request, which all let out and in: what is sent before it has arrived, or never
    will."""
    ends = sender.address(family), receiver.address(family)
    make, kind = (packets.icmp, 8) if family == 4 else (packets.icmpv6, 128)
    body = next(_numbers).to_bytes(2, "big") + b"\x00\x01"
    return lambda mark: to(sender, receiver, make(*ends, kind, 0, body + mark))
