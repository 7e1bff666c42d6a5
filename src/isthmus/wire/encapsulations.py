# SPDX-License-Identifier: Apache-2.0
"""The two encapsulations between hosts: VXLAN (RFC 7348) and NVGRE (RFC 7637), over IPv4."""

from __future__ import annotations

from collections.abc import Sequence

ENCAPSULATIONS = ("vxlan", "nvgre")

OUTER_BYTES = {"vxlan": 20 + 8 + 8, "nvgre": 20 + 8}
"""From the inner frame to the outer IPv4 packet: RFC 7348 section 5; RFC 7637 section 3.2."""
OVERHEAD_BYTES = {name: outer + 14 for name, outer in OUTER_BYTES.items()}
"""From a guest's IP packet to the outer one: its Ethernet header is carried too."""

_PASSING = {"vxlan": "UDP port 4789 (VXLAN)", "nvgre": "IP protocol 47 (NVGRE)"}


def chosen(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """What a pair of hosts speaks, from what each prefers: the lowest sum of both preferences, then
    the name, so that both ends agree. Empty if they have none in common."""
    common = [name for name in ours if name and name in theirs]
    return min(common, key=lambda name: (ours.index(name) + theirs.index(name), name), default="")


def firewall_text(encapsulation: str) -> str:
    """What a firewall has to let pass; of all where none is named."""
    return _PASSING.get(encapsulation) or " and ".join(_PASSING.values())
