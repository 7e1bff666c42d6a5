# SPDX-License-Identifier: Apache-2.0
"""From intent, as requests leave it in the store, to policy."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.derive.engine import Engine
from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.errors import IsthmusError
from isthmus.intent.model import Stored
from isthmus.policy.rows import (
    DESIRED,
    Row,
)
from tests.derive.from_intent.tenants import NETWORK, derived, interface
from tests.intent.cloud import Cloud


def _rows(engine: Engine) -> dict[tuple[type, object], Row]:
    return {(table, key): row for table in DESIRED for key, row in engine.rows(table).items()}


def test_a_change_of_one_interface_runs_two_units_however_many_there_are(tenant: Cloud) -> None:
    calls = []
    for n_interfaces in (2, 40):
        for number in range(n_interfaces):
            tenant.put(
                f"/networkInterfaces/n{number}",
                interface(f"10.0.1.{number + 10}", f"0200000001{number:02x}"),
            )
        engine = derived(tenant)
        before, old = engine.calls, dict(tenant.store.rows)
        tenant.put("/networkInterfaces/n1", interface("10.0.1.200", "020000000101"))
        for key, row in tenant.store.rows.items():
            if old.get(key) != row:
                put(engine, old.get(key), row)
        engine.settle()
        calls.append(engine.calls - before)
    assert calls[0] == calls[1] <= 2


SUBNETS = ("Front", "Front Back")
NICS = ("n", "n 1", "n 1 (b)", "Front", "{Shop}")

_requests = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"),
            st.integers(0, 4),
            st.integers(2, 9),
            st.sampled_from(SUBNETS),
        ),
        st.tuples(st.just("delete"), st.integers(0, 4), st.just(0), st.just("")),
        st.tuples(st.just("network"), st.integers(0, 3), st.just(0), st.just("")),
    ),
    max_size=15,
)


@given(_requests)
@settings(max_examples=60, deadline=None)
def test_policy_changed_request_by_request_is_the_one_made_from_nothing(
    requests: list[tuple[str, int, int, str]],
) -> None:
    cloud = Cloud()
    engine = new_engine(Underlay())
    seen: dict[str, Stored] = {}
    cloud.put("/logicalNetworks/Underlay", {"networkVirtualizationEnabled": "True"})
    for verb, number, address, subnet in [("network", 3, 0, ""), *requests]:
        # refused requests change nothing; which ones are is not the point here
        with suppress(IsthmusError):
            _request(cloud, verb, number, address, subnet)
        for key in seen.keys() | cloud.store.rows.keys():
            old, new = seen.get(key), cloud.store.rows.get(key)
            if old != new:
                put(engine, old, new)
        engine.settle()
        seen = dict(cloud.store.rows)
    assert _rows(engine) == _rows(derived(cloud))


def _request(cloud: Cloud, verb: str, number: int, address: int, subnet: str) -> None:
    if verb == "network":
        subnets = [
            {"resourceId": name, "properties": {"addressPrefix": prefix}}
            for bit, (name, prefix) in enumerate(
                zip(SUBNETS, ("10.0.1.0/24", "10.0.2.0/24"), strict=True)
            )
            if number & 1 << bit
        ]
        cloud.put("/virtualNetworks/Shop", {**NETWORK, "subnets": subnets})
    elif verb == "delete":
        cloud.delete(f"/networkInterfaces/{NICS[number]}")
    else:
        config = {
            "subnet": {"resourceRef": f"/virtualNetworks/Shop/subnets/{subnet}"},
            "privateIPAddress": f"10.0.{1 + SUBNETS.index(subnet)}.{address}",
            "privateIPAllocationMethod": "Static",
        }
        cloud.put(
            f"/networkInterfaces/{NICS[number]}",
            {
                "privateMacAddress": f"0200000000{number:02x}",
                "ipConfigurations": [{"resourceId": "c", "properties": config}],
            },
        )
