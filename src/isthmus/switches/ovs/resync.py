# SPDX-License-Identifier: Apache-2.0
"""What separates a switch from its program, after a restart of either, and while both run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from isthmus.derive.engine import Change
from isthmus.switches.ovs.begun import begins, in_order
from isthmus.switches.ovs.facts import Meter
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage, flow
from isthmus.wire import openflow as of
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_replies import InstalledFlow


class Difference(NamedTuple):
    """What to apply so that the switch holds the program and nothing else."""

    adds: tuple[Flow, ...]
    deletes: tuple[Flow, ...]
    meters: tuple[of.Meter, ...]
    deleted_meters: tuple[of.Meter, ...]


def difference(
    installed: Iterable[InstalledFlow],
    wanted: Mapping[FlowKey, Programmed],
    installed_meters: Iterable[of.Meter],
    wanted_meters: Iterable[Meter],
) -> Difference:
    """Compares flows by table, priority, match and cookie: a cookie holds a digest of its flow."""
    have = {FlowKey(f.table, f.priority, f.match): f for f in installed}

    def lacks(key: FlowKey) -> bool:
        return key not in have or have[key].cookie != wanted[key].cookie

    gone = [key for key in have if key not in wanted]
    unmarked = [key for key in gone if key.table == Stage.FOLLOWED]
    adds = [
        flow(key, value)
        for key, value in wanted.items()
        # What has ended by itself is not begun again.
        if (begins(value.since, lacks, have.__contains__, unmarked) if value.since else lacks(key))
    ]
    deletes = [have[key].flow for key in gone]
    meters_have = {meter.id: meter for meter in installed_meters}
    meters_want = {meter.id: openflow_meter(meter) for meter in wanted_meters}
    return Difference(
        in_order(adds),
        tuple(deletes),
        tuple(m for m in meters_want.values() if meters_have.get(m.id) != m),
        tuple(m for m in meters_have.values() if m.id not in meters_want),
    )


def added(changes: Iterable[Change]) -> tuple[Flow, ...]:
    """What to send of changes of the program, in order, to a switch that holds what it was."""
    changed = {change.key: change for change in changes}

    def is_sent(key: FlowKey) -> bool:
        return key in changed and changed[key].new is not None

    def was_there(key: FlowKey) -> bool:
        return key not in changed or changed[key].old is not None

    unmarked = [
        key
        for key, _, new in changed.values()
        if new is None and isinstance(key, FlowKey) and key.table == Stage.FOLLOWED
    ]
    return in_order(
        flow(key, new)
        for key, _, new in changed.values()
        if isinstance(key, FlowKey)
        and isinstance(new, Programmed)
        and (not new.since or begins(new.since, is_sent, was_there, unmarked))
    )


def openflow_meter(meter: Meter) -> of.Meter:
    return of.Meter(meter.id, meter.rate_pps, meter.burst)
