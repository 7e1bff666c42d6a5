# SPDX-License-Identifier: Apache-2.0
"""Segments of TCP that fit no connection, whatever is known: they pass where a first packet would,
nowhere else, and nothing is kept of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from random import Random

import pytest

from isthmus.addresses import MULTICAST_BIT
from isthmus.switches.ovs.domains import NO_CONNECTIONS
from isthmus.switches.ovs.pipeline import FlowKey, Stage
from isthmus.wire import oxm
from tests.proof.checker import Checker
from tests.proof.clouds import ROUTER_MAC, Deployment
from tests.proof.connections import Connections, Seen, Tuple
from tests.proof.network import Network
from tests.proof.probes import Probe, between, sampled
from tests.proof.program import Slots
from tests.proof.random_clouds import random_cloud
from tests.proof.reference import Reference
from tests.proof.test_begun import FOUND, NAMES

_TCP = 6


class Unfitting(Connections):
    """In which no segment fits, whatever connection it is of; where none is kept, there is nothing
    that it would have to fit. A third look at a segment would be its being kept."""

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[int] = []

    def look(self, zone: int, packet: Tuple) -> Seen:
        if packet.protocol != _TCP:
            return super().look(zone, packet)
        self.looked.append(zone)
        if zone == NO_CONNECTIONS:
            return Seen(oxm.CT_TRK | oxm.CT_NEW, packet)
        return Seen(oxm.CT_TRK | oxm.CT_INV, None)


def unfitting(network: Network) -> list[Unfitting]:
    """On all its hosts, from now on."""
    made = []
    for host in network.hosts.values():
        host.connections = Unfitting()
        made.append(host.connections)
    return made


def wrong(network: Network, reference: Reference, probe: Probe) -> object:
    """What is wrong with what becomes of a segment, if anything is."""
    known = unfitting(network)
    reference.forget()
    checker = Checker(network, reference)
    found = checker.step("unfitting", probe)
    for one in known:
        zones = one.looked
        if not (zones == [] or (len(zones) == 2 and zones[1] == NO_CONNECTIONS)):
            return probe, zones
    return found


def segments(cloud: Deployment, random: Random) -> Iterator[Probe]:
    for probe in sampled(cloud, random):
        if probe.frame.tuple.protocol == _TCP and not probe.frame.eth_dst & MULTICAST_BIT:
            yield probe


def test_they_pass_where_a_first_packet_would() -> None:
    passed = 0
    for seed in range(12):
        cloud = random_cloud(seed)
        # Ports that began to be followed a moment ago take them for no answer.
        network = cloud.network([port.id for port in cloud.ports])
        reference = cloud.reference()
        for probe in segments(cloud, Random(seed)):
            assert wrong(network, reference, probe) is None, seed
            passed += any(one.looked for one in _hosts(network)) and bool(_got(network, probe))
    assert passed > 0, "probes show the difference"


def _hosts(network: Network) -> list[Unfitting]:
    found = [host.connections for host in network.hosts.values()]
    return [one for one in found if isinstance(one, Unfitting)]


def _got(network: Network, probe: Probe) -> object:
    unfitting(network)
    return Checker.sent_by(network, probe)


def spoken() -> Iterator[Probe]:
    for source, target in permutations(FOUND.ports, 2):
        for service in ((_TCP, 80, 40000), (_TCP, 40000, 80)):
            for frame in between(source, target, service, ROUTER_MAC):
                yield Probe(frame, port=source.id)


@pytest.mark.timeout(300)
def test_each_flow_of_theirs_matters() -> None:
    network, reference = FOUND.network(NAMES), FOUND.reference()
    program, met = network.hosts["h1"].program, set[FlowKey]()

    def watch(table: int, packet: Slots, flow: object) -> None:
        key = getattr(flow, "key", None)
        if isinstance(key, FlowKey) and table in (Stage.JUDGE, Stage.COMMIT):
            met.add(key)

    network.watches["h1"] = watch
    assert not any(wrong(network, reference, probe) for probe in spoken())
    network.watches.clear()
    theirs = {key for key in met if _is_theirs(key)}
    assert len(theirs) == 6, "three of each family"
    for key in theirs:
        flow = program.flows[key]
        program.put(key, None)
        assert any(wrong(network, reference, probe) for probe in spoken()), key
        program.put(key, flow)


def _is_theirs(key: FlowKey) -> bool:
    entries = {entry.field: entry for entry in oxm.entries(key.match)}
    state = entries.get(oxm.CT_STATE)
    return oxm.CT_ZONE in entries or (state is not None and bool(state.value & oxm.CT_INV))
