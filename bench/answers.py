# SPDX-License-Identifier: Apache-2.0
"""How long a person waits for an answer: `isthmus trace` and `isthmus plan`, with rules on every
port."""

from __future__ import annotations

import time
from collections.abc import Callable

from bench import topology
from bench.isthmus_rig import isthmus_rig, rule
from bench.results import Figure, figure, median

SAMPLES = 7


def answers(n_ports: int) -> list[Figure]:
    places = list(topology.places(n_ports))
    plugged = [place for place in places if place.plugged and place.network == "net0"]
    one, other = plugged[0].name, plugged[-1].name
    acl = {
        "inboundDefaultAction": "Deny",
        "securityTags": [{"resourceRef": "/securityTags/default"}],
        "aclRules": [rule("ping", protocol="ICMPv4"), rule("all-tcp", protocol="TCP")],
    }
    change = {"resourceRef": "/accessControlLists/default", "body": {"properties": acl}}
    with isthmus_rig(n_ports, rules=True) as rig:
        client = rig.client
        figures = [
            _figure(name, n_ports, ask)
            for name, ask in (
                ("trace", lambda: client.trace(one, other, protocol=6, port=5001)),
                (
                    "trace_switches",
                    lambda: client.trace(one, other, protocol=6, port=5001, switches="true"),
                ),
                ("plan", lambda: client.plan([change])),
            )
        ]
    return figures


def _figure(name: str, n_ports: int, ask: Callable[[], object]) -> Figure:
    taken = []
    for _ in range(SAMPLES):
        started = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - started)
    note = f"median of {SAMPLES}, longest {max(taken):.2f} s"
    return figure(name, n_ports, median(taken), "s", goal="≤ 1", note=note)
