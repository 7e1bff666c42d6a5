# SPDX-License-Identifier: Apache-2.0
"""``monitoring/networkControllerStatistics`` (MS-NCNBI section 3.1.5.23): how well resources are,
and how much of what is given out is in use.

A view of intent and of what hosts report. An answer costs O(interfaces + subnets); other requests
get their turn in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import COUNT, FREE, TEXT, answer, list_of, object_of
from isthmus.api.turns import in_turns
from isthmus.intent.addressing import number_of, space
from isthmus.intent.fields import decode
from isthmus.intent.kinds.logical_subnets import IpPool, address_scope
from isthmus.intent.kinds.mac_pools import SCOPE, MacPool
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet
from isthmus.intent.model import Json, JsonObject, Stored, View
from isthmus.intent.render import States
from isthmus.intent.versions import V2, V4, Version

REF = "/monitoring/networkControllerStatistics"
NO_INSTANCE = "00000000-0000-0000-0000-000000000000"
"""As Windows answers."""

_WORD_OF_STATUS = {"Success": "healthy", "Warning": "warning", "Failure": "error"}
"""Of a configurationState; with any other the health cannot be assessed."""
_WORST_FIRST = ("error", "warning", "healthy")


async def answer_statistics(services: Services, call: Call) -> Reply:
    found = await statistics(services.north.view, services.states, call.version)
    return json_reply(200, found)


async def statistics(view: View, states: States, version: Version) -> dict[str, Json]:
    """The resource as `version` sees it."""
    properties: dict[str, Json] = {
        "provisioningState": "Succeeded",
        "healthStatistics": [
            _health_item("VirtualNetwork", await _network_health(view, states)),
            # this controller has none of these, nor public addresses
            _health_item("Gateway", Counter()),
            _health_item("LoadBalancerMux", Counter()),
        ],
        "usageStatistics": [
            _usage_item("PublicIPUtilization", 0, 0),
            _usage_item("BackendIPUtilization", *await _address_usage(view)),
            _usage_item("MacPoolUtilization", *_mac_usage(view)),
        ],
    }
    if V2 <= version < V4:  # section A.10
        properties["counters"] = []
    return {
        "resourceRef": REF,
        "resourceId": REF.rpartition("/")[2],
        "instanceId": NO_INSTANCE,
        "properties": properties,
    }


def _health_item(resource_type: str, counts: Counter[str]) -> dict[str, Json]:
    return {
        "resourceType": resource_type,
        "totalResourceCount": counts.total(),
        "healthyResourceCount": counts["healthy"],
        "errorResourceCount": counts["error"],
        "warningResourceCount": counts["warning"],
        "healthUnknownCount": counts["unknown"],
    }


def _usage_item(resource_type: str, total: int, in_use: int) -> dict[str, Json]:
    return {
        "resourceType": resource_type,
        "totalResourceCount": total,
        "inUseResourceCount": in_use,
    }


async def _network_health(view: View, states: States) -> Counter[str]:
    """Virtual networks by their health, which is that of their worst interface."""
    found: Counter[str] = Counter()
    for network in view.collection("virtualNetworks"):
        words = {_word(states, network)}
        async for key in in_turns(_interfaces_in(view, network)):
            row = view.get(key)
            if row is not None:
                words.add(_word(states, row))
        found[next((word for word in _WORST_FIRST if word in words), "unknown")] += 1
    return found


def _word(states: States, row: Stored) -> str:
    state = states.configuration_state(row.kind, row.instance_id) or {}
    return _WORD_OF_STATUS.get(str(state.get("status")), "unknown")


def _interfaces_in(view: View, network: Stored) -> set[str]:
    """Keys of the networkInterfaces that have an address in a network."""
    return {
        key.rpartition("/ipconfigurations/")[0]
        for subnet in view.children(network.key, "virtualNetworks/subnets")
        for key in view.referrers(subnet.key)
        if key.startswith("/networkinterfaces/")
    }


async def _address_usage(view: View) -> tuple[int, int]:
    """How many IPv4 addresses interfaces, which are the back ends, can have and do have: those of
    virtual subnets, and of the ipPools of logical ones. Not IPv6: how many there are fits into no
    client's integer."""
    total = in_use = 0
    async for row in in_turns(view.collection("virtualNetworks")):
        for subnet in view.children(row.key, "virtualNetworks/subnets"):
            whole = space(decode(subnet, VirtualSubnet).address_prefix)
            if whole.family == 4:
                first, last = whole.usable
                total += last - first  # but for the router's
                in_use += view.held(address_scope(subnet.key), first, last)
    async for row in in_turns(view.collection("logicalNetworks")):
        for subnet in view.children(row.key, "logicalNetworks/subnets"):
            pools = view.children(subnet.key, "logicalNetworks/subnets/ipPools")
            ranges = [
                pool.numbers()
                for pool in (decode(below, IpPool) for below in pools)
                if number_of(pool.start_ip_address)[1] == 4
            ]
            of_pools, held = _usage(view, address_scope(subnet.key), ranges)
            total, in_use = total + of_pools, in_use + held
    return total, in_use


def _mac_usage(view: View) -> tuple[int, int]:
    return _usage(
        view, SCOPE, [decode(row, MacPool).numbers for row in view.collection("macPools")]
    )


def _usage(view: View, scope: str, ranges: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """How many numbers there are and are held; of ranges that overlap, each once."""
    total = in_use = 0
    free = 0
    for first, last in sorted(ranges):
        first = max(first, free)
        if first <= last:
            total += last - first + 1
            in_use += view.held(scope, first, last)
            free = last + 1
    return total, in_use


_BY_HEALTH = (
    "healthyResourceCount",
    "errorResourceCount",
    "warningResourceCount",
    "healthUnknownCount",
)


def _counts(names: tuple[str, ...], *of: str) -> JsonObject:
    """How many resources there are of some type, and how many of each kind of those."""
    kind: Json = {"type": "string", "enum": [*of]}
    counts: dict[str, Json] = dict.fromkeys(("totalResourceCount", *names), COUNT)
    return object_of({"resourceType": kind, **counts}, "resourceType", *counts)


_STATISTICS = object_of(
    {
        "resourceRef": TEXT,
        "resourceId": TEXT,
        "instanceId": TEXT,
        "properties": object_of(
            {
                "provisioningState": TEXT,
                "healthStatistics": list_of(
                    _counts(_BY_HEALTH, "VirtualNetwork", "Gateway", "LoadBalancerMux")
                ),
                "usageStatistics": list_of(
                    _counts(
                        ("inUseResourceCount",),
                        *("PublicIPUtilization", "BackendIPUtilization", "MacPoolUtilization"),
                    )
                ),
                "counters": list_of(FREE),
            },
            *("healthStatistics", "usageStatistics"),
        ),
    },
    *("resourceRef", "properties"),
)

ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}{REF}",
        handler=answer_statistics,
        summary="How many networks are well, and how many addresses are in use.",
        answers=answer(_STATISTICS),
    ),
)
