# SPDX-License-Identifier: Apache-2.0
"""How a host finds rows of the policy: indexes that its own units and those of its switch share."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.derive.engine import Index, Key
from isthmus.host.facts import Adjacent, Problem
from isthmus.policy.rows import Claim, LearnedAddress, Port, RouterPort, Subnet


def _port_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, Claim | Problem)
    return (row.port,)


def _profile_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, Port)
    return (row.profile_id,) if row.profile_id else ()


def _segment_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, RouterPort | Subnet)
    return (row.segment,)


def _router_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, RouterPort | Adjacent)
    return (row.router,)


def _address_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, LearnedAddress)
    return ((row.segment, row.address),)


CLAIMS_BY_PORT = Index(Claim, "port", _port_of)
PORTS_BY_PROFILE = Index(Port, "profile", _profile_of)
LEGS_BY_SEGMENT = Index(RouterPort, "segment", _segment_of)
LEGS_BY_ROUTER = Index(RouterPort, "router", _router_of)
ADJACENT_BY_ROUTER = Index(Adjacent, "router", _router_of)
SUBNETS_BY_SEGMENT = Index(Subnet, "segment", _segment_of)
LEARNED_BY_ADDRESS = Index(LearnedAddress, "address", _address_of)
PROBLEMS_BY_PORT = Index(Problem, "port", _port_of)

INDEXES = (
    *(CLAIMS_BY_PORT, PORTS_BY_PROFILE, LEGS_BY_SEGMENT, LEGS_BY_ROUTER),
    ADJACENT_BY_ROUTER,
    *(SUBNETS_BY_SEGMENT, LEARNED_BY_ADDRESS, PROBLEMS_BY_PORT),
)
