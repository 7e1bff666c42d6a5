# SPDX-License-Identifier: Apache-2.0
"""Changes of flows and meters, applied to a switch in bundles (OpenFlow 1.4 section 7.3.9).

A bundle is atomic: all of it or nothing, and no packet sees half of it. `commit` applies one;
`apply` applies any number of changes in bundles of `BUNDLE_FLOWS`, and where a flow is refused, all
others are applied without it.

Order within one `apply`: meters are set, flows added (which replaces those with the same table,
priority and match), flows deleted, meters deleted. Applying the same again changes nothing but
counters.

Open vSwitch 3.1 commits a bundle although it has refused a member when that was added, and reports
success (measured). So members are sent first, a barrier tells whether all were taken, and only then
is the bundle committed, else discarded. One change is atomic as it is: it goes without a bundle,
and the switch is waited for once and not twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from isthmus.errors import Broken, Unavailable
from isthmus.switches.ovs.connection import Connection
from isthmus.wire import openflow as of
from isthmus.wire.openflow import Flow, Meter
from isthmus.wire.openflow_errors import (
    BUNDLE_MESSAGE_FAILED,
    METER_EXISTS,
    SwitchError,
)
from isthmus.wire.openflow_text import flow_text

BUNDLE_FLOWS = 400
"""The userspace data path forwards nothing during a commit, which takes about 2 µs a flow."""


class Refusal(NamedTuple):
    """What the switch did not take, and the name of its error."""

    change: Flow | Meter
    error: str

    @property
    def text(self) -> str:
        change = self.change
        what = flow_text(change) if isinstance(change, Flow) else f"meter {change.id}"
        return f"{what}: {self.error}"


class Refused(Broken):
    """The switch refused members of a bundle: nothing of the bundle was applied."""

    def __init__(self, refusals: Sequence[Refusal], error: str) -> None:
        texts = "; ".join(refusal.text for refusal in refusals) or error
        super().__init__(f"the switch refuses flows, and none of their bundle was applied: {texts}")
        self.refusals = tuple(refusals)
        """Those that are known to be at fault; may be empty."""
        self.error = error


class _Change(NamedTuple):
    flow: Flow
    delete: bool


async def apply(
    connection: Connection,
    adds: Sequence[Flow] = (),
    deletes: Sequence[Flow] = (),
    *,
    meters: Sequence[Meter] = (),
    deleted_meters: Sequence[Meter] = (),
) -> tuple[Refusal, ...]:
    """Add and delete flows and meters; returns what was refused. Each bundle is atomic, not their
    sequence.

    Raises Unavailable; part of the changes is then applied, and the switch must be read again.
    """
    refusals = await _modify_meters(connection, of.MeterCommand.ADD, meters)
    changes = [_Change(flow, False) for flow in adds] + [_Change(flow, True) for flow in deletes]
    for start in range(0, len(changes), BUNDLE_FLOWS):
        refusals += await _apply_bundle(connection, changes[start : start + BUNDLE_FLOWS])
    refusals += await _modify_meters(connection, of.MeterCommand.DELETE, deleted_meters)
    return tuple(refusals)


async def commit(
    connection: Connection, adds: Sequence[Flow] = (), deletes: Sequence[Flow] = ()
) -> None:
    """Add and then delete flows, all in one bundle of any length.

    Raises Refused: nothing was applied. Raises Unavailable: all of it was applied or nothing.
    """
    await _commit(
        connection, [*(_Change(f, False) for f in adds), *(_Change(f, True) for f in deletes)]
    )


# -- flows -----------------------------------------------------------------------------------------


async def _apply_bundle(connection: Connection, changes: Sequence[_Change]) -> list[Refusal]:
    """Apply a bundle without those of its members that are refused."""
    refusals: list[Refusal] = []
    while changes:
        try:
            await _commit(connection, changes)
        except Refused as refused:
            if not refused.refusals:
                return refusals + await _apply_halves(connection, changes, refused.error)
            refusals += refused.refusals
            at_fault = {id(refusal.change) for refusal in refused.refusals}
            changes = [change for change in changes if id(change.flow) not in at_fault]
        else:
            break
    return refusals


async def _apply_halves(
    connection: Connection, changes: Sequence[_Change], error: str
) -> list[Refusal]:
    """For a bundle that fails without saying at which member."""
    if len(changes) == 1:
        return [Refusal(changes[0].flow, error)]
    middle = len(changes) // 2
    first = await _apply_bundle(connection, changes[:middle])
    return first + await _apply_bundle(connection, changes[middle:])


async def _commit(connection: Connection, changes: Sequence[_Change]) -> None:
    if not changes:
        return
    if len(changes) == 1:
        await _commit_one(connection, changes[0])
        return
    opening, closing, *members = connection.reserve(len(changes) + 2)
    xids = range(opening, members[-1] + 1)
    bundle = opening
    messages = [of.bundle_control(of.Bundle.OPEN_REQUEST, bundle, opening)]
    for change, xid in zip(changes, members, strict=True):
        messages.append(of.bundle_add(bundle, _flow_mod(change, xid)))
    errors = await connection.settle(b"".join(messages), xids)
    if errors:
        discard = of.bundle_control(of.Bundle.DISCARD_REQUEST, bundle, closing)
        await connection.settle(discard, range(closing, closing + 1))
    else:
        request = of.bundle_control(of.Bundle.COMMIT_REQUEST, bundle, closing)
        errors = await connection.settle(request, xids)
    if errors:
        raise _refused(changes, members[0], errors)


async def _commit_one(connection: Connection, change: _Change) -> None:
    xids = connection.reserve(1)
    errors = await connection.settle(_flow_mod(change, xids[0]), xids)
    for error in errors.values():
        raise Refused([Refusal(change.flow, error.name)], error.name)


def _flow_mod(change: _Change, xid: int) -> bytes:
    flow = change.flow
    return of.flow_delete_strict(flow, xid) if change.delete else of.flow_add(flow, xid)


def _refused(
    changes: Sequence[_Change], first_member: int, errors: dict[int, SwitchError]
) -> Refused | Unavailable:
    of_members = {xid: error for xid, error in errors.items() if xid >= first_member}
    of_bundle = [error for xid, error in errors.items() if xid < first_member]
    if not of_members and (of_bundle[0].type, of_bundle[0].code) != BUNDLE_MESSAGE_FAILED:
        return Unavailable(f"the switch has no bundle for us now: {of_bundle[0].name}")
    refusals = [
        Refusal(changes[xid - first_member].flow, error.name) for xid, error in of_members.items()
    ]
    return Refused(refusals, next(iter(errors.values())).name)


# -- meters, which Open vSwitch 3.1 takes into no bundle -------------------------------------------


async def _modify_meters(
    connection: Connection, command: of.MeterCommand, meters: Sequence[Meter]
) -> list[Refusal]:
    """Meters to be added that exist are changed."""
    if not meters:
        return []
    xids = connection.reserve(len(meters))
    messages = [of.meter_mod(command, meter, xid) for meter, xid in zip(meters, xids, strict=True)]
    errors = await connection.settle(b"".join(messages), xids)
    refusals: list[Refusal] = []
    existing: list[Meter] = []
    for xid, error in errors.items():
        meter = meters[xid - xids[0]]
        if command is of.MeterCommand.ADD and (error.type, error.code) == METER_EXISTS:
            existing.append(meter)
        else:
            refusals.append(Refusal(meter, error.name))
    if existing:
        refusals += await _modify_meters(connection, of.MeterCommand.MODIFY, existing)
    return refusals
