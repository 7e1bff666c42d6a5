# SPDX-License-Identifier: Apache-2.0
"""The subnets of logicalNetworks with their ipPools and routes (MS-NCNBI section B.8)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import msgspec

from isthmus.errors import Conflict, Invalid
from isthmus.intent.address_values import IpAddress, IpPrefix
from isthmus.intent.addressing import number_of, space
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, decode, kept, required
from isthmus.intent.kind import BackReference, Computed, Kind
from isthmus.intent.kinds.routes import LogicalRoute, check_routes
from isthmus.intent.model import Json, Stored, View
from isthmus.intent.refusals import NotOffered
from isthmus.intent.resource import Member, Resource
from isthmus.intent.values import Integer


class LogicalSubnet(Resource, frozen=True, kw_only=True):
    """A subnet of the underlay: a record of its addresses, for this controller carries virtual
    networks only. Without a prefix it takes unmanaged addresses only."""

    address_prefix: Annotated[
        str | None, IpPrefix(), Field("Its prefix. It cannot change while the subnet is in use.")
    ] = None
    vlan_id: Annotated[int, Integer(0, 4095, as_text=True), kept("VLAN, 0 for untagged.")] = (
        msgspec.field(default=0, name="vlanID")
    )
    dns_servers: Annotated[
        tuple[Annotated[str, IpAddress()], ...], kept("DNS servers for hosts on it.")
    ] = ()
    default_gateways: Annotated[
        tuple[Annotated[str, IpAddress()], ...],
        Field("Routers of the subnet, inside its prefix; never given to an interface."),
    ] = ()
    is_public: Annotated[bool, kept("Whether public addresses come from it.")] = False
    access_control_list: Annotated[
        None,
        NotOffered("rules on logical networks"),
        Field("Not offered: what is not carried cannot be filtered."),
    ] = None

    def settled(self, draft: Draft) -> LogicalSubnet:
        before = draft.before(LogicalSubnet)
        if before is not None and before.address_prefix != self.address_prefix:
            rule = "Its prefix cannot change."
            draft.replace_unless_used("InUseSubnetCannotBeUpdated", "address_prefix", rule)
        if before is not None and before.vlan_id != self.vlan_id:
            draft.replace_unless_used("CannotUpdateVLanId", "vlan_id", "Its VLAN cannot change.")
        for index, gateway in enumerate(self.default_gateways):
            if self.address_prefix and not space(self.address_prefix).holds(*number_of(gateway)):
                raise Invalid(
                    f"{gateway} is outside {self.address_prefix}: a gateway must be inside.",
                    code="InvalidIPAddress",
                    target=f"{draft.at('default_gateways')}[{index}]",
                )
        return self

    def check_children(self, kind: str, children: Sequence[Member]) -> None:
        routes = [
            (f"{member.path}properties.", member.value)
            for member in children
            if isinstance(member.value, LogicalRoute)
        ]
        check_routes(routes, self.address_prefix)
        pools = []
        for member in children:
            if isinstance(member.value, IpPool):
                pools.append((*member.value.span(self, member.path), member))
        pools.sort(key=lambda pool: pool[:2])
        for one, other in pairwise(pools):
            if other[0] <= one[1]:
                raise Invalid(
                    f"The ranges of {one[2].resource_id} and {other[2].resource_id} overlap.",
                    target=other[2].at("start_ip_address"),
                )

    def reserved(self) -> set[int]:
        """Addresses that are never given out: the ends of the prefix, and the gateways."""
        if self.address_prefix is None:
            return set()
        whole = space(self.address_prefix)
        ends = {whole.network, whole.last} - {*whole.usable}
        return ends | {number_of(gateway)[0] for gateway in self.default_gateways}


class IpPool(Resource, frozen=True, kw_only=True):
    """A range from which dynamic addresses of the subnet come."""

    start_ip_address: Annotated[str, IpAddress(), required("First address.")]
    end_ip_address: Annotated[str, IpAddress(), required("Last address.")]

    def settled(self, draft: Draft) -> IpPool:
        before = draft.before(IpPool)
        if before is not None and draft.parent is not None and not draft.replacing:
            old, new, scope = before.numbers(), self.numbers(), address_scope(draft.parent)
            lost = [(old[0], min(old[1], new[0] - 1)), (max(old[0], new[1] + 1), old[1])]
            if any(first <= last and draft.held(scope, first, last) for first, last in lost):
                raise Conflict(
                    f"{draft.ref} cannot lose addresses that are in use: it now runs from"
                    f" {before.start_ip_address} to {before.end_ip_address}.",
                    code="InUseIpPoolCannotBeDeleted",
                    target=draft.at("start_ip_address"),
                )
        return self

    def numbers(self) -> tuple[int, int]:
        """First and last address."""
        return number_of(self.start_ip_address)[0], number_of(self.end_ip_address)[0]

    def span(self, subnet: LogicalSubnet, path: str) -> tuple[int, int]:
        """First and last address, checked against the subnet. Raises Invalid."""
        first, last = number_of(self.start_ip_address), number_of(self.end_ip_address)
        if first > last:
            raise Invalid(
                f"{self.start_ip_address} to {self.end_ip_address} is no range.",
                target=f"{path}properties.endIpAddress",
            )
        if subnet.address_prefix is None:
            raise Invalid(
                "A subnet without addressPrefix can have no ipPools.",
                target=f"{path}properties.startIpAddress",
            )
        whole = space(subnet.address_prefix)
        for name, end in (("startIpAddress", first), ("endIpAddress", last)):
            if not whole.holds(*end):
                raise Invalid(
                    f"{self.start_ip_address} to {self.end_ip_address} leaves"
                    f" {subnet.address_prefix}.",
                    code="InvalidIPAddress",
                    target=f"{path}properties.{name}",
                )
        return first[0], last[0]


def address_scope(subnet_key: str) -> str:
    """Scope of the allocations of a subnet's addresses, virtual or logical."""
    return f"ip {subnet_key}"


def _usage(stored: Stored, view: View) -> Json:
    first, last = decode(stored, IpPool).numbers()
    return {
        "numberOfIPAddresses": last - first + 1,
        # the capital letters are the specification's
        "numberofIPAddressesAllocated": view.held(address_scope(stored.parent or ""), first, last),
        "numberOfIPAddressesInTransition": 0,
    }


_COUNT: Json = {"type": "integer", "minimum": 0}

_POOLS = Kind(
    name="logicalNetworks/subnets/ipPools",
    model=IpPool,
    in_use_code="InUseIpPoolCannotBeDeleted",
    computed=(
        Computed(
            "usage",
            _usage,
            {
                "type": "object",
                "properties": {
                    "numberOfIPAddresses": _COUNT,
                    "numberofIPAddressesAllocated": _COUNT,
                    "numberOfIPAddressesInTransition": _COUNT,
                },
            },
            "How many addresses there are, and how many are in use. None is ever in transition.",
        ),
    ),
)

KIND = Kind(
    name="logicalNetworks/subnets",
    model=LogicalSubnet,
    in_use_code="InUseSubnetCannotBeDeleted",
    children=(_POOLS, Kind(name="logicalNetworks/subnets/routes", model=LogicalRoute)),
    back_references=(
        BackReference(
            "ipConfigurations",
            ("networkInterfaces/ipConfigurations",),
            "Addresses of network interfaces in it.",
        ),
        BackReference(
            "networkInterfaces", ("servers/networkInterfaces",), "Physical interfaces on it."
        ),
        BackReference("gatewayPools", (), "Gateway pools on it."),
        BackReference("networkConnections", (), "Network connections on it."),
    ),
)
