# SPDX-License-Identifier: Apache-2.0
"""What has become of ports since they were plugged into this host's switch: what its claims follow
from beside the rows.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.policy.rows import Claim


class Arrivals:
    """Those of one host: interfaces by name, ports by id."""

    def __init__(self) -> None:
        self._spoken: set[str] = set()
        """Interfaces whose guests have sent something."""
        self._before: dict[str, int] = {}
        """By port here: the highest sequence of another host's claim when it was plugged, or when
        all was first read."""
        self._over: set[str] = set()
        """Ports that were unplugged since their claim was written."""

    def plugged(self, port_id: str, others: Iterable[Claim]) -> None:
        """What other hosts have said of a port until now (`others`), they have said before its
        guest speaks here."""
        self._before[port_id] = max((claim.sequence for claim in others), default=0)

    def spoke(self, interface: str) -> bool:
        """The guest behind an interface has sent something; whether that is news."""
        is_news = interface not in self._spoken
        self._spoken.add(interface)
        return is_news

    def unplugged(self, interface: str) -> None:
        """The guest behind an interface has gone, even if it is back at once."""
        self._spoken.discard(interface)

    def left(self, port_id: str, *, has_claim: bool) -> None:
        """A port has left an interface. `has_claim`: the store has a claim of ours, which is of the
        time before."""
        self._before.pop(port_id, None)
        if has_claim:
            self._over.add(port_id)

    def claimed(self, port_id: str) -> None:
        """Our claim was written anew."""
        self._over.discard(port_id)

    def has_spoken(self, interface: str) -> bool:
        return interface in self._spoken

    def is_over(self, port_id: str) -> bool:
        """Whether our claim, if the store has one, is of the time before the port was plugged."""
        return port_id in self._over

    def before_plugged(self, port_id: str) -> int:
        """The highest sequence that another host's claim had when the port was plugged."""
        return self._before.get(port_id, 0)
