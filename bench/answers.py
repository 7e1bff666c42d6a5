# SPDX-License-Identifier: Apache-2.0
"""How long a person waits for an answer: `isthmus trace` and `isthmus plan`, with rules on every
port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench import topology
from bench.isthmus_rig import isthmus_rig, rule
from bench.results import Figure, figure, median
from isthmus.api.client import Client

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


def plan_of_a_long_list(n_ports: int, n_rules: int) -> list[Figure]:
    """One rule of a long list that all ports are under; and how long an answer of another request
    takes meanwhile."""
    rules = [
        rule(f"r{n}", protocol="TCP", destinationPortRange=str(1000 + n), priority=str(200 + n))
        for n in range(n_rules)
    ]
    acl = {
        "inboundDefaultAction": "Deny",
        "securityTags": [{"resourceRef": "/securityTags/default"}],
        "aclRules": rules,
    }
    ref = "/accessControlLists/default"
    changed = rule("r7", protocol="TCP", destinationPortRange="7", priority="207")["properties"]
    change = {"resourceRef": f"{ref}/aclRules/r7", "body": {"properties": changed}}
    with isthmus_rig(n_ports, rules=True) as rig:
        rig.client.put(ref, {"properties": acl})
        found = rig.client.plan([change])
        assert found["reachability"], "the change means something"
        stop = threading.Event()
        waits: list[float] = []
        other = threading.Thread(target=_ask_on, args=(rig.socket, stop, waits))
        other.start()
        try:
            asked = _figure("plan_rule", n_ports, lambda: rig.client.plan([change]))
        finally:
            stop.set()
            other.join()
    note = f"longest of {len(waits)} answers meanwhile; a list of {n_rules} rules"
    return [asked, figure("plan_rule_others", n_ports, max(waits), "s", note=note)]


def _ask_on(path: Path, stop: threading.Event, waits: list[float]) -> None:
    with Client(f"unix:{path}") as client:
        while not stop.is_set():
            started = time.perf_counter()
            client.discovery()
            waits.append(time.perf_counter() - started)


def _figure(name: str, n_ports: int, ask: Callable[[], object]) -> Figure:
    taken = []
    for _ in range(SAMPLES):
        started = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - started)
    note = f"median of {SAMPLES}, longest {max(taken):.2f} s"
    return figure(name, n_ports, median(taken), "s", goal="≤ 1", note=note)
