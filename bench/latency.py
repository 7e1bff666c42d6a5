# SPDX-License-Identifier: Apache-2.0
"""port_to_ping: from the first byte of the request for a port, whose interface is plugged already,
to its first answered ping from another host."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from bench.isthmus_rig import isthmus_rig
from bench.ovn_rig import ovn_rig
from bench.probing import Pair, Pinger
from bench.results import Figure, figure, median, p99

OVN_PORTS = (100, 1_000, 5_000)
_REST_S = 0.15
"""Between two, after both have settled: for the switch to hear the next port's name."""
_LONGEST_S = 20.0
_ROUNDS = 3


class Rig(Protocol):
    """Isthmus's or OVN's."""

    def pair(self) -> Pair: ...
    def put_probe(self, name: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def settle(self) -> float: ...


def port_to_ping(sizes: Sequence[int], samples: int, *, peer: bool) -> list[Figure]:
    figures = []
    for n_ports in sizes:
        ours = _measured(lambda n=n_ports: isthmus_rig(n), samples)  # type: ignore[misc]
        theirs: list[float] = []
        note = ""
        if not peer:
            note = "peer not asked for"
        elif n_ports not in OVN_PORTS:
            note = "OVN is driven up to 5,000 ports: ten minutes of it at most"
        else:
            few = max(5, samples // (1 if n_ports <= 1_000 else 4))
            theirs = _measured(lambda n=n_ports: ovn_rig(n), few)  # type: ignore[misc]
        for name, value, other, goal in (
            ("port_to_ping_median", median(ours), median(theirs), "≤ 25"),
            ("port_to_ping_p99", p99(ours), p99(theirs), "≤ 100"),
        ):
            figures.append(
                figure(
                    *(name, n_ports, value, "ms"),
                    goal=goal,
                    peer="OVN",
                    peer_value=other,
                    note=note,
                )
            )
    return figures


def port_to_ping_rules(sizes: Sequence[int], samples: int) -> list[Figure]:
    """With a default security group on every port, beside the same without: in turn, for the
    machine is not the same from minute to minute."""
    figures = []
    for n_ports in sizes:
        plain: list[float] = []
        ruled: list[float] = []
        for _ in range(_ROUNDS):
            few = max(1, samples // _ROUNDS)
            plain += _measured(lambda n=n_ports: isthmus_rig(n), few)  # type: ignore[misc]
            ruled += _measured(lambda n=n_ports: isthmus_rig(n, rules=True), few)  # type: ignore[misc]
        figures.append(
            figure(
                *("port_to_ping_rules", n_ports, median(ruled), "ms"),
                goal="≤ 1.2 × without",
                peer="without rules",
                peer_value=median(plain),
                note=f"medians; p99 {p99(ruled):.1f} and {p99(plain):.1f} ms",
            )
        )
    return figures


def _measured(rig_of: Callable[[], AbstractContextManager[Rig]], samples: int) -> list[float]:
    found = []
    with rig_of() as rig:
        pair = rig.pair()
        for number in range(-3, samples):
            taken = _one(rig, pair, f"probe{number + 3}")
            if number >= 0:
                found.append(taken)
    return found


def _one(rig: Rig, pair: Pair, name: str) -> float:
    pair.name_port(name)
    rig.settle()
    time.sleep(_REST_S)
    pinger = Pinger(pair.guest)
    started = time.perf_counter()
    rig.put_probe(name)
    answered = pinger.answered.wait(_LONGEST_S)
    pinger.close()
    rig.delete(name)
    rig.settle()
    if not answered or pinger.first_answer is None:
        raise TimeoutError(f"{name} was not reached in {_LONGEST_S:g} s")
    return (pinger.first_answer - started) * 1e3
