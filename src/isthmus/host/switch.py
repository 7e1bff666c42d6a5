# SPDX-License-Identifier: Apache-2.0
"""What a host needs of its switch, whatever that is, and what the switch may ask of its host.

A switch tells the host's state (`host.state.HostState`) what is plugged and what guests send; the
host derives; the switch is brought to what was derived. How that is done is the switch's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Never, Protocol

from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import Answer, Query


class SwitchStatus(NamedTuple):
    """How it is with a switch now."""

    mark: str = ""
    """Names this switch and no other; the same after a restart."""
    version: str = ""
    capabilities: tuple[str, ...] = ()
    """What it does beside the least, as `HostStatus.capabilities` says it to peers."""
    flows: int = 0
    """How much there is of the program: flows, or whatever the switch holds."""
    problems: tuple[HostProblem, ...] = ()


class HostAgent(Protocol):
    """The process of a host, as its switch sees it."""

    def changed(self) -> None:
        """The host's state was told something, or the switch holds something else than it was
        given: `Switch.program` is to be called. To be called first when it is known what is
        plugged."""

    async def tell(self, answers: Sequence[Answer]) -> None:
        """More answers to a question of before. Raises Unavailable."""


class Switch(Protocol):
    """The hands of one host."""

    async def run(self, agent: HostAgent) -> Never:
        """Follow the switch until cancelled, and tell the host's state what happens there."""

    async def program(self, *, whole: bool) -> bool:
        """Bring the switch to what has been derived: one call at a time, after each `settle` of the
        host's state. `whole`: all that is in scope has been read; while it is not, nothing that the
        switch may hold from before is taken off it. False where it cannot be done yet. Raises
        Unavailable."""

    async def answer(self, query: Query) -> Answer:
        """The answer to a question. Raises Unavailable."""

    def status(self) -> SwitchStatus:
        """How it is with the switch now. Costs one look at each interface."""
