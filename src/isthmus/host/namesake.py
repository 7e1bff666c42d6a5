# SPDX-License-Identifier: Apache-2.0
"""Whether this agent may speak as the host that it is called. The clock is an argument.

Two agents that were given one name would each undo what the other writes, without end. So a host's
rows belong to the machine whose mark (`HostStatus.instance`) they carry, and every transaction
waits on that mark. Another machine that comes under the name is refused, says so in a heartbeat of
its own (`second_name`), and leaves its switch as it is. It takes the name over when the first has
been silent for `SILENT_AFTER_S` by its own clock, or when the host's rows have been removed
(``isthmus host remove``).
"""

from __future__ import annotations

from ipaddress import IPv4Address

from isthmus.policy.heartbeats import SILENT_AFTER_S
from isthmus.policy.host_problems import SECOND_AGENT
from isthmus.policy.rows import Heartbeat, HostStatus


def second_name(provider_address: IPv4Address) -> str:
    """What an agent calls itself that may not use its name."""
    return f"{SECOND_AGENT}{provider_address}"


class Namesake:
    """The other agent of our name, if there is one."""

    def __init__(self, host: str, instance: str) -> None:
        self._host = host
        self.instance = instance
        self._seen: tuple[HostStatus, Heartbeat | None] | None = None
        self._moved_s = 0.0

    def forget(self) -> None:
        """What was not heard meanwhile is no silence: count anew."""
        self._seen = None

    def refusal(self, status: HostStatus | None, beat: Heartbeat | None, now_s: float) -> str:
        """Why this agent may not write the host's rows, which the store has so; empty if it may.
        `now_s` is monotonic."""
        if status is None or status.instance in ("", self.instance):
            self._seen = None
            return ""
        if self._seen != (status, beat):
            self._seen, self._moved_s = (status, beat), now_s
        if now_s - self._moved_s >= SILENT_AFTER_S:
            return ""
        where = ", ".join(map(str, status.provider_addresses)) or "an unknown address"
        return (
            f"another agent, at {where}, is called {self._host} too: this one is refused and"
            " changes nothing. Give it the name of its own server (host in"
            " /etc/isthmus/isthmus.toml) and restart it. If the other is gone for good: isthmus"
            f" host remove {self._host}"
        )
