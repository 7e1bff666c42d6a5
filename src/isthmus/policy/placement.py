# SPDX-License-Identifier: Apache-2.0
"""Where a port is, and how two hosts reach each other: decided here for hosts, for their switches,
for the controller and for those who ask where a packet goes.

A claim is believed when its host exists and the port's `hosts` are empty or name it. Among believed
claims an active one has the port before one that stands by, then the highest sequence, then the
lowest host name.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import TypeVar

from isthmus.policy.rows import Claim, Port
from isthmus.policy.values import ClaimState

Name = TypeVar("Name", bound=str)
Interface = TypeVar("Interface")


def may_have(port: Port, host: str) -> bool:
    """Whether a host may have a port."""
    return not port.hosts or host in port.hosts


def is_believed(claim: Claim, port: Port | None, *, exists: bool) -> bool:
    """Whether anybody acts on a claim. `exists`: there is a host of its name; of a port that is not
    known, any of them may say that it has it."""
    return exists and (port is None or may_have(port, claim.host))


def winner(believed: Iterable[Claim]) -> Claim | None:
    """Of believed claims of one port, the one that has it."""
    return min(believed, key=_rank, default=None)


def _rank(claim: Claim) -> tuple[bool, int, str]:
    return claim.state is not ClaimState.ACTIVE, -claim.sequence, claim.host


def holder(claims: Iterable[Claim], port: Port | None, hosts: Container[str]) -> Claim | None:
    """Of all claims of one port, the one that has it; `hosts` are those that exist."""
    return winner(one for one in claims if is_believed(one, port, exists=one.host in hosts))


def wanted_state(
    port: Port,
    host: str,
    own: Claim | None,
    others: Sequence[Claim],
    *,
    frame_seen: bool,
    before_plugged: int = 0,
) -> tuple[ClaimState, int]:
    """State and sequence of the claim that `host` should have of a port on its switch.

    `others` are the believed claims of other hosts; `frame_seen`: the guest has sent something here
    since the port was plugged; `before_plugged` is the highest sequence that another host's claim
    had by then. A claim that becomes active takes a sequence above all others, so that peers and
    the loser agree without asking anyone. A host that is overtaken keeps its claim, for it forwards
    until the port leaves its switch; but what was said before the port was plugged here is over
    when its guest speaks here: whoever has said it may be dead.
    """
    active = [claim.sequence for claim in others if claim.state is ClaimState.ACTIVE]
    above = max((claim.sequence for claim in others), default=0) + 1
    if own is not None and own.state is ClaimState.ACTIVE:
        is_over = frame_seen and own.sequence < max(active, default=0) <= before_plugged
        return ClaimState.ACTIVE, above if is_over else own.sequence
    if not active or frame_seen or port.hosts == (host,):
        return ClaimState.ACTIVE, above
    return ClaimState.STANDBY, 0


def interface_of(
    port: Port,
    interface: Callable[[str], Interface | None],
    named: Callable[[str], Port | None],
) -> Interface | None:
    """The interface of a switch that is a port: the one that names it by its id, or by its profile
    id, if that is no other port's id. `interface` gives the one of a name, `named` the port of an
    id."""
    found = interface(port.id)
    if found is None and port.profile_id and named(port.profile_id) is None:
        found = interface(port.profile_id)
    return found


def port_of(
    name: str,
    named: Callable[[str], Port | None],
    of_profile: Callable[[str], Iterable[Port]],
) -> Port | None:
    """The port that an interface of this name is: see `interface_of`. `of_profile` gives the ports
    with a profile id, of which the first by id is meant."""
    found = named(name)
    if found is None:
        found = min(of_profile(name), key=lambda port: port.id, default=None)
    return found


def encapsulation(ours: Sequence[Name], theirs: Sequence[str]) -> Name | None:
    """What a pair of hosts speaks, from what each prefers: the lowest sum of both preferences, then
    the name, so that both ends agree. None if they have none in common."""
    common = [name for name in ours if name in theirs]
    return min(common, key=lambda name: (ours.index(name) + theirs.index(name), name), default=None)
