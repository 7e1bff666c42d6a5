# SPDX-License-Identifier: Apache-2.0
"""The subnets of virtualNetworks (MS-NCNBI section B.17). Each is a segment with a VSID of its own,
unless it is the IPv6 half of a pair, which is on its partner's segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from isthmus.errors import Conflict, Invalid
from isthmus.intent.address_values import IpPrefix
from isthmus.intent.addressing import prefix, space
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import (
    Access,
    Field,
    Rules,
    internal,
    required,
)
from isthmus.intent.kind import BackReference, Kind
from isthmus.intent.kinds import virtual_network_manager
from isthmus.intent.kinds.access_control_lists import ACL
from isthmus.intent.kinds.address_spaces import prefixes_of
from isthmus.intent.kinds.routes import Route, check_routes
from isthmus.intent.references import Reference, key_of
from isthmus.intent.refusals import NotOffered
from isthmus.intent.resource import Member, Resource
from isthmus.intent.specs import Nested
from isthmus.intent.values import Integer, Many
from isthmus.intent.versions import V2, V3, V5

LONGEST_SUBNET = {4: 30, 6: 126}
"""Prefix length of the smallest virtual subnet: the distributed router and one guest."""

RESTRICTED = tuple(
    space(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/8", "fe80::/10", "ff00::/8"),
    )
)
"""Addresses that mean something else to every guest (RFC 6890, RFC 4291): this network, loopback,
link-local (where metadata and DNS will be), multicast, reserved."""

MANY_ROUTES = Many(Nested(Route), limit=25, code="RouteCountLimitReached")
"""At most nine bytes each, so that they and a default route fit into one DHCP option of 255 bytes
(RFC 3442)."""


class VirtualSubnet(Resource, frozen=True, kw_only=True):
    """One segment of a virtual network. Its lowest address is the distributed router's."""

    address_prefix: Annotated[
        str,
        IpPrefix(),
        required(
            "Its prefix, inside the address space; IPv4, /30 or larger, or IPv6, /126 or larger. It"
            " cannot change while in use."
        ),
    ]
    routes: Annotated[
        tuple[Route, ...],
        MANY_ROUTES,
        Field(
            "Routes that DHCP gives to guests of an IPv4 subnet beside the default route (RFC"
            " 3442).",
            Rules(extension="subnetHostRoutes"),
        ),
    ] = ()
    access_control_list: Annotated[
        str | None, ACL, Field("The access control list that everything in it is under.")
    ] = None
    route_table: Annotated[None, NotOffered("route tables"), Field("Not offered.")] = None
    service_insertion: Annotated[None, NotOffered("service insertion"), Field("Not offered.")] = (
        None
    )
    dual_stack_subnet: Annotated[
        str | None,
        Reference(("virtualNetworks/subnets",)),
        Field(
            "The subnet of the other address family on the same segment: the IPv6 subnet names the"
            " IPv4 one, which may name it back. It cannot change while in use.",
            Rules(since=V3),
        ),
    ] = None
    encryption_enabled: Annotated[
        None,
        NotOffered("encrypted subnets", or_false=True),
        Field("Not offered; false is taken."),
    ] = None
    joined: Annotated[
        str,
        internal("Key of the IPv4 subnet whose segment it has joined without saying so."),
    ] = ""
    virtual_subnet_id: Annotated[
        int,
        Integer(as_text=True),
        Field(
            "The VSID: VXLAN network identifier and NVGRE tenant network identifier in one.",
            Rules(access=Access.READ_ONLY, since=V2),
        ),
    ] = 0

    def segment_key(self, key: str) -> str:
        """Key of the subnet that its segment is called after; `key` is its own. A dual-stack pair
        is the IPv4 subnet's segment, and so are two that interfaces have joined (`segments`)."""
        partner = self.dual_stack_subnet or self.joined
        if not partner or prefix(self.address_prefix).version == 4:
            return key
        return key_of(partner)

    def settled(self, draft: Draft) -> VirtualSubnet:
        if self.joined and (self.dual_stack_subnet or draft.get(self.joined) is None):
            self = msgspec.structs.replace(self, joined="")
        before = draft.before(VirtualSubnet)
        if before is not None and before.address_prefix != self.address_prefix:
            rule = "Its prefix cannot change."
            draft.replace_unless_used("InUseSubnetCannotBeUpdated", "address_prefix", rule)
        if before is not None and before.segment_key(draft.key) != self.segment_key(draft.key):
            rule = "Its partner cannot change."
            draft.replace_unless_used("InUseSubnetCannotBeUpdated", "dual_stack_subnet", rule)
        self._check_prefix(draft)
        partner = self.dual_stack_subnet
        if partner is not None and key_of(partner).rsplit("/", 2)[0] != draft.parent:
            rule = "is not in the same virtual network"
            raise _no_pair(partner, rule, draft.at("dual_stack_subnet"))
        self._check_routes(draft)
        vsid = self.virtual_subnet_id or _new_vsid(draft)
        draft.allocate("vsid", vsid)
        return msgspec.structs.replace(self, virtual_subnet_id=vsid)

    def _check_routes(self, draft: Draft) -> None:
        if self.routes and prefix(self.address_prefix).version == 6:
            raise Invalid(
                f"DHCP gives routes to guests, and there is none in {self.address_prefix}: leave"
                " them out.",
                code="OperationNotSupported",
                target=draft.at("routes"),
            )
        path = draft.at("routes")
        listed = ((f"{path}[{index}].", route) for index, route in enumerate(self.routes))
        check_routes(listed, self.address_prefix)

    def _check_prefix(self, draft: Draft) -> None:
        own, target = prefix(self.address_prefix), draft.at("address_prefix")
        longest = LONGEST_SUBNET[own.version]
        if own.prefixlen > longest:
            raise Invalid(
                f"{own} is too small: the router and one guest need a /{longest}.",
                code="InvalidIPPrefix",
                target=target,
            )
        mine = space(self.address_prefix)
        if any(
            s.family == mine.family and s.network <= mine.last and mine.network <= s.last
            for s in RESTRICTED
        ):
            raise Invalid(
                f"{own} holds addresses that guests cannot use: loopback, link-local, multicast or"
                " reserved ones.",
                code="AddressPrefixInRestrictedAddressSpace",
                target=target,
            )
        parent = draft.read(draft.parent or "")
        assert parent is not None, "a child is written after its parent"
        prefixes = prefixes_of(parent)
        if not any(
            s.family == mine.family and s.network <= mine.network and mine.last <= s.last
            for s in map(space, prefixes)
        ):
            raise Invalid(
                f"{own} is outside the virtual network's address space {', '.join(prefixes)}.",
                code="InvalidIPPrefix",
                target=target,
            )


