# SPDX-License-Identifier: Apache-2.0
"""The subnets of virtualNetworks, of one family and of both (MS-NCNBI section B.17)."""

from __future__ import annotations

import pytest

from isthmus.intent.fields import decode
from isthmus.intent.kinds.ip_configurations import IpConfiguration
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet
from isthmus.intent.model import Json
from isthmus.intent.versions import V1
from tests.intent.cloud import SUBNET, Cloud, child, interface, network, ref

AT_PREFIX = "properties.subnets[0].properties.addressPrefix"

FOUR, SIX = "/virtualNetworks/d/subnets/four", "/virtualNetworks/d/subnets/six"

AT_PARTNER = "properties.dualStackSubnet"


def vsid(cloud: Cloud, path: str = SUBNET) -> int:
    return decode(cloud.row(path), VirtualSubnet).virtual_subnet_id


@pytest.mark.parametrize(
    ("subnets", "code", "at"),
    [
        ({"a": "192.168.0.0/24"}, "InvalidIPPrefix", 0),
        ({"a": "10.0.0.0/7"}, "InvalidIPPrefix", 0),
        ({"a": "10.0.0.0/31"}, "InvalidIPPrefix", 0),
        ({"a": "fd01::/64"}, "InvalidIPPrefix", 0),
        ({"a": "fd00::/127"}, "InvalidIPPrefix", 0),
        ({"a": "fe80::/64"}, "AddressPrefixInRestrictedAddressSpace", 0),
        ({"a": "ff02::/64"}, "AddressPrefixInRestrictedAddressSpace", 0),
        ({"a": "fd00::/56", "b": "fd00::/64"}, "InvalidIPPrefix", 1),
        ({"a": "127.0.0.0/24"}, "AddressPrefixInRestrictedAddressSpace", 0),
        ({"a": "10.1.0.0/16", "b": "160.0.0.0/4"}, "AddressPrefixInRestrictedAddressSpace", 1),
        ({"a": "10.1.0.0/16", "b": "10.2.0.0/16", "c": "10.1.9.0/24"}, "InvalidIPPrefix", 2),
    ],
)
def test_a_subnet_that_breaks_a_rule_is_refused(
    cloud: Cloud, subnets: dict[str, str], code: str, at: int
) -> None:
    properties = network("10.0.0.0/8", "fd00::/48", subnets=subnets)
    error = cloud.refused("/virtualNetworks/w", properties)
    assert (error.code, error.status) == (code, 400)
    assert error.target == AT_PREFIX.replace("0", str(at))


def test_a_subnet_written_alone_obeys_the_same_rules(cloud: Cloud) -> None:
    for wrong in ("10.0.1.128/25", "10.1.0.0/24"):
        error = cloud.refused("/virtualNetworks/v/subnets/t", {"addressPrefix": wrong})
        assert (error.code, error.target) == ("InvalidIPPrefix", "properties.addressPrefix")
    assert cloud.refused("/virtualNetworks/v/subnets/t").code == "RequiredParamMissing"


def test_a_used_subnet_keeps_its_prefix_and_an_unused_one_is_replaced(cloud: Cloud) -> None:
    before = cloud.row(SUBNET)
    plan = cloud.plan(SUBNET, {"addressPrefix": "10.0.7.0/24"})
    assert [row.key for row in plan.replaces] == [before.key]
    cloud.store.apply(plan)
    assert cloud.row(SUBNET).instance_id == before.instance_id
    assert vsid(cloud) == 4096
    cloud.put("/networkInterfaces/n", interface())
    error = cloud.refused(SUBNET, {"addressPrefix": "10.0.1.0/24"})
    assert (error.code, error.status, error.target) == (
        "InUseSubnetCannotBeUpdated",
        409,
        "properties.addressPrefix",
    )
    assert "/networkInterfaces/n/ipConfigurations/ip" in error.message


def test_guests_can_be_given_routes(cloud: Cloud) -> None:
    route: Json = {"destination": "172.16.0.0/12", "nextHop": "10.0.1.9"}
    made = cloud.put(SUBNET, {"addressPrefix": "10.0.1.0/24", "routes": [route]})
    assert made["routes"] == [route]
    for wrong, code in (
        ({"destination": "172.16.0.0/12", "nextHop": "10.0.2.9"}, "InvalidNextHopIpAddress"),
        ({"destination": "172.16.0.0/12"}, "MissingNextHopIpAddress"),
        ({"destination": "172.16.0.1/33", "nextHop": "10.0.1.9"}, "InvalidRouteAddressPrefix"),
        ({"destination": "fd00::/64", "nextHop": "10.0.1.9"}, "InvalidRouteAddressPrefix"),
        ([route, route], "RouteConflict"),
        ([route] * 26, "RouteCountLimitReached"),
    ):
        properties: Json = {"addressPrefix": "10.0.1.0/24", "routes": wrong}
        assert cloud.refused(SUBNET, properties).code == code


