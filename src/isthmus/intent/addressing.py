# SPDX-License-Identifier: Apache-2.0
"""Which addresses of a prefix may be given to whom.

MS-NCNBI section C: the lowest usable address of a virtual subnet is the distributed router's; the
network and the broadcast address are nobody's. Dynamic addresses begin at the fourth, as on Azure
and in Microsoft's samples, and fall back to the second and third only when nothing else is free, so
that a /30 still holds one guest.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import NamedTuple

from isthmus.addresses import Prefix, parse_address, parse_prefix

ROUTER = 1
FIRST_DYNAMIC = 4

Range = tuple[int, int]
"""First and last, inclusive."""


class Space(NamedTuple):
    """A prefix as numbers."""

    family: int
    network: int
    last: int
    """The broadcast address where there is one (IPv4 up to /30), else the last address."""
    usable: Range

    @property
    def router(self) -> int:
        """The distributed router's address in a virtual subnet."""
        return self.network + ROUTER

    def holds(self, number: int, family: int) -> bool:
        return family == self.family and self.network <= number <= self.last

    def dynamic(self) -> Sequence[Range]:
        """Where dynamic addresses of a virtual subnet come from, the preferred range first."""
        first, last = self.usable
        preferred = (self.network + FIRST_DYNAMIC, last)
        fallback = (first + ROUTER, min(self.network + FIRST_DYNAMIC - 1, last))
        return [span for span in (preferred, fallback) if span[0] <= span[1]]


@functools.lru_cache(maxsize=65536)
def prefix(text: str) -> Prefix:
    """A canonical prefix as the standard library's value; parsing costs seven times what all else
    here does."""
    return parse_prefix(text)


@functools.lru_cache(maxsize=65536)
def space(text: str) -> Space:
    """A canonical prefix as numbers."""
    net = prefix(text)
    network, last = int(net.network_address), int(net.broadcast_address)
    # RFC 3021: a /31 has neither network nor broadcast address, a /32 is one host
    if net.num_addresses <= 2:
        return Space(net.version, network, last, (network, last))
    # RFC 4291 section 2.6.1: the lowest address is the subnet-router anycast address; there is no
    # broadcast
    usable = (network + 1, last - 1 if net.version == 4 else last)
    return Space(net.version, network, last, usable)


def number_of(address: str) -> tuple[int, int]:
    """A canonical address as (number, family)."""
    value = parse_address(address)
    return int(value), value.version


def text_of(number: int, family: int) -> str:
    """The canonical address of a number."""
    return str(IPv4Address(number) if family == 4 else IPv6Address(number))


def without(ranges: Iterable[Range], holes: Iterable[int]) -> list[Range]:
    """The ranges less some numbers."""
    left = list(ranges)
    for hole in sorted(holes):
        split = []
        for first, last in left:
            if first <= hole <= last:
                split += [(first, hole - 1), (hole + 1, last)]
            else:
                split.append((first, last))
        left = [span for span in split if span[0] <= span[1]]
    return left


def overlapping(prefixes: Sequence[str]) -> tuple[int, int] | None:
    """The positions of two overlapping prefixes, the one further back in the list last; None if
    there are none. Costs a sort: prefixes that overlap are neighbours when sorted by family,
    network, then size."""
    spaces = sorted(
        (s.family, s.network, -s.last, position) for position, s in enumerate(map(space, prefixes))
    )
    for one, other in pairwise(spaces):
        if one[0] == other[0] and other[1] <= -one[2]:
            return min(one[3], other[3]), max(one[3], other[3])
    return None
