# SPDX-License-Identifier: Apache-2.0
"""Which connections a listener keeps, so that nobody can keep the others out.

A connection is *unknown* until a request of it has passed authentication. Of these a listener keeps
few, and of one address fewer still: one that is too many ends the one that has waited longest.
Somebody who means it is known in some milliseconds, and has to be displaced within that time by as
many others as there is room for. Known connections have room of their own; where that is full, the
one that has been idle longest makes room. A connection whose request is being answered is never
ended for another.

Each listener counts for itself. What floods a port takes no place from the operator's unix socket.
Pure but for `Visit.end`: who calls says when a connection came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

MOST_UNKNOWN = 32
"""With TLS, one costs about 200 KiB, and 500 KiB if it sends as much as it may."""
MOST_UNKNOWN_OF_ADDRESS = 16
"""An office behind one address signs in by fewer at once."""
MOST_KNOWN = 512
"""A client keeps a handful."""
MOST = MOST_UNKNOWN + MOST_KNOWN
RESERVED_FILES = 256
"""For unix sockets, stores, logs and answers that are being made."""


@dataclass(slots=True, eq=False)
class Visit:
    """One connection, from the moment that it was accepted; TLS comes after."""

    address: str
    end: Callable[[], None]
    """Ends the connection at once; the visit is over when `Admission.leave` is called."""
    known: bool = False
    busy: bool = False
    since_s: float = 0.0
    """When it came, or was last answered."""
    place: str = field(init=False)
    """Whom it counts for: of IPv6 a whole /64, which one customer has; empty on this machine."""

    def __post_init__(self) -> None:
        self.place = _place(self.address)


class Admission:
    """The connections of one listener."""

    def __init__(self, most: int = MOST) -> None:
        """`most` connections, known and unknown."""
        self._visits: dict[Visit, None] = {}
        self._most_unknown = min(MOST_UNKNOWN, max(1, most // 4))
        self._most = max(2, most)
        self.ended = 0
        """How many had to make room, or found none."""

    @property
    def visits(self) -> Iterable[Visit]:
        """In the order in which they came."""
        return tuple(self._visits)

    def enter(self, visit: Visit) -> bool:
        """Let a new connection in, at another's cost if need be. False when there is no room."""
        unknown = [one for one in self._visits if not one.known]
        alike = [one for one in unknown if visit.place and one.place == visit.place]
        if len(alike) >= MOST_UNKNOWN_OF_ADDRESS:
            self._end(min(alike, key=_order))
        elif len(unknown) >= self._most_unknown:
            self._end(min(unknown, key=_order))
        elif len(self._visits) >= self._most:
            idle = [one for one in self._visits if not one.busy]
            if not idle:
                self.ended += 1
                return False
            self._end(min(idle, key=_order))
        self._visits[visit] = None
        return True

    def leave(self, visit: Visit) -> None:
        """A connection has ended; again is as once."""
        self._visits.pop(visit, None)

    def make_room(self) -> None:
        """End the unknown connection that has waited longest, if there is one."""
        unknown = [one for one in self._visits if not one.known]
        if unknown:
            self._end(min(unknown, key=_order))

    def _end(self, visit: Visit) -> None:
        self.ended += 1
        self.leave(visit)
        visit.end()


def most_of_each(files: int, listeners: int) -> int:
    """How many connections each of some listeners on ports may have, where a process may have so
    many files."""
    return max(2, min(MOST, (files - RESERVED_FILES) // max(1, listeners)))


def _order(visit: Visit) -> tuple[bool, float]:
    """Who makes room first: an unknown one is busy while its password is looked at."""
    return visit.busy, visit.since_s


def _place(address: str) -> str:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_loopback:
        return ""
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return str(found)