def dual(*subnets: Json) -> dict[str, Json]:
    """Properties of a network of both families."""
    return {**network("10.0.0.0/16", "fd00::/48"), "subnets": list(subnets)}


def four(name: str = "four", prefix: str = "10.0.1.0/24", **more: Json) -> dict[str, Json]:
    return child(name, addressPrefix=prefix, **more)


def six(name: str = "six", prefix: str = "fd00:0:0:1::/64", **more: Json) -> dict[str, Json]:
    return child(name, addressPrefix=prefix, **more)


def paired(cloud: Cloud) -> None:
    """The pair `FOUR` and `SIX`; the IPv6 subnet, which comes first, names the IPv4 one."""
    cloud.put("/virtualNetworks/d", dual(six(dualStackSubnet=ref(FOUR)), four()))


def on_both(**more: Json) -> dict[str, Json]:
    configs: Json = [child("4", subnet=ref(FOUR)), child("6", subnet=ref(SIX))]
    return {"ipConfigurations": configs, **more}


def segments(cloud: Cloud, name: str) -> set[str]:
    rows = cloud.store.children(f"/networkinterfaces/{name}", "networkInterfaces/ipConfigurations")
    return {decode(row, IpConfiguration).segment for row in rows}


def test_an_ipv6_subnet_gives_addresses_from_the_fourth_on(cloud: Cloud) -> None:
    cloud.put("/virtualNetworks/w", network("FD00::/48", subnets={"a": "FD00:0:0:7::/64"}))
    path = "/virtualNetworks/w/subnets/a"
    made = [cloud.put(f"/networkInterfaces/{n}", interface(path)) for n in range(2)]
    address = ("ipConfigurations", 0, "privateIPAddress")
    assert [one[address] for one in made] == ["fd00:0:0:7::4", "fd00:0:0:7::5"]
    fixed = interface(path, privateIPAddress="FD00:0:0:7:0:0:0:9")
    assert cloud.put("/networkInterfaces/f", fixed)[address] == "fd00:0:0:7::9"
    for wrong, code in (
        ("fd00:0:0:7::", "PrivateIPAddressInReservedRange"),
        ("fd00:0:0:7::1", "PrivateIPAddressInReservedRange"),
        ("fd00:0:0:7::9", "PrivateIPAddressInUse"),
        ("fd00:0:0:8::9", "PrivateIPAddressNotInSubnet"),
        ("10.0.0.4", "PrivateIPAddressNotInSubnet"),
        ("fd00:0:0:7::9%eth0", "InvalidPrivateIPAddressFormat"),
    ):
        error = cloud.refused("/networkInterfaces/x", interface(path, privateIPAddress=wrong))
        assert error.code == code, wrong


def test_the_smallest_ipv6_subnet_gives_all_but_the_routers_addresses(cloud: Cloud) -> None:
    # RFC 4291 section 2.6.1: the lowest is every router's; there is no broadcast address
    cloud.put("/virtualNetworks/w", network("fd00::/48", subnets={"a": "fd00::/126"}))
    path = "/virtualNetworks/w/subnets/a"
    address = ("ipConfigurations", 0, "privateIPAddress")
    for name, given in (("a", "fd00::2"), ("b", "fd00::3")):
        assert cloud.put(f"/networkInterfaces/{name}", interface(path))[address] == given
        assert cloud.put(f"/networkInterfaces/{name}", interface(path))[address] == given
    assert cloud.refused("/networkInterfaces/c", interface(path)).code == "SubnetIsFull"
    cloud.delete("/networkInterfaces/b")
    cloud.put("/networkInterfaces/c", interface(path, privateIPAddress="fd00::3"))


