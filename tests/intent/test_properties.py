# SPDX-License-Identifier: Apache-2.0
"""What holds after any sequence of requests, right and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import IsthmusError
from isthmus.intent.fields import decode
from isthmus.intent.kinds.access_control_lists import AccessControlList
from isthmus.intent.kinds.ip_configurations import IpConfiguration
from isthmus.intent.kinds.logical_subnets import LogicalSubnet
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet
from isthmus.intent.model import Json, Plan, Stored
from isthmus.intent.planning import Delete, Put, Request, plan_batch, plan_delete, plan_put
from isthmus.intent.references import key_of
from isthmus.intent.registry import KINDS
from tests.intent.bodies import BODIES
from tests.intent.cloud import Cloud, Properties, child, ref

NETWORKS = ("v", "w")
V_S = "/virtualNetworks/v/subnets/s"
PREFIXES = (
    "10.0.0.0/29",
    "10.0.0.8/30",
    "10.0.0.0/28",
    "10.0.1.0/30",
    "10.0.0.0/16",
    "10.9.0.0/33",
)
V6_PREFIXES = ("fd00::/126", "fd00::4/126", "fd00::/64")
ADDRESSES = tuple(f"10.0.0.{n}" for n in range(0, 12))
SETS, GROUPS = ("DB", "DB Web"), ("Web", "DB Web")
MACS = ("020000000001", "02-00-00-00-00-02", "010000000000")


def maybe(values: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.none() | values


def children(names: str, properties: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    picked = st.lists(st.sampled_from(names), max_size=3, unique=True)
    return picked.flatmap(
        lambda ids: st.tuples(*(properties for _ in ids)).map(
            lambda values: [
                {"resourceId": name, "properties": value}
                for name, value in zip(ids, values, strict=True)
            ]
        )
    )


LISTS: st.SearchStrategy[Json] = maybe(
    st.sampled_from([ref(f"/accessControlLists/{n}") for n in SETS])
)
TAGS: st.SearchStrategy[Json] = maybe(
    st.lists(st.sampled_from([ref(f"/securityTags/{name}") for name in GROUPS]), max_size=2)
)
POOLS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {
        "startIpAddress": st.sampled_from(ADDRESSES[:6]),
        "endIpAddress": st.sampled_from(ADDRESSES[5:]),
    }
)
LOGICAL_SUBNETS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {
        "addressPrefix": maybe(st.sampled_from(PREFIXES)),
        "vlanID": st.sampled_from((0, 7, "8")),
        "defaultGateways": maybe(st.sampled_from((["10.0.0.1"], ["10.0.0.5"]))),
        "ipPools": children("pq", POOLS),
        "accessControlList": LISTS,
    }
)
SUBNETS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"addressPrefix": st.sampled_from((*PREFIXES, *V6_PREFIXES)), "accessControlList": LISTS}
    | {
        "dualStackSubnet": maybe(
            st.sampled_from([ref(f"/virtualNetworks/{n}/subnets/{s}") for n in "vw" for s in "st"])
        )
    }
)
RULES: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {
        "type": st.sampled_from(("Inbound", "Outbound")),
        "action": st.just("Allow"),
        "protocol": st.sampled_from(("All", "TCP", "icmpv6")),
        "priority": st.sampled_from(("100", 200)),
        "sourceAddressPrefix": maybe(st.sampled_from(("*", "10.0.0.0/8", "INTERNET"))),
        "sourceSecurityTags": TAGS,
        "destinationAddressPrefix": st.sampled_from(("*", "fd00::/64", "virtualnetwork")),
        "sourcePortRange": st.just("*"),
        "destinationPortRange": st.sampled_from(("*", "80")),
    }
)
CONFIGS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {
        "subnet": st.sampled_from(
            (
                *(
                    ref(f"/virtualNetworks/{network}/subnets/{subnet}")
                    for network in NETWORKS
                    for subnet in "stu"
                ),
                ref("/logicalNetworks/L/subnets/s"),
                ref("/logicalNetworks/M/subnets/t"),
            )
        ),
        "privateIPAddress": maybe(st.sampled_from(ADDRESSES)),
        "privateIPAllocationMethod": maybe(st.sampled_from(("Static", "dynamic", "Unmanaged"))),
        "accessControlList": LISTS,
    }
)
PROPERTIES: dict[str, st.SearchStrategy[Json]] = {
    "logicalNetworks": st.fixed_dictionaries(
        {
            "networkVirtualizationEnabled": st.sampled_from(("True", "True", "False")),
            "subnets": children("st", LOGICAL_SUBNETS),
        }
    ),
    "virtualNetworks": st.fixed_dictionaries(
        {
            "addressSpace": st.sampled_from(
                (
                    {"addressPrefixes": ["10.0.0.0/8", "fd00::/48"]},
                    {"addressPrefixes": ["10.0.0.0/28"]},
                )
            ),
            "logicalNetwork": st.sampled_from(
                (ref("/logicalNetworks/L"), ref("/logicalNetworks/M"))
            ),
            "subnets": children("stu", SUBNETS),
        }
    ),
    "networkInterfaces": st.fixed_dictionaries(
        {
            "privateMacAddress": maybe(st.sampled_from(MACS)),
            "ipConfigurations": children("abc", CONFIGS),
            "securityTags": TAGS,
        }
    ),
    "macPools": st.just(
        {"startMacAddress": "02-00-00-00-00-01", "endMacAddress": "02-00-00-00-00-04"}
    ),
    "accessControlLists": st.fixed_dictionaries(
        {"securityTags": TAGS, "aclRules": children("xy", RULES)}
    ),
    "accessControlLists/aclRules": RULES,
    "securityTags": st.fixed_dictionaries({"accessControlList": LISTS}),
    "virtualNetworks/subnets": SUBNETS,
    "logicalNetworks/subnets": LOGICAL_SUBNETS,
    "logicalNetworks/subnets/ipPools": POOLS,
    "networkInterfaces/ipConfigurations": CONFIGS,
}
IDS = {
    "accessControlLists": SETS,
    "aclRules": "xy",
    "securityTags": GROUPS,
    "logicalNetworks": "LM",
    "virtualNetworks": "vw",
    "networkInterfaces": ("1", "1 in DB", "{1} (Web)"),
    "macPools": "P",
    "subnets": "stu",
    "ipPools": "pq",
    "ipConfigurations": "abc",
}


@st.composite
def requests(draw: st.DrawFn) -> Request:
    kind = draw(st.sampled_from(sorted(PROPERTIES)))
    path = "".join(f"/{c}/{draw(st.sampled_from(IDS[c]))}" for c in kind.split("/"))
    if draw(st.integers(0, 3)) == 0:
        return Delete(path=path)
    return Put(path=path, body={"properties": draw(PROPERTIES[kind])})


def ground() -> Cloud:
    cloud = Cloud()
    cloud.put(
        "/macPools/P",
        {"startMacAddress": "02-00-00-00-00-01", "endMacAddress": "02-00-00-00-00-04"},
    )
    subnet = child(
        "s",
        addressPrefix="10.0.0.0/28",
        ipPools=[child("p", startIpAddress="10.0.0.1", endIpAddress="10.0.0.5")],
    )
    cloud.put("/logicalNetworks/L", {"networkVirtualizationEnabled": True, "subnets": [subnet]})
    cloud.put(
        "/virtualNetworks/v",
        {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/8", "fd00::/48"]},
            "logicalNetwork": ref("/logicalNetworks/L"),
            "subnets": [
                child("s", addressPrefix="10.0.0.0/29"),
                child("t", addressPrefix="10.0.1.0/30"),
                child("u", addressPrefix="fd00::/126", dualStackSubnet=ref(V_S)),
            ],
        },
    )
    for rule_set, group in zip(SETS, GROUPS, strict=True):
        cloud.put(f"/accessControlLists/{rule_set}")
        cloud.put(f"/securityTags/{group}")
    return cloud


def planned(cloud: Cloud, request: Request) -> Plan | None:
    try:
        if isinstance(request, Put):
            return plan_put(cloud.store, cloud.ids, request.path, request.body)
        return plan_delete(cloud.store, cloud.ids, request.path)
    except IsthmusError as error:
        assert error.status in (400, 404, 409, 412), error
        return None


def check(cloud: Cloud) -> None:
    """The invariants, over everything stored. That allocations are unique is checked by
    `MemoryStore.apply`."""
    rows = cloud.store.rows
    for row in rows.values():
        assert row.parent is None or row.parent in rows
        for key in row.requires:
            assert key in rows, f"{row.key} requires {key}"
    for row in rows.values():
        if row.kind == "networkInterfaces/ipConfigurations":
            _check_address(cloud, row)
        if row.kind in ("virtualNetworks", "logicalNetworks"):
            _check_prefixes(cloud, row)
        if row.kind == "networkInterfaces":
            _check_segment(cloud, row)
        if row.kind == "securityTags":
            _check_applied(cloud, row)


def _check_segment(cloud: Cloud, row: Stored) -> None:
    """One port on one segment, as its subnets say now."""
    found = set()
    for below in cloud.store.children(row.key, "networkInterfaces/ipConfigurations"):
        config = decode(below, IpConfiguration)
        key = key_of(config.subnet)
        if config.is_virtual:
            key = decode(cloud.store.rows[key], VirtualSubnet).segment_key(key)
        assert config.segment == key
        found.add(key)
    assert len(found) <= 1


def _check_applied(cloud: Cloud, row: Stored) -> None:
    lists = [
        other
        for other in cloud.store.collection("accessControlLists")
        if row.key in map(key_of, decode(other, AccessControlList).security_tags)
    ]
    assert len(lists) <= 1
    shown = Properties(cloud.get(row.ref))
    assert ("accessControlList" in shown) is bool(lists)


def check_logical(cloud: Cloud) -> None:
    """No list is on a logical network, where nobody would enforce it."""
    for row in cloud.store.rows.values():
        value = KINDS[row.kind].decoded(row)
        if isinstance(value, IpConfiguration) and not value.is_virtual:
            assert value.access_control_list is None
        if isinstance(value, LogicalSubnet):
            assert not any(key.startswith("/accesscontrollists/") for key in row.requires)


def _check_address(cloud: Cloud, row: Stored) -> None:
    config = decode(row, IpConfiguration)
    subnet = cloud.store.rows[key_of(config.subnet)]
    held = {a.value for a in row.allocations if a.scope == f"ip {subnet.key}"}
    if config.private_ip_address is None:
        assert config.private_ip_allocation_method == "Unmanaged"
        assert held == set()
        return
    prefix = _prefix(subnet)
    assert prefix is not None
    address = ip_address(config.private_ip_address)
    assert address in ip_network(prefix)
    assert held == {str(int(address))}


def _prefix(subnet: Stored) -> str | None:
    if subnet.kind.startswith("virtual"):
        return decode(subnet, VirtualSubnet).address_prefix
    return decode(subnet, LogicalSubnet).address_prefix


def _check_prefixes(cloud: Cloud, row: Stored) -> None:
    prefixes = list(_prefixes(cloud, row))
    for index, one in enumerate(prefixes):
        assert not any(
            one.version == other.version and one.overlaps(other) for other in prefixes[:index]
        )


def _prefixes(cloud: Cloud, row: Stored) -> Iterator[IPv4Network | IPv6Network]:
    for subnet in cloud.store.children(row.key, f"{row.kind}/subnets"):
        prefix = _prefix(subnet)
        if prefix is not None:
            yield ip_network(prefix)


@settings(deadline=None, max_examples=150)
@given(st.lists(requests(), max_size=25))
def test_any_sequence_of_requests_keeps_numbers_unique_and_references_whole(
    sequence: list[Request],
) -> None:
    cloud = ground()
    for request in sequence:
        plan = planned(cloud, request)
        if plan is not None:
            cloud.store.apply(plan)
            check(cloud)
            check_logical(cloud)


@settings(deadline=None, max_examples=100)
@given(st.lists(requests(), max_size=20))
def test_putting_back_what_was_read_changes_nothing_but_etags(sequence: list[Request]) -> None:
    cloud = ground()
    for request in sequence:
        plan = planned(cloud, request)
        if plan is not None:
            cloud.store.apply(plan)
    for key in list(cloud.store.rows):
        before = dict(cloud.store.rows)
        answer = cloud.get(key)
        cloud.put_body(key, answer)
        assert _without_etags(cloud.get(key)) == _without_etags(answer)
        assert cloud.store.rows.keys() == before.keys()
        for row in before.values():
            after = cloud.store.rows[row.key]
            assert (after.instance_id, after.properties, after.allocations, after.requires) == (
                row.instance_id,
                row.properties,
                row.allocations,
                row.requires,
            )
            assert after.ref == row.ref


def _without_etags(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_etags(inner) for key, inner in value.items() if key != "etag"}
    if isinstance(value, list):
        return [_without_etags(inner) for inner in value]
    return value


@settings(deadline=None, max_examples=100)
@given(st.lists(requests(), max_size=15))
def test_a_batch_is_its_requests_one_after_the_other(sequence: list[Request]) -> None:
    one_by_one, at_once = ground(), ground()
    done = []
    for request in sequence:
        plan = planned(one_by_one, request)
        if plan is not None:
            one_by_one.store.apply(plan)
            done.append(request)
    plan = plan_batch(at_once.store, at_once.ids, done)
    at_once.store.apply(plan)
    check(at_once)
    assert at_once.store.rows.keys() == one_by_one.store.rows.keys()
    assert len(plan.outcomes) == len(done)
    for key, row in at_once.store.rows.items():
        other = one_by_one.store.rows[key]
        assert (row.ref, row.parent, row.position) == (other.ref, other.parent, other.position)


@settings(deadline=None, max_examples=60)
@given(st.lists(requests(), max_size=12), requests(), requests())
def test_of_two_plans_from_one_picture_both_hold_or_the_second_is_refused(
    sequence: list[Request], one: Request, other: Request
) -> None:
    cloud = ground()
    for request in sequence:
        plan = planned(cloud, request)
        if plan is not None:
            cloud.store.apply(plan)
    first, second = planned(cloud, one), planned(cloud, other)
    if first is None or second is None:
        return
    cloud.store.apply(first)
    try:
        cloud.store.apply(second)
    except IsthmusError as error:
        assert error.status in (409, 503)
    check(cloud)


@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(sorted(KINDS)), body=BODIES, properties=BODIES)
def test_whatever_is_put_is_planned_or_refused_and_nothing_else(
    kind: str, body: Json, properties: Json
) -> None:
    cloud = ground()
    cloud.put("/networkInterfaces/1")
    cloud.put("/servers/1")
    parents = {"virtualNetworks": "v", "logicalNetworks": "L", "subnets": "s"}
    path = "".join(f"/{c}/{parents.get(c, '1')}" for c in kind.split("/"))
    if KINDS[kind].singleton:
        path = f"/{kind}/{KINDS[kind].singleton}"
    for sent in (body, {"properties": properties}):
        plan = planned(cloud, Put(path=path, body=sent))
        if plan is not None:
            cloud.store.apply(plan)
            check(cloud)
            cloud.get(path)
