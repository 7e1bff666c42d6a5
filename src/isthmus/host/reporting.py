# SPDX-License-Identifier: Apache-2.0
"""Which ports a host has to say something of: those that are or were its own, and of which anything
has changed that a report follows from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class ToReport:
    """`add` may be given any port: of peers' ports, which are many, there is nothing to say."""

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        self._is_ours = is_ours
        self._ports: set[str] = set()
        self._reported: set[str] = set()
        """Ports that were ours when they were last reported."""

    def __bool__(self) -> bool:
        return bool(self._ports)

    def add(self, *ports: str) -> None:
        self._ports.update(ports)

    def take(self) -> list[str]:
        """Ports whose claim or status may have to be written, and forget them."""
        asked, self._ports = self._ports, set()
        ours = {port for port in asked if self._is_ours(port)}
        # One that has been ours is reported once more: what was to be said of it may be under way.
        ports, self._reported = sorted(ours | asked & self._reported), self._reported - asked | ours
        return ports

    def put_back(self, ports: Iterable[str]) -> None:
        """What was taken last is still to be reported."""
        self._ports.update(ports)
        self._reported.update(ports)