def test_an_ipv6_subnet_obeys_the_rules_of_subnets(cloud: Cloud) -> None:
    cloud.put("/virtualNetworks/w", network("fd00::/48", subnets={"a": "fd00::/64"}))
    path = "/virtualNetworks/w/subnets/a"
    # no DHCP would give them to anybody
    route: Json = {"destination": "fd01::/48", "nextHop": "fd00::9"}
    error = cloud.refused(path, {"addressPrefix": "fd00::/64", "routes": [route]})
    assert (error.code, error.target) == ("OperationNotSupported", "properties.routes")
    cloud.put("/networkInterfaces/n", interface(path))
    error = cloud.refused(path, {"addressPrefix": "fd00:0:0:1::/64"})
    assert (error.code, error.status) == ("InUseSubnetCannotBeUpdated", 409)
    assert cloud.delete_refused(path).code == "InUseSubnetCannotBeDeleted"
    for wrong in ("fd00::/129", "fd00::", "fe80::%1/64"):
        error = cloud.refused("/virtualNetworks/w/subnets/b", {"addressPrefix": wrong})
        assert (error.code, error.target) == ("InvalidIPPrefix", "properties.addressPrefix")


def test_a_dual_stack_pair_is_one_segment(cloud: Cloud) -> None:
    paired(cloud)
    assert decode(cloud.row(SIX), VirtualSubnet).segment_key(SIX.lower()) == FOUR.lower()
    assert decode(cloud.row(FOUR), VirtualSubnet).segment_key(FOUR.lower()) == FOUR.lower()
    made = cloud.put("/networkInterfaces/n", on_both())
    assert [made["ipConfigurations", n, "privateIPAddress"] for n in range(2)] == [
        "10.0.1.4",
        "fd00:0:0:1::4",
    ]
    assert segments(cloud, "n") == {FOUR.lower()}
    cloud.put("/networkInterfaces/m", interface(SIX))
    assert segments(cloud, "m") == {FOUR.lower()}
    seen = cloud.get(SIX)["properties"]
    assert isinstance(seen, dict)
    assert seen["dualStackSubnet"] == ref(FOUR)


def test_the_ipv4_half_may_name_the_other_back(cloud: Cloud) -> None:
    subnets = (four(dualStackSubnet=ref(SIX.upper())), six(dualStackSubnet=ref(FOUR.lower())))
    cloud.put("/virtualNetworks/d", dual(*subnets))
    cloud.put("/networkInterfaces/n", on_both())
    assert segments(cloud, "n") == {FOUR.lower()}
    # each needs the other, and both go together
    for half in (FOUR, SIX):
        assert cloud.delete_refused(half).code == "InUseSubnetCannotBeDeleted"
    cloud.delete("/networkInterfaces/n")
    cloud.put("/virtualNetworks/d", dual())
    cloud.put("/virtualNetworks/d", dual(*subnets))
    assert cloud.delete("/virtualNetworks/d") == 200


def test_a_pair_is_made_of_one_subnet_after_the_other(cloud: Cloud) -> None:
    cloud.put("/virtualNetworks/d", dual(four()))
    written: dict[str, Json] = {"addressPrefix": "fd00:0:0:1::/64", "dualStackSubnet": ref(FOUR)}
    cloud.put(SIX, written)
    cloud.put(FOUR, {"addressPrefix": "10.0.1.0/24", "dualStackSubnet": ref(SIX)})
    error = cloud.refused(SIX, {"addressPrefix": "fd00:0:0:1::/64"})
    assert (error.code, error.target) == ("InUseSubnetCannotBeUpdated", AT_PARTNER)
    assert FOUR in error.message
    cloud.put(FOUR, {"addressPrefix": "10.0.1.0/24"})
    cloud.put(SIX, {"addressPrefix": "fd00:0:0:1::/64"})
    assert cloud.delete(FOUR) == 200
    assert cloud.refused(SIX, written).code == "InvalidResourceReference"


@pytest.mark.parametrize(
    ("subnets", "at", "says"),
    [
        ((six(dualStackSubnet=ref(SIX)),), 0, "same address family"),
        ((four("x", "10.0.2.0/24"), four(dualStackSubnet=ref(f"{FOUR[:-4]}x"))), 1, "same address"),
        (
            (
                four(),
                six(dualStackSubnet=ref(FOUR)),
                six("y", "fd00:0:0:2::/64", dualStackSubnet=ref(FOUR)),
            ),
            2,
            "partner of six already",
        ),
        ((four(dualStackSubnet=ref(SIX)), six()), 0, "does not name this one"),
        (
            (
                four(dualStackSubnet=ref(SIX)),
                four("x", "10.0.2.0/24"),
                six(dualStackSubnet=ref(f"{FOUR[:-4]}x")),
            ),
            0,
            "does not name this one",
        ),
        ((six(dualStackSubnet=ref(SUBNET)),), 0, "not in the same virtual network"),
        (
            (four("s"), six(dualStackSubnet=ref(SUBNET))),
            1,
            "not in the same virtual network",
        ),
    ],
)
def test_what_is_no_pair_is_refused(
    cloud: Cloud, subnets: tuple[Json, ...], at: int, says: str
) -> None:
    error = cloud.refused("/virtualNetworks/d", dual(*subnets))
    assert (error.code, error.status) == ("InvalidSubnet", 400)
    assert error.target == f"properties.subnets[{at}].{AT_PARTNER}"
    assert says in error.message


