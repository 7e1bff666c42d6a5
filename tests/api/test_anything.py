# SPDX-License-Identifier: Apache-2.0
"""Nothing that is sent is a fault of ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import BODY, Api

_words = st.sampled_from(
    [
        "networking",
        "v1",
        "V4",
        "batch",
        "isthmus",
        "probes",
        "operations",
        "servers",
        "%2e%2e",
        "networkInterfaces",
        "n",
        "virtualNetworks",
        "v",
        "subnets",
        "s",
        "",
        "é",
        "ipConfigurations",
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["properties", "resourceId", "requests", "subnets", "etag", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(
    st.sampled_from(["GET", "PUT", "DELETE", "POST", "PATCH"]),
    st.lists(_words, max_size=6),
    st.one_of(
        _json.map(lambda value: (value, None)), st.binary(max_size=20).map(lambda b: (None, b))
    ),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_that_is_sent_is_a_fault_of_ours(
    furnished: Api, method: str, words: list[str], content: tuple[object, bytes | None]
) -> None:
    value, raw = content
    reply = furnished.ask(method, "/networking/v1/" + "/".join(words), value, content=raw)
    assert reply.status_code < 500, reply.text


# -- almost right ----------------------------------------------------------------------------------

_RIGHT: Mapping[str, Any] = {
    "/networkInterfaces/n": {
        "resourceId": "n",
        "tags": {"a": 1},
        "properties": {
            **BODY,
            "privateMacAddress": "00112233AABB",
            "privateMacAllocationMethod": "Static",
            "dnsSettings": {"dnsServers": ["192.0.2.53"]},
            "portSettings": {"qosSettings": {"outboundMaximumMbps": "5"}},
        },
    },
    "/virtualNetworks/v": {
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
            "dhcpOptions": {"dnsServers": ["192.0.2.53"]},
            "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
            "subnets": [{"resourceId": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}],
        }
    },
    "/logicalNetworks/k": {
        "properties": {
            "networkVirtualizationEnabled": "True",
            "subnets": [
                {
                    "resourceId": "a",
                    "properties": {
                        "addressPrefix": "192.168.0.0/24",
                        "vlanID": "7",
                        "defaultGateways": ["192.168.0.1"],
                        "ipPools": [
                            {
                                "resourceId": "p",
                                "properties": {
                                    "startIpAddress": "192.168.0.5",
                                    "endIpAddress": "192.168.0.9",
                                },
                            }
                        ],
                    },
                }
            ],
        }
    },
    "/credentials/c": {"properties": {"type": "X509Certificate", "value": "AABB"}},
}
_ODD: list[Any] = [
    *(None, True, -1, 2**63, 10**400, 1.5, "", "x", "*", "/", "10.0.0.0/33", "::1", "0.0.0.0"),
    *("255.255.255.255", [], {}, [[]], [{}], {"resourceRef": 7}, {"resourceRef": "//"}),
    *({"resourceRef": "/networkInterfaces/n"}, {"resourceRef": "/virtualNetworks"}),
    *("\0", "٣", "é" * 200, "00-00-00-00-00-00", "1e5", "\ud800"),
]


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value but the whole."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


@st.composite
def _almost_right(draw: st.DrawFn) -> tuple[str, Any]:
    """A path, and a right body for it with up to two odd places."""
    path = draw(st.sampled_from(sorted(_RIGHT)))
    body = copy.deepcopy(_RIGHT[path])
    for _ in range(draw(st.integers(0, 2))):
        *above, last = draw(st.sampled_from(list(_places(body))))
        place = body
        for key in above:
            place = place[key]
        place[last] = copy.deepcopy(draw(st.sampled_from(_ODD)))
    return path, body


@given(st.lists(_almost_right(), min_size=1, max_size=4), st.sampled_from(["v1", "v5", "v7.1"]))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_almost_right_is_stored_whole_or_leaves_nothing(
    furnished: Api, sent: list[tuple[str, Any]], version: str
) -> None:
    for path, body in sent:
        before = dict(furnished.north.view.rows)
        content = json.dumps(body).encode()
        reply = furnished.ask("PUT", f"/networking/{version}{path}", content=content)
        assert reply.status_code < 500, reply.text
        if reply.status_code >= 300:
            assert furnished.north.view.rows == before
            assert reply.json()["error"]["message"]
        else:
            assert furnished.get(path, version) == reply.json()