def _new_vsid(draft: Draft) -> int:
    first, last = virtual_network_manager.vsid_range(draft.read(virtual_network_manager.KEY))
    vsid = draft.free("vsid", ((first, last),))
    if vsid is None:
        raise Conflict(
            f"All virtual subnet ids from {first} to {last} are in use: widen virtualSubnetIdRange"
            " of"
            " /virtualNetworkManager/configuration.",
            code="InvalidVsidRangeValues",
            target=draft.ref,
        )
    return vsid


def check_pairs(children: Sequence[Member]) -> None:
    """dualStackSubnet: an IPv6 subnet names an IPv4 one of its network, which no other names."""
    subnets = {
        member.resource_id.lower(): (member, member.value)
        for member in children
        if isinstance(member.value, VirtualSubnet)
    }
    partner: dict[str, str] = {}
    for name, (member, subnet) in subnets.items():
        if subnet.dual_stack_subnet is None:
            continue
        other = key_of(subnet.dual_stack_subnet).rpartition("/")[2]
        its = subnets.get(other, (None, None))[1]
        if its is None:
            continue  # of another network: `VirtualSubnet.settled` refuses it
        if prefix(its.address_prefix).version == prefix(subnet.address_prefix).version:
            rule = "is of the same address family"
        elif partner.setdefault(other, name) != name:
            rule = f"is the partner of {partner[other]} already"
        elif prefix(subnet.address_prefix).version == 4 and (
            its.dual_stack_subnet is None
            or key_of(its.dual_stack_subnet).rpartition("/")[2] != name
        ):
            rule = "does not name this one: let the IPv6 subnet name the IPv4 one"
        else:
            continue
        raise _no_pair(subnet.dual_stack_subnet, rule, member.at("dual_stack_subnet"))


def _no_pair(partner: str, rule: str, target: str) -> Invalid:
    return Invalid(
        f"{partner} {rule}. A dual-stack pair is one IPv4 and one IPv6 subnet of one network.",
        code="InvalidSubnet",
        target=target,
    )


KIND = Kind(
    name="virtualNetworks/subnets",
    model=VirtualSubnet,
    in_use_code="InUseSubnetCannotBeDeleted",
    back_references=(
        BackReference(
            "ipConfigurations",
            ("networkInterfaces/ipConfigurations",),
            "Addresses of network interfaces in it.",
            by="subnet",
        ),
        BackReference("learnedIpAddresses", (), "Learned addresses in it.", V5),
    ),
)