def test_a_partner_that_is_not_there_or_none_is_refused(cloud: Cloud) -> None:
    for sent, code in (
        (f"{FOUR}x", "InvalidResourceReference"),
        ("/logicalNetworks/HNVPA/subnets/four", "InvalidRequestFormat"),
        ("/virtualNetworks/d", "InvalidRequestFormat"),
    ):
        error = cloud.refused("/virtualNetworks/d", dual(four(), six(dualStackSubnet=ref(sent))))
        assert (error.code, error.target) == (code, f"properties.subnets[1].{AT_PARTNER}")


def test_the_halves_of_a_pair_hold_each_other(cloud: Cloud) -> None:
    paired(cloud)
    error = cloud.delete_refused(FOUR)
    assert (error.code, error.status) == ("InUseSubnetCannotBeDeleted", 409)
    assert SIX in error.message
    error = cloud.refused("/virtualNetworks/d", dual(six(dualStackSubnet=ref(FOUR))))
    assert error.code == "InvalidResourceReference"
    # the prefix of either may change while no interface is in it: with its network, not alone
    error = cloud.refused(FOUR, {"addressPrefix": "10.0.3.0/24"})
    assert error.code == "InUseSubnetCannotBeUpdated"
    moved = (six(prefix="fd00:0:0:3::/64", dualStackSubnet=ref(FOUR)), four(prefix="10.0.3.0/24"))
    cloud.put("/virtualNetworks/d", dual(*moved))
    assert cloud.delete(SIX) == 200
    assert cloud.delete(FOUR) == 200


def test_a_subnet_in_use_keeps_its_partner(cloud: Cloud) -> None:
    paired(cloud)
    cloud.put("/networkInterfaces/n", on_both())
    error = cloud.refused(SIX, {"addressPrefix": "fd00:0:0:1::/64"})
    assert (error.code, error.status, error.target) == (
        "InUseSubnetCannotBeUpdated",
        409,
        AT_PARTNER,
    )
    error = cloud.refused("/virtualNetworks/d", dual(four(), six()))
    assert (error.code, error.target) == (
        "InUseSubnetCannotBeUpdated",
        f"properties.subnets[1].{AT_PARTNER}",
    )
    # the same in another spelling is the same
    again: Json = {"addressPrefix": "fd00:0:0:1::/64", "dualStackSubnet": ref(FOUR.upper())}
    cloud.put(SIX, again)
    cloud.delete("/networkInterfaces/n")
    cloud.put(SIX, {"addressPrefix": "fd00:0:0:1::/64"})


def test_of_one_family_an_interface_is_on_one_subnet_only(cloud: Cloud) -> None:
    cloud.put("/virtualNetworks/d", dual(four(), four("other", "10.0.2.0/24")))
    other: Json = [child("4", subnet=ref(FOUR)), child("5", subnet=ref(f"{FOUR[:-4]}other"))]
    error = cloud.refused("/networkInterfaces/n", {"ipConfigurations": other})
    assert (error.code, error.target) == (
        "NetworkMismatch",
        "properties.ipConfigurations[1].properties.subnet",
    )


def test_an_older_client_keeps_the_partner_that_it_cannot_see(cloud: Cloud) -> None:
    paired(cloud)
    seen = cloud.get("/virtualNetworks/d", V1)
    assert "dualStackSubnet" not in str(seen)
    cloud.put_body("/virtualNetworks/d", seen, V1)
    assert decode(cloud.row(SIX), VirtualSubnet).dual_stack_subnet == FOUR


def test_whole_networks_of_pairs_may_be_put_back_and_in_any_order(cloud: Cloud) -> None:
    paired(cloud)
    cloud.put("/networkInterfaces/n", on_both())
    cloud.put_body("/virtualNetworks/d", cloud.get("/virtualNetworks/d"))
    cloud.put("/virtualNetworks/d", dual(four(), six(dualStackSubnet=ref(FOUR))))
    cloud.put_body("/networkInterfaces/n", cloud.get("/networkInterfaces/n"))
    assert segments(cloud, "n") == {FOUR.lower()}
