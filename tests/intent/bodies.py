# SPDX-License-Identifier: Apache-2.0
"""Request bodies that nobody should send: any JSON, and the right names in wrong places."""

from __future__ import annotations

from hypothesis import strategies as st

from isthmus.intent.model import Json
from isthmus.intent.registry import KINDS

JSON: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["10.0.0.0/24", "fd00::/64", "10.0.0.4", "/virtualNetworks/v/subnets/s", "\ud800"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


def _names() -> list[str]:
    names = {
        "resourceId",
        "instanceId",
        "etag",
        "tags",
        "resourceMetadata",
        "properties",
        "resourceRef",
    }
    for kind in KINDS.values():
        names |= {spec.wire for spec in kind.fields} | {kind.collection}
    return sorted(names)


NEARLY: st.SearchStrategy[Json] = st.recursive(
    JSON,
    lambda inner: (
        st.dictionaries(st.sampled_from(_names()), inner, max_size=4) | st.lists(inner, max_size=2)
    ),
    max_leaves=12,
)

BODIES: st.SearchStrategy[Json] = JSON | st.dictionaries(st.sampled_from(_names()), NEARLY)
