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
    checker: Checker, cloud: Cloud, changes: Mapping[str, Iterable[Change]], random: Random
) -> Checked:
    """Whether flows and reference agree where flows have changed. `checker` holds the network and
    the reference as they are after the change, `cloud` the policy; `changes` are by host."""
    concerned = _concerned(checker, cloud, changes)
    probes = list(_probes(cloud, concerned, random))
    wrong = tuple(checker.disagreements(probes))
    return Checked(concerned, len(probes), wrong)


def _concerned(
    checker: Checker, cloud: Cloud, changes: Mapping[str, Iterable[Change]]
) -> Ports | None:
    by_segment: dict[str, Ports] = {}
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


def _probes(cloud: Cloud, concerned: Ports | None, random: Random) -> Iterator[Probe]:
    """Between each port concerned and all of its tenant, and some others; lies, and tunnels."""
    tenant_of = _tenants(cloud)
    by_tenant: dict[str, list[Port]] = {}
    for port in cloud.ports:
        by_tenant.setdefault(tenant_of[port.segment], []).append(port)
    host_of = {place.port: place.host for place in cloud.places}
    vsids = {one.id: one.vsid for one in rows_of(Segment, cloud.rows())}
    rules: dict[str, list[Rule]] = {}
    for rule in rows_of(Rule, cloud.rules):
        rules.setdefault(rule.rule_set, []).append(rule)
    for port in cloud.ports:
        if concerned is not None and port.id not in concerned:
            continue
        strangers = random.sample(cloud.ports, min(_STRANGERS, len(cloud.ports)))
        for other in (*by_tenant[tenant_of[port.segment]], *strangers):
            if other is not port:
                yield from _pair(port, other, rules, random)
                yield from _pair(other, port, rules, random)
        yield from _tunneled(host_of, vsids, port, by_tenant[tenant_of[port.segment]])


_STRANGERS, _SERVICES = 3, 8
"""How many ports of others each is tried with, and how many services each pair."""


def _tenants(cloud: Cloud) -> dict[str, str]:
    rows = cloud.rows()
    routers = {leg.segment: leg.router for leg in rows_of(RouterPort, rows)}
    return {one.id: routers.get(one.id, one.id) for one in rows_of(Segment, rows)}


def _pair(
    source: Port, target: Port, rules: Mapping[str, list[Rule]], random: Random
) -> Iterator[Probe]:
    names = {entry.split(" ")[2] for one in (source, target) for entry in one.rule_sets}
    written = [rule for name in sorted(names) for rule in rules.get(name, ())]
    for family in (4, 6):
        spoken = services(written, family)
        some = random.sample(spoken, min(_SERVICES, len(spoken)))
        honest = [
            frame
            for service in some
            for frame in between(source, target, service, ROUTER_MAC)
            if frame.tuple.family == family
        ]
        yield from (Probe(frame, port=source.id) for frame in honest)
        if honest:
            one = random.choice(honest)
            some_lies = random.sample(list(lies(source, target, one)), 3)
            yield from (Probe(lie, port=source.id) for lie in some_lies)


def _tunneled(
    host_of: Mapping[str, str], vsids: Mapping[str, int], target: Port, others: Iterable[Port]
) -> Iterator[Probe]:
    host = host_of.get(target.id)
    for source in others:
        if source is target or host is None:
            continue
        for frame in between(source, target, (6, 40000, 80), ROUTER_MAC):
            sent = frame._replace(eth_dst=parse_mac(target.mac))
            for came_from in {provider_address(host_of.get(source.id, "h9")), STRANGER}:
                yield Probe(sent, "", host, came_from, vsids[target.segment])
