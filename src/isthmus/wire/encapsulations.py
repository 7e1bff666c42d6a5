# SPDX-License-Identifier: Apache-2.0
"""The two encapsulations between hosts: VXLAN (RFC 7348) and NVGRE (RFC 7637), over IPv4."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Encapsulation(StrEnum):
    VXLAN = "vxlan"
    NVGRE = "nvgre"


ENCAPSULATIONS = tuple(Encapsulation)

OUTER_BYTES: Mapping[str, int] = {Encapsulation.VXLAN: 20 + 8 + 8, Encapsulation.NVGRE: 20 + 8}
"""From the inner frame to the outer IPv4 packet: RFC 7348 section 5; RFC 7637 section 3.2."""
OVERHEAD_BYTES: Mapping[str, int] = {name: outer + 14 for name, outer in OUTER_BYTES.items()}
"""From a guest's IP packet to the outer one: its Ethernet header is carried too."""

_PASSING: Mapping[str, str] = {
    Encapsulation.VXLAN: "UDP port 4789 (VXLAN)",
    Encapsulation.NVGRE: "IP protocol 47 (NVGRE)",
}


def firewall_text(encapsulation: str) -> str:
    """What a firewall has to let pass; of all where none is named."""
    return _PASSING.get(encapsulation) or " and ".join(_PASSING.values())
