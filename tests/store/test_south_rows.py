# SPDX-License-Identifier: Apache-2.0
"""Values of policy as texts of the south store: each has one, and what is none stays as it is."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.addresses import Mac
from isthmus.policy.observed import believable
from isthmus.policy.rows import HostStatus, Port, Row, Rule, Subnet
from isthmus.policy.values import (
    AddressPair,
    AppliedSet,
    HostRoute,
    PortRange,
    Preference,
    RuleLevel,
    pair_order,
    route_order,
)
from isthmus.store import south_rows
from isthmus.wire.encapsulations import Encapsulation
from isthmus.wire.ovsdb_rows import Codec, column_types, written
from tests.names import NAMES
from tests.texts import as_stored

PORT: dict[str, object] = {"id": "p", "segment": "s", "mac": "02:00:00:00:00:01"}
RULE: dict[str, object] = {
    **{"rule_set": "web", "id": "r", "direction": "in", "priority": 100, "action": "allow"}
}

_sets = st.builds(
    AppliedSet, st.sampled_from(RuleLevel), st.sampled_from(("", "10.0.0.5", "fd00::5")), NAMES
)
_ranges = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)).map(
    lambda ends: PortRange(min(ends), max(ends))
)
_networks = st.ip_addresses().map(ip_network)
_pairs = st.builds(AddressPair, _networks, st.integers(0, (1 << 48) - 1).map(Mac))
_routes = st.builds(HostRoute, _networks, st.ip_addresses())


@given(
    st.sets(_sets, max_size=4),
    st.sets(_pairs, max_size=3),
    st.sets(_routes, max_size=3),
    st.one_of(st.none(), _ranges),
    st.permutations(list(Encapsulation)),
)
def test_every_value_comes_back_as_it_was(
    sets: set[AppliedSet],
    pairs: set[AddressPair],
    routes: set[HostRoute],
    ports: PortRange | None,
    order: list[Encapsulation],
) -> None:
    rows: list[Row] = [
        Port(
            **PORT,  # type: ignore[arg-type]  # columns by name
            rule_sets=tuple(sorted(sets)),
            pairs=tuple(sorted(pairs, key=pair_order)),
        ),
        Subnet(
            segment="s", prefix="10.0.0.0/8", host_routes=tuple(sorted(routes, key=route_order))
        ),
        as_stored(Rule, **RULE),
        Rule(rule_set="s", id="r", direction=IN, priority=1, action=ALLOW, source_ports=ports),
        HostStatus(host="h", encapsulations=Preference(tuple(order))),
    ]
    for row in rows:
        assert _read(row, written(row, row.__struct_fields__)) == row


def _read(row: Row, wire: dict[str, Any]) -> Row:
    types = column_types(type(row))
    values = {name: _from_wire(value) for name, value in wire.items()}
    return type(row)(
        **{name: t.read(values[name]) if t.is_read else values[name] for name, t in types.items()}
    )


def _from_wire(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


IN, ALLOW = as_stored(Rule, **RULE).direction, as_stored(Rule, **RULE).action


def test_each_value_has_the_text_that_it_always_had() -> None:
    row = as_stored(
        Port,
        **PORT,
        rule_sets=("subnet 10.0.0.5 db web", "interface * web"),
        pairs=("10.0.0.9/32 02:00:00:00:00:0a",),
        guards=("router-advertisements", "dhcp-guard"),
    )
    assert believable(row) is row
    assert written(row, ("rule_sets", "pairs", "guards")) == {
        "rule_sets": ["set", ["interface * web", "subnet 10.0.0.5 db web"]],
        "pairs": ["set", ["10.0.0.9/32 02:00:00:00:00:0a"]],
        "guards": ["set", ["dhcp-guard", "router-advertisements"]],
    }
    rule = as_stored(Rule, **RULE, source_ports="80-443")
    assert (rule.source_ports, rule.destination_ports) == (PortRange(80, 443), None)
    assert south_rows.shown(rule) | RULE == south_rows.shown(rule)
    assert south_rows.shown(rule)["source_ports"] == "80-443"
    assert south_rows.shown(rule)["destination_ports"] == ""


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (Port, {**PORT, "rule_sets": ("interface *",)}),
        (Port, {**PORT, "rule_sets": ("network * web",)}),
        (Port, {**PORT, "rule_sets": ("interface  web",)}),
        (Port, {**PORT, "pairs": ("10.0.0.9 02:00:00:00:00:0a",)}),
        (Port, {**PORT, "pairs": ("10.0.0.9/32 02-00-00-00-00-0a",)}),
        (Port, {**PORT, "pairs": ("fe80::1%eth0/128 02:00:00:00:00:0a",)}),
        (Port, {**PORT, "guards": ("everything",)}),
        (
            Subnet,
            {"segment": "s", "prefix": "10.0.0.0/8", "host_routes": ("10.1.0.1/16 10.0.0.1",)},
        ),
        (Rule, {**RULE, "direction": "sideways"}),
    ],
)
def test_a_text_that_is_no_value_stays_and_the_row_is_not_believed(
    table: type[Row], columns: dict[str, object]
) -> None:
    row = as_stored(table, **columns)
    assert {**south_rows.shown(row), **_lists(columns)} == south_rows.shown(row)
    assert believable(row) is None


def _lists(columns: dict[str, object]) -> dict[str, object]:
    return {n: list(v) if isinstance(v, tuple) else v for n, v in columns.items()}


@pytest.mark.parametrize("ports", ["80", "90-80", "1-70000", "-", "80-", "٣-٤"])
def test_a_rule_of_ports_that_are_none_denies(ports: str) -> None:
    rule = believable(as_stored(Rule, **RULE, destination_ports=ports))
    assert rule is not None
    assert (rule.action, rule.destination_ports) == ("deny", None)


def test_a_set_with_a_text_that_is_no_value_follows_changes_too() -> None:
    """A change of a set tells what came and what went (ovsdb-server(7) section 4.1.14)."""
    codec = Codec(Port, frozenset(Port.__struct_fields__))
    row = as_stored(Port, **PORT, rule_sets=("interface * a", "nonsense"))
    changed = codec.patch(row, _modified(codec, ["set", ["nonsense", "subnet * b"]]))
    assert changed == as_stored(Port, **PORT, rule_sets=("interface * a", "subnet * b"))
    assert codec.patch(changed, _modified(codec, ["set", ["nonsense", "subnet * b"]])) == row


def _modified(codec: Codec[Port], rule_sets: list[Any]) -> Any:
    return msgspec.convert({"modify": {"rule_sets": rule_sets}}, codec.update_type).modify  # type: ignore[attr-defined]  # made at run time
