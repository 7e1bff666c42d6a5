# SPDX-License-Identifier: Apache-2.0
"""``make bench``: measure, print the table, write ``bench/results.json``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from bench import (
    answers,
    bulk,
    groups,
    latency,
    proving,
    rates,
    restarts,
    results,
    strangers,
    throughput,
    topology,
)
from bench.results import Figure
from isthmus_lab.lab import end_abandoned

Job = tuple[str, Callable[[], list[Figure]]]


def jobs(*, quick: bool, peer: bool) -> list[Job]:
    """What is measured, by the names that ``--only`` knows."""
    sizes = (100, 300) if quick else (100, 1_000, 5_000, 10_000)
    n_bulk = 600 if quick else 10_000
    ovn_bulk = (() if not peer else (600,)) if quick else (bulk.OVN_PORTS if peer else ())
    n_flows = 600 if quick else 5_000
    return [
        (
            "port_to_ping",
            lambda: latency.port_to_ping(sizes, 10 if quick else 100, peer=peer),
        ),
        (
            "port_to_ping_rules",
            lambda: latency.port_to_ping_rules(sizes[1::2], 10 if quick else 50),
        ),
        ("bulk_ports", lambda: bulk.bulk_ports(n_bulk, ovn_bulk)),
        ("bulk_ports_single", lambda: [bulk.bulk_ports_single(n_bulk)]),
        (
            "group",
            lambda: groups.group_figures(*((500, 5, 0) if quick else (10_000, 100, groups.MANY))),
        ),
        ("throughput", lambda: throughput.throughput(peer=peer)),
        ("answers", lambda: answers.answers(n_bulk)),
        (
            "plan_rule",
            lambda: answers.plan_of_a_long_list(*((200, 100) if quick else (1_000, 1_000))),
        ),
        ("incremental_check", lambda: [proving.incremental_check(100 if quick else 1_000)]),
        ("flows_per_host", lambda: [restarts.flows_per_host(n_flows, peer=peer)]),
        ("restart_lost", lambda: restarts.restart_losses(3 if quick else 20)),
        (
            "sizes",
            lambda: restarts.sizes(
                n_bulk, 2 if quick else 5, ovn_ports=(600 if quick else 5_000) if peer else 0
            ),
        ),
        ("store_load", lambda: [rates.store_load(10_000 if quick else 100_000)]),
        ("strangers", strangers.stranger_figures),
        ("api_rate", lambda: rates.api_rate(1.0 if quick else 5.0)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small networks, a minute or two")
    parser.add_argument("--only", nargs="*", default=[], help="names of figures")
    parser.add_argument("--no-peer", action="store_true", help="without OVN")
    asked = parser.parse_args()
    chosen = [
        job
        for job in jobs(quick=asked.quick, peer=not asked.no_peer)
        if not asked.only or job[0] in asked.only
    ]
    end_abandoned()
    figures: list[Figure] = []
    failed = False
    for name, job in chosen:
        started = time.monotonic()
        print(f"bench: {name} ...", flush=True)
        try:
            figures += job()
        except Exception as error:  # the other figures are worth having
            failed = True
            figures.append(results.figure(name, 0, None, "", note=f"failed: {error!r}"[:300]))
        print(f"bench: {name} took {time.monotonic() - started:.0f} s", flush=True)
        if not asked.only and not asked.quick:
            results.write(figures)
    results.show(figures, topology.described())
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
