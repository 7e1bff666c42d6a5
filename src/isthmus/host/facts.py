# SPDX-License-Identifier: Apache-2.0
"""What the units of a host read beside the policy, and what they derive, whatever its switch.

`ThisHost` and `LocalPort` are inputs: who the host is, and what is plugged into its switch. The
rest is derived, and the program of its switch follows from it.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple

from isthmus.wire.encapsulations import Encapsulation

THIS = "this"
"""Key of the one `ThisHost` row."""


class Identity(NamedTuple):
    """Who the host is. `encapsulations` in order of preference."""

    host: str
    provider_address: IPv4Address
    encapsulations: tuple[Encapsulation, ...]


class ThisHost(NamedTuple):
    """Its `Identity`, for units."""

    host: str
    provider_address: int
    encapsulations: tuple[str, ...]


class LocalPort(NamedTuple):
    """An interface of the host's switch that names a port. `iface_id` in lower case is its key.
    `ofport` is the number that the switch has for it: of OpenFlow the port number.
    """

    iface_id: str
    ofport: int


class Plugged(NamedTuple):
    """A port that an interface of this host names. Units of ports here stand over these, so that
    peers, which are many, run none of them."""

    port: str
    ofport: int


class Reach(NamedTuple):
    """How another host is reached, by its provider address; no encapsulation if there is none in
    common.
    """

    host: str
    provider_address: int
    encapsulation: str
    detail: str


class Adjacent(NamedTuple):
    """Routers that have legs in one segment with a router. Key: that router and the segment."""

    router: str
    others: tuple[str, ...]


class Location(NamedTuple):
    """Which of the hosts that claim a port has it, and the provider addresses of all the others."""

    port: str
    host: str
    provider_address: int
    others: tuple[int, ...]
    superseded: bool
    """We hold the port too, but another host has won it."""


class Problem(NamedTuple):
    """Why a local port does not work, or not with everyone. `code` is one of MS-NCNBI section
    A.9's; `closes` is what of the port lets nothing pass for it, a word of `policy.closed`.
    """

    port: str
    code: str
    detail: str
    closes: str = ""
