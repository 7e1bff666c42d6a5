# SPDX-License-Identifier: Apache-2.0
"""One change of a network, made and checked, and what that took."""

from __future__ import annotations

import time
from random import Random
from typing import NamedTuple

from tests.proof.checker import Checker
from tests.proof.clouds import Deployment
from tests.proof.incremental import Checked, check_change
from tests.proof.network import Network


class Measured(NamedTuple):
    """`compiled_s` is what the engines took to follow the change."""

    name: str
    n_flows: int
    checked: Checked
    compiled_s: float
    checked_s: float

    def __str__(self) -> str:
        ports = "all" if self.checked.ports is None else len(self.checked.ports)
        return (
            f"{self.name}: {self.n_flows} flows changed, {ports} ports, {self.checked.n_probes}"
            f" probes, compiled in {self.compiled_s:.2f} s, checked in {self.checked_s:.2f} s"
        )


def measured(name: str, network: Network, before: Deployment, after: Deployment) -> Measured:
    """Changes a network from one cloud to another, and checks the change."""
    start = time.perf_counter()
    flows = before.change(network, after)
    compiled = time.perf_counter()
    checker = Checker(network, after.reference())
    found = check_change(checker, before, after, flows, Random(1))
    end = time.perf_counter()
    n_flows = sum(map(len, flows.values()))
    return Measured(name, n_flows, found, compiled - start, end - compiled)
