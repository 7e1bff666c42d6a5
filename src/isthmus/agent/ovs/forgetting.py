# SPDX-License-Identifier: Apache-2.0
"""Which connections are to be forgotten, because an address of theirs has another holder or none.

An entry of connection tracking serves both of its ends. When a port moves to another host, or its
rules are taken away, those at the other ends go on being followed, and must not lose what is known
of them: so entries are kept for as long as the port has the address, wherever it is. They are
forgotten when the address is somebody else's or nobody's, who must not inherit what another has
asked for, or has been asked.

The switch looks at all its connections for each address, several times (with 20 000 of them, for
0.4 s of IPv4 and 1 s of IPv6, measured on a machine that was busy). So of many that are given up at
once, as when a network is deleted, it is first asked which have any; and they are forgotten one by
one for a fifth of the time (`flushing`), those first that have been given to somebody else.

Not seen: ports that are deleted while no agent runs; and who gives up an address pair, which others
may go on using.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache

from isthmus.derive.engine import Change, Engine, Key
from isthmus.policy.rows import Port
from isthmus.switches.ovs.facts import SegmentFacts, TrackedAddress

AT_ONCE = 500
"""Of how many addresses that nobody has any more the switch is asked at once,"""
FEW = 3
"""and up to how many it is not, for it can be told as soon."""

Zones = Callable[[str], Collection[int]]
"""In which zones connections of a segment's ports may be kept."""


class Forgetting:
    """Of one host."""

    def __init__(self) -> None:
        self._left: dict[tuple[int, str], TrackedAddress] = {}
        """Of ports here: followed no longer, and perhaps still known."""
        self._given_up: dict[tuple[int, str], TrackedAddress] = {}
        """Of any port: it has the address no more."""
        self._inherited: list[TrackedAddress] = []
        """Of these, those that another port has now, and what was put back."""
        self._has_followed = False

    @property
    def must_go_on(self) -> bool:
        """Whether there is more to forget."""
        return bool(self._given_up or self._inherited)

    def put_back(self, left: Iterable[TrackedAddress]) -> None:
        """These are still to be forgotten, before all others."""
        self._inherited = [*left, *self._inherited]

    def ports_changed(self, changes: Collection[Change], zones: Zones) -> None:
        """Changes of ports, on whatever host. Cost: the addresses of those that have changed."""
        for _, old, new in changes if self._has_followed else ():
            if isinstance(old, Port):
                for zone, address in sorted(_places(old, zones) - _places(new, zones)):
                    self._given_up[zone, address] = TrackedAddress(zone, address, old.id)
        if not self._given_up:
            return
        for _, _, new in changes:
            if isinstance(new, Port):
                for place in sorted(_places(new, zones)):
                    before = self._given_up.pop(place, None)
                    if before is not None and before.port != new.id:
                        self._inherited.append(before)

    def step(
        self,
        changes: Iterable[Change],
        ports: Mapping[Key, Port],
        zone_of: Callable[[str], int | None],
    ) -> list[TrackedAddress]:
        """What is to be forgotten now, after these changes of what is followed. `zone_of` gives the
        zone of a segment, None where it has none."""
        changes = list(changes)
        self._has_followed |= bool(changes)
        found, self._inherited = self._inherited, []
        for one in _keys(changes, present=False):
            self._left[one.zone, one.address] = one
        for one in _keys(changes, present=True):
            before = self._left.pop((one.zone, one.address), one)
            if before.port != one.port:
                found.append(before)
        for place, one in list(self._left.items()):
            port = ports.get(one.port)
            has_address = port is not None and one.address in port.addresses
            if port is None or not has_address or zone_of(port.segment) != one.zone:
                found.append(self._left.pop(place))
        found += [self._given_up.pop(place) for place in list(self._given_up)[:AT_ONCE]]
        return list(dict.fromkeys(found))


def with_connections(
    gone: Sequence[TrackedAddress], dumped: Mapping[int, str]
) -> list[TrackedAddress]:
    """Those of which a zone has connections, as ``dpctl/dump-conntrack`` shows them; of a zone that
    was not shown, all."""
    shown = {zone: frozenset(_ADDRESS.findall(text)) for zone, text in dumped.items()}
    return [one for one in gone if one.zone not in shown or one.address in shown[one.zone]]


_ADDRESS = re.compile(r"(?:src|dst)=([0-9a-f.:]+)")


def zones_of(engine: Engine, numbers: Mapping[str, int]) -> Zones:
    """That of a segment's routing domain, and those between it and peered ones; `numbers` are those
    of all zones. A segment that has just gone is still known."""
    gone = {change.key: change.old for change in engine.changes(SegmentFacts)}
    segments = engine.rows(SegmentFacts)

    @cache
    def zones(segment: str) -> Collection[int]:
        facts = segments.get(segment) or gone.get(segment)
        if not isinstance(facts, SegmentFacts):
            return ()
        domain = str(facts.domain)
        return tuple(number for name, number in numbers.items() if domain in name.split())

    return zones


def _places(port: object, zones: Zones) -> frozenset[tuple[int, str]]:
    """Where connections of a port may be kept; of none, nowhere."""
    if not isinstance(port, Port):
        return frozenset()
    return frozenset((zone, address) for zone in zones(port.segment) for address in port.addresses)


def _keys(changes: Iterable[Change], *, present: bool) -> list[TrackedAddress]:
    return [
        change.key
        for change in changes
        if isinstance(change.key, TrackedAddress) and (change.new is not None) is present
    ]
