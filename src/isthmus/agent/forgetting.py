# SPDX-License-Identifier: Apache-2.0
"""Which connections of addresses that are no longer followed here are to be forgotten.

An entry of connection tracking serves both of its ends. When a port moves to another host, or its
rules are taken away, those at the other ends go on being followed, and must not lose what is known
of them: so entries are kept for as long as the port has the address. They are forgotten when the
address is somebody else's or nobody's, who must not inherit what another has asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isthmus.derive.engine import Change, Key
from isthmus.policy.rows import Port
from isthmus.switches.ovs.facts import Ground, TrackedAddress


class Forgetting:
    """Of one host."""

    def __init__(self) -> None:
        self._left: dict[tuple[int, str], TrackedAddress] = {}
        """Followed no longer, and perhaps still known."""

    def step(
        self, changes: Iterable[Change], ports: Mapping[Key, Port], grounds: Mapping[Key, Ground]
    ) -> list[TrackedAddress]:
        """What is to be forgotten now, after these changes of what is followed."""
        changes, found = list(changes), []
        for one in _keys(changes, present=False):
            self._left[one.zone, one.address] = one
        for one in _keys(changes, present=True):
            before = self._left.pop((one.zone, one.address), one)
            if before.port != one.port:
                found.append(before)
        for place, one in list(self._left.items()):
            port = ports.get(one.port)
            ground = grounds.get(port.segment) if port is not None else None
            has_address = port is not None and one.address in port.addresses
            if not has_address or ground is None or ground.zone != one.zone:
                found.append(self._left.pop(place))
        return found


def _keys(changes: Iterable[Change], *, present: bool) -> list[TrackedAddress]:
    return [
        change.key
        for change in changes
        if isinstance(change.key, TrackedAddress) and (change.new is not None) is present
    ]
