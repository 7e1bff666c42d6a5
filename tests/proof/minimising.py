# SPDX-License-Identifier: Apache-2.0
"""The smallest cloud in which a probe still shows what was found: without every port, rule, entry
and address that does not matter. Greedy, and repeated until nothing more can go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec

from isthmus.policy.rows import Port, Rule
from tests.proof.clouds import Deployment


def minimised(cloud: Deployment, shows: Callable[[Deployment], bool]) -> Deployment:
    """`shows` says whether a cloud still does; it does for `cloud`."""
    while True:
        smaller = next((one for one in _smaller(cloud) if shows(one)), None)
        if smaller is None:
            return cloud
        cloud = smaller


def _smaller(cloud: Deployment) -> Iterator[Deployment]:
    for port in cloud.ports:
        yield cloud.without_port(port.id)
    for row in cloud.rules:
        yield cloud.without(row)
    for port in cloud.ports:
        for column in ("rule_sets", "groups", "pairs", "guards", "addresses"):
            for entry in getattr(port, column):
                fewer = tuple(one for one in getattr(port, column) if one != entry)
                yield cloud.with_port(_changed(port, column, fewer))
    for number, row in enumerate(cloud.rules):
        if isinstance(row, Rule):
            for column, plain in _PLAIN.items():
                if getattr(row, column) != plain:
                    simpler = msgspec.structs.replace(row, **{column: plain})
                    rules = (*cloud.rules[:number], simpler, *cloud.rules[number + 1 :])
                    yield replace(cloud, rules=rules)
    for place in cloud.places:
        if place.host != "h1":
            yield cloud.moved(place.port, "h1")


_PLAIN: dict[str, object] = {
    **dict.fromkeys(("source", "destination", "source_ports", "destination_ports"), ""),
    **dict.fromkeys(("icmp_type", "icmp_code", "protocol"), -1),
    **dict.fromkeys(("source_groups", "destination_groups"), ()),
}
"""What a rule without that condition has."""


def _changed(port: Port, column: str, value: object) -> Port:
    return msgspec.structs.replace(port, **{column: value})
