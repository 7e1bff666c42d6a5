# SPDX-License-Identifier: Apache-2.0
"""Many ports at once: from the first byte until every plugged host has programmed all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench import topology
from bench.http import Connection
from bench.isthmus_rig import Rig, isthmus_rig
from bench.ovn_rig import ovn_rig
from bench.results import Figure, figure

OVN_PORTS = (1_000, 5_000)
CLIENTS = 16
_ROUNDS = 3


def bulk_ports(n_ports: int, ovn_sizes: Sequence[int]) -> list[Figure]:
    """Created in batches over REST, without rules and with them in turn, beside OVN's create of
    unbound and plugged ports. The median of each."""
    rounds = [(_ours(n_ports, rules=False), _ours(n_ports, rules=True)) for _ in range(_ROUNDS)]
    ours, stored_s = sorted(without for without, _ in rounds)[_ROUNDS // 2]
    ruled, _ = sorted(under for _, under in rounds)[_ROUNDS // 2]
    figures = [
        figure(
            *("bulk_ports", n_ports, ours, "ports/s"),
            goal="≥ 2,000",
            note=f"stored after {stored_s:.2f} s of {n_ports / ours:.2f} s",
        )
    ]
    figures.append(
        figure(
            *("bulk_ports_rules", n_ports, ruled, "ports/s"),
            goal="≥ without / 1.2",
            peer="without rules",
            peer_value=ours,
            note="every port in a default security group of five rules",
        )
    )
    for size in ovn_sizes:
        theirs = _ovn(size)
        figures.append(
            figure(
                *("bulk_ports", size, ours, "ports/s"),
                goal="≥ 2,000",
                peer="OVN",
                peer_value=theirs,
                note=f"ours at {n_ports} ports",
            )
        )
    return figures


def _ours(n_ports: int, *, rules: bool) -> tuple[float, float]:
    """Ports a second, and seconds until all were stored."""
    places = list(topology.places(n_ports))
    with isthmus_rig(n_ports, created=False, rules=rules) as rig:
        started = time.perf_counter()
        rig.create(places)
        stored_s = time.perf_counter() - started
        rig.settle()
        return n_ports / (time.perf_counter() - started), stored_s


def _ovn(n_ports: int) -> float:
    with ovn_rig(n_ports, created=False) as rig:
        started = time.perf_counter()
        rig.create(list(topology.places(n_ports)))
        rig.settle()
        return n_ports / (time.perf_counter() - started)


def bulk_ports_single(n_ports: int) -> Figure:
    """One PUT a port, from 16 connections."""
    with isthmus_rig(n_ports, created=False) as rig:
        started = time.perf_counter()
        asyncio.run(_put_all(rig, list(topology.places(n_ports))))
        rig.settle()
        taken_s = time.perf_counter() - started
    return figure(
        *("bulk_ports_single", n_ports, n_ports / taken_s, "ports/s"),
        goal="≥ 600",
        note=f"{CLIENTS} connections",
    )


async def _put_all(rig: Rig, places: Sequence[topology.Place]) -> None:
    async def client(number: int) -> None:
        async with Connection(rig.socket) as connection:
            for place in places[number::CLIENTS]:
                path = f"/networking/v1/networkInterfaces/{place.name}"
                await connection.ask("PUT", path, rig.body_of(place))

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
