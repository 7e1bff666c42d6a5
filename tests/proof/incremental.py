# SPDX-License-Identifier: Apache-2.0
"""The proof of one change: only what the flows that changed can matter to is probed.

Cost: the ports concerned times the ports of their tenant, some frames each; not the size of the
cloud.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import NamedTuple

from isthmus.addresses import parse_mac
from isthmus.derive.engine import Change
from isthmus.policy.rows import Port, RouterPort, Rule, Segment
from isthmus.switches.ovs.pipeline import FlowKey, Programmed
from tests.proof.checker import Checker, Disagreement
from tests.proof.clouds import ROUTER_MAC, Cloud
from tests.proof.layout import rows_of
from tests.proof.probes import STRANGER, Probe, between, lies, services
from tests.proof.program import Flow, decoded
from tests.proof.scope import Ports, Scope
from tests.switches.policy_rows import provider_address


class Checked(NamedTuple):
    """`ports`: those that were looked at; None for all."""

    ports: Ports | None
    n_probes: int
    disagreements: tuple[Disagreement, ...]


def check_change(
    checker: Checker,
    before: Cloud,
    after: Cloud,
    changes: Mapping[str, Iterable[Change]],
    random: Random,
) -> Checked:
    """Whether flows and reference agree where flows have changed. `checker` holds the network and
    the reference as they are after the change; `changes` are by host."""
    concerned = _concerned(checker, (before, after), changes)
    probes = list(_Chosen(before, after, random).probes(concerned))
    wrong = tuple(checker.disagreements(probes))
    return Checked(concerned, len(probes), wrong)


def _concerned(
    checker: Checker, clouds: Iterable[Cloud], changes: Mapping[str, Iterable[Change]]
) -> Ports | None:
    by_segment: dict[str, Ports] = {}
    for cloud in clouds:
        for port in cloud.ports:
            by_segment[port.segment] = by_segment.get(port.segment, frozenset()) | {port.id}
    found: Ports = frozenset()
    for name, its in changes.items():
        flows = list(_flows(its))
        if not flows:
            continue
        ports = Scope(checker.network.hosts[name], by_segment).of(flows)
        if ports is None:
            return None
        found |= ports
    return found


def _flows(changes: Iterable[Change]) -> Iterator[Flow]:
    """As they were, and as they are."""
    for key, *values in changes:
        for value in values:
            if isinstance(value, Programmed) and isinstance(key, FlowKey):
                yield decoded(key, value.instructions)


_MOST_FRAMES, _STRANGERS = 1200, 3
"""How many frames are chosen between ports of a tenant, in all, if each pair is to have one; and
how many ports of others each port is tried with."""


class _Chosen:
    """Probes of a cloud after a change."""

    def __init__(self, before: Cloud, after: Cloud, random: Random) -> None:
        self._cloud, self._random = after, random
        rows = after.rows()
        router_of = {leg.segment: leg.router for leg in rows_of(RouterPort, rows)}
        self._vsids = {one.id: one.vsid for one in rows_of(Segment, rows)}
        self._host_of = {place.port: place.host for place in after.places}
        self._tenant_of = {segment: router_of.get(segment, segment) for segment in self._vsids}
        self._by_tenant: dict[str, list[Port]] = {}
        for port in after.ports:
            self._by_tenant.setdefault(self._tenant_of[port.segment], []).append(port)
        there = {port.id for port in after.ports}
        self._gone = [port for port in before.ports if port.id not in there]
        self._rules: dict[str, list[Rule]] = {}
        for rule in rows_of(Rule, after.rules):
            self._rules.setdefault(rule.rule_set, []).append(rule)

    def probes(self, concerned: Ports | None) -> Iterator[Probe]:
        """Between each port concerned and all of its tenant, those that have gone, and some others;
        and from tunnels."""
        ports = [one for one in self._cloud.ports if concerned is None or one.id in concerned]
        pairs: dict[tuple[str, str], tuple[Port, Port]] = {}
        for port in ports:
            for other in self._by_tenant[self._tenant_of[port.segment]]:
                if other is not port:
                    pairs[port.id, other.id], pairs[other.id, port.id] = (
                        (port, other),
                        (other, port),
                    )
        of_each = max(1, _MOST_FRAMES // max(1, len(pairs)))
        for source, target in pairs.values():
            yield from self._between(source, target, of_each)
            yield from self._tunneled(source, target)
        for port in ports:
            strangers = self._random.sample(self._cloud.ports, _STRANGERS)
            for other in (*self._gone, *strangers):
                if other is not port:
                    yield from self._between(port, other, 1)

    def _between(self, source: Port, target: Port, count: int) -> Iterator[Probe]:
        names = {entry.split(" ")[2] for one in (source, target) for entry in one.rule_sets}
        written = [rule for name in sorted(names) for rule in self._rules.get(name, ())]
        honest = [
            frame
            for family in (4, 6)
            for service in services(written, family)
            for frame in between(source, target, service, ROUTER_MAC)
            if frame.tuple.family == family
        ]
        for frame in self._random.sample(honest, min(count, len(honest))):
            yield Probe(frame, port=source.id)
        if honest:
            (lie,) = self._random.sample(list(lies(source, target, self._random.choice(honest))), 1)
            yield Probe(lie, port=source.id)

    def _tunneled(self, source: Port, target: Port) -> Iterator[Probe]:
        """From its host and from a stranger; one family, by chance."""
        frames = list(between(source, target, (6, 40000, 80), ROUTER_MAC))
        here, there = self._host_of.get(target.id), self._host_of.get(source.id)
        if frames and here is not None and there is not None:
            sent = self._random.choice(frames)._replace(eth_dst=parse_mac(target.mac))
            for came_from in (provider_address(there), STRANGER):
                yield Probe(sent, "", here, came_from, self._vsids[target.segment])
