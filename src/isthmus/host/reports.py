# SPDX-License-Identifier: Apache-2.0
"""What a host writes to the south store: its claims, what became of its ports, and itself.

Pure: from the state to OVSDB operations. Each row is written only when it differs from what the
store holds, so writing twice is writing once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from isthmus.host.facts import LocalPort
from isthmus.host.ours import OurRow, Stored
from isthmus.host.state import HostState
from isthmus.host.switch import SwitchStatus
from isthmus.policy.heartbeats import HEARTBEAT_S
from isthmus.policy.rows import Heartbeat, Host, HostStatus, PortStatus
from isthmus.policy.values import Preference
from isthmus.wire.ovsdb import Operation, delete, insert, update

MOST_NAMED = 5
"""Rows that cannot be read."""


def port_operations(
    state: HostState, statuses: Mapping[str, PortStatus | None]
) -> Iterator[Operation]:
    """The claims of those ports and the address pairs that they use, as they must be now, and their
    statuses as they were programmed."""
    for port, status in statuses.items():
        yield from _row(state.ours.claims.get(port), state.wanted_claim(port))
        yield from _row(state.ours.statuses.get(port), status)
        wanted, stored = state.wanted_learned(port), state.ours.learned.get(port, {})
        for address in sorted({*wanted, *stored}):
            yield from _row(stored.get(address), wanted.get(address))


def host_status(
    state: HostState, *, version: str, instance: str, switch: SwitchStatus
) -> HostStatus:
    identity = state.identity
    return HostStatus(
        host=identity.host,
        provider_addresses=(identity.provider_address,),
        encapsulations=Preference(identity.encapsulations),
        version=version,
        switch_version=switch.version,
        instance=instance,
        capabilities=switch.capabilities,
    )


def heartbeat(
    state: HostState, *, at_s: int, probe: int, problems: Iterable[str], flows: int = 0
) -> Heartbeat:
    """`problems` of the switch and those of the state: sentences for the operator. What is wrong
    with one port is in its own status."""
    host, engine = state.identity.host, state.engine
    found = [*problems, *state.contradictions]
    if host not in engine.rows(Host):
        found.append(f"no server is called {host}: peers ignore this host until one is")
    found += [
        f"unit {unit} of {key} failed: {error!r}" for (unit, key), error in engine.failures.items()
    ]
    if state.unreadable:
        found.append(
            f"{len(state.unreadable)} desired rows of the south store cannot be read, and what they"
            f" speak of is closed: {sorted(map(str, state.unreadable))[:MOST_NAMED]}"
        )
    return Heartbeat(
        host=host,
        at_s=at_s,
        probe=probe,
        ports=len(engine.rows(LocalPort)),
        flows=flows,
        problems=tuple(sorted(found)),
    )


def status_operations(state: HostState, status: HostStatus) -> Iterator[Operation]:
    """What peers need to know of the host."""
    yield from _row(state.ours.host_status, status)


def beat_operations(state: HostState, beat: Heartbeat) -> Iterator[Operation]:
    """That the host lives. The clock alone is no reason to write before it is due."""
    if _is_due(state.ours.heartbeat, beat):
        yield from _row(state.ours.heartbeat, beat)
    yield from _row(state.ours.second_beat, None)  # from when it was refused


def second_operations(state: HostState, beat: Heartbeat, refused: str) -> list[Operation]:
    """That an agent lives which may not speak as its host, and why."""
    second = Heartbeat(host=state.second_name, at_s=beat.at_s, problems=(refused,))
    return (
        [*_row(state.ours.second_beat, second)] if _is_due(state.ours.second_beat, second) else []
    )


def _is_due(stored: Stored[Heartbeat] | None, beat: Heartbeat) -> bool:
    if stored is None:
        return True
    age_s = beat.at_s - stored.row.at_s
    same = all(
        getattr(stored.row, name) == getattr(beat, name) for name in ("probe", "problems", "ports")
    )
    return not (same and 0 <= age_s < HEARTBEAT_S)


def _row(stored: Stored[OurRow] | None, wanted: OurRow | None) -> Iterator[Operation]:
    if stored is None and wanted is not None:
        yield insert(wanted.TABLE, wanted)
    elif stored is not None and wanted is None:
        yield delete(stored.row.TABLE, stored.row_id)
    elif stored is not None and wanted is not None:
        fields = wanted.__struct_fields__
        changed = [name for name in fields if getattr(stored.row, name) != getattr(wanted, name)]
        if changed:
            yield update(wanted.TABLE, stored.row_id, wanted, changed)
