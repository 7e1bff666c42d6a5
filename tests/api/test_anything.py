# SPDX-License-Identifier: Apache-2.0
"""Nothing that is sent is a fault of ours."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import Api

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
