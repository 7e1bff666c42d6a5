# SPDX-License-Identifier: Apache-2.0
"""Connections that are open while the policy becomes another: what was allowed before, and is no
longer, must end, whatever a mutant has kept of it."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.switches.ovs.pipeline import FlowKey
from tests.proof.checker import Checker
from tests.proof.clouds import Deployment
from tests.proof.probes import Probe
from tests.proof.program import Flow, Program


class Afterwards:
    """The network of another policy, with the connections of the one of `before`.

    Its hosts and ports must be the same, and at each end something must be forbidden under both or
    under none: else it depends on more than the policy what is known of a connection.
    """

    def __init__(self, before: Checker, cloud: Deployment) -> None:
        self._before = before
        self._checker = Checker(cloud.network(), cloud.reference())
        for name, host in self._checker.network.hosts.items():
            host.connections = before.network.hosts[name].connections

    def program(self, host: str) -> Program:
        return self._checker.network.hosts[host].program

    def has(self, host: str, flows: Mapping[FlowKey, Flow | None]) -> bool:
        """Whether a host has these flows, and none where there is None."""
        its = self.program(host).flows
        return all(
            (its[key].operations if key in its else None) == (flow.operations if flow else None)
            for key, flow in flows.items()
        )

    def differs(self, first: Probe, then: Probe) -> bool:
        """Whether a packet under this policy ends wrongly, after one that was sent before."""
        before, now = self._before, self._checker
        before.network.forget()
        before.reference.forget()
        now.reference.forget()
        if before.step("before", first) is not None:
            return True
        now.reference.take_over(before.reference)
        return now.step("afterwards", then) is not None
