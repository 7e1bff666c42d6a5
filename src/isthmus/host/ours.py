# SPDX-License-Identifier: Apache-2.0
"""Rows of the south store as an agent meets them: changes of any, and its own with their ids."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from isthmus.policy.rows import Claim, Heartbeat, HostStatus, LearnedAddress, PortStatus, Row
from isthmus.wire.ovsdb import RowId

OUR_ROWS = (PortStatus, Heartbeat, Claim, LearnedAddress, HostStatus)
"""Rows that hosts write of themselves."""

OurRow = TypeVar("OurRow", bound=Row)


class SouthChange(NamedTuple):
    """One row of the south store that came, changed or went."""

    row_id: RowId
    old: Row | None
    new: Row | None


class Stored(NamedTuple, Generic[OurRow]):
    """A row of ours in the store."""

    row_id: RowId
    row: OurRow


def keep(
    rows: dict[str, Stored[OurRow]], key: str, row_id: RowId, row: OurRow, *, gone: bool
) -> None:
    """Note what the store has under a key. A row that goes takes only itself along: the one that
    replaces it may have come before."""
    if not gone:
        rows[key] = Stored(row_id, row)
    elif key in rows and rows[key].row_id == row_id:
        del rows[key]


class Ours:
    """The rows that a host has written, as the store has them. `second_name` is what its agent says
    that it is if its own name is another agent's."""

    def __init__(self, host: str, second_name: str) -> None:
        self._host, self._second_name = host, second_name
        self.claims: dict[str, Stored[Claim]] = {}
        """By port,"""
        self.statuses: dict[str, Stored[PortStatus]] = {}
        """by port,"""
        self.learned: dict[str, dict[str, Stored[LearnedAddress]]] = {}
        """and by port, then by address."""
        self.host_status: Stored[HostStatus] | None = None
        self.heartbeat: Stored[Heartbeat] | None = None
        self.second_beat: Stored[Heartbeat] | None = None
        """What is said under the second name."""

    def has(self, port_id: str) -> bool:
        """Whether the store has anything that we have said of a port."""
        return port_id in self.claims or port_id in self.statuses or port_id in self.learned

    def note(self, row_id: RowId, row: Row, *, gone: bool) -> bool:
        """Take a row that came or went; False if it is none of ours."""
        match row:
            case PortStatus():
                keep(self.statuses, row.port, row_id, row, gone=gone)
            case Heartbeat() if row.host == self._host:
                self.heartbeat = None if gone else Stored(row_id, row)
            # A scope that was remembered under another name reads that host's heartbeat too.
            case Heartbeat() if row.host == self._second_name:
                self.second_beat = None if gone else Stored(row_id, row)
            case Claim() if row.host == self._host:
                keep(self.claims, row.port, row_id, row, gone=gone)
            case LearnedAddress() if row.host == self._host:
                of_port = self.learned.setdefault(row.port, {})
                keep(of_port, row.address, row_id, row, gone=gone)
                if not of_port:
                    del self.learned[row.port]
            case HostStatus() if row.host == self._host:
                self.host_status = None if gone else Stored(row_id, row)
            case _:
                return False
        return True
