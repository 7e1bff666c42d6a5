# SPDX-License-Identifier: Apache-2.0
"""The proof of one change: only what it can matter to is probed.

That is what the flows that changed can matter to, read from the flows themselves (`Scope`), so that
a change that reaches further than it should is looked at where it does; and what the rows that
changed are about (`touched`), so that a change is looked at that no flow has followed.

Cost: the ports concerned times the ports of their tenant, some frames each; not the size of the
cloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import NamedTuple

from isthmus.derive.engine import Change
from isthmus.switches.ovs.pipeline import FlowKey, Programmed
from tests.proof.checker import Checker, Disagreement
from tests.proof.chosen import Chosen
from tests.proof.clouds import Deployment
from tests.proof.program import Flow, decoded
from tests.proof.scope import Ports, Scope
from tests.proof.touched import touched


class Checked(NamedTuple):
    """`ports`: those that were looked at; None for all."""

    ports: Ports | None
    n_probes: int
    disagreements: tuple[Disagreement, ...]


def check_change(
    checker: Checker,
    before: Deployment,
    after: Deployment,
    changes: Mapping[str, Iterable[Change]],
    random: Random,
) -> Checked:
    """Whether flows and reference agree where policy or flows have changed. `checker` holds the
    network and the reference as they are after the change; `changes` are by host."""
    ports = _concerned(checker, before, after, changes)
    probes = list(Chosen(before, after, random).probes(ports))
    return Checked(ports, len(probes), tuple(checker.disagreements(probes)))


def _concerned(
    checker: Checker, before: Deployment, after: Deployment, changes: Mapping[str, Iterable[Change]]
) -> Ports | None:
    found = touched(before, after)
    by_segment: dict[str, set[str]] = {}
    for cloud in (before, after):
        for port in cloud.ports:
            by_segment.setdefault(port.segment, set()).add(port.id)
    ports = {segment: frozenset(names) for segment, names in by_segment.items()}
    for name, its in changes.items():
        flows = list(_flows(its))
        reached = Scope(checker.network.hosts[name], ports).of(flows) if flows else frozenset()
        found = None if found is None or reached is None else found | reached
    return found


def _flows(changes: Iterable[Change]) -> Iterator[Flow]:
    """As they were, and as they are."""
    for key, *values in changes:
        for value in values:
            if isinstance(value, Programmed) and isinstance(key, FlowKey):
                yield decoded(key, value.instructions)
