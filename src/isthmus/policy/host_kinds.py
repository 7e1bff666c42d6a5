# SPDX-License-Identifier: Apache-2.0
"""What an operator has to know of a host by its kind (`policy.rows.Host.kind`), so that whoever
tells of hosts need not know their switches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class HostKind(NamedTuple):
    """`naming` is how an interface says which port it is, followed by the port's name; `place`
    where it is plugged; `services` what must run on the host; `program` what its switch holds of a
    port."""

    naming: str
    place: str
    services: str
    program: str


KINDS: Mapping[str, HostKind] = {
    "ovs": HostKind(
        naming="external_ids:iface-id=",
        place="a host's integration bridge",
        services="isthmus-agent openvswitch-switch",
        program="flows",
    ),
}

OTHER = HostKind(
    naming="the name ",
    place="a host's switch",
    services="isthmus-agent",
    program="parts",
)
"""Of a newer version, perhaps."""


def kind_of(name: str | None) -> HostKind:
    """By the name of the kind; None for a host that nobody knows."""
    return OTHER if name is None else KINDS.get(name, OTHER)


def plugging(kinds: Iterable[str], names: Sequence[str], *, into: bool) -> str:
    """How a port with these names comes to a host of one of these kinds, or of any if there are
    none; with the place `into` which its interface is plugged, or without."""
    found = dict.fromkeys(map(kind_of, sorted(kinds))) or dict.fromkeys(KINDS.values())
    spoken = " or ".join(names)
    return " or ".join(
        f"an interface with {kind.naming}{spoken}{f' into {kind.place}' if into else ''}"
        for kind in found
    )
