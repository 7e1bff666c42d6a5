# SPDX-License-Identifier: Apache-2.0
"""virtualNetworks: a tenant's address space and routing domain (MS-NCNBI section B.17)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from isthmus.errors import Conflict, Invalid
from isthmus.intent.address_values import IpAddress, IpPrefix
from isthmus.intent.addressing import overlapping
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import (
    MISSING,
    Field,
    Part,
    Rules,
    decode,
    internal,
    kept,
    required,
)
from isthmus.intent.kind import Kind
from isthmus.intent.kinds import peerings, virtual_subnets
from isthmus.intent.kinds.address_spaces import AddressSpace
from isthmus.intent.kinds.logical_networks import LogicalNetwork
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet, check_pairs
from isthmus.intent.references import Reference, key_of
from isthmus.intent.refusals import NotOffered
from isthmus.intent.resource import Member, Resource
from isthmus.intent.values import Many
from isthmus.intent.versions import V2

HIGHEST_RDID = 2**24 - 1
MANY_DNS_SERVERS = Many(IpAddress(), limit=9, code="DnsServerCountLimitReached")
"""MS-NCNBI section F: nine DNS servers."""


class DhcpOptions(Part, frozen=True, kw_only=True):
    """What DHCP tells guests."""

    dns_servers: Annotated[
        tuple[str, ...],
        MANY_DNS_SERVERS,
        Field("DNS servers, at most nine. Guests hear of IPv4 ones: there is no DHCP for IPv6."),
    ] = ()


class VirtualNetwork(Resource, frozen=True, kw_only=True):
    """A tenant's network: an address space of its own, and one routing domain. Other tenants may
    use the same addresses."""

    address_space: Annotated[AddressSpace, required("The prefixes of the network.")]
    logical_network: Annotated[
        str,
        Reference(("logicalNetworks",), code="InvalidLogicalNetworkReference"),
        Field(
            "The logical network that carries it; its networkVirtualizationEnabled must be True.",
            Rules(required=MISSING, immutable="InvalidLogicalNetworkReference"),
        ),
    ]
    dhcp_options: Annotated[DhcpOptions | None, Field("What DHCP tells guests.")] = None
    unbilled_address_ranges: Annotated[
        str | None,
        kept("Prefixes whose traffic is not billed, separated by commas.", since=V2),
    ] = None
    encryption_credential: Annotated[
        None, NotOffered("encrypted virtual networks"), Field("Not offered.")
    ] = None
    rdid: Annotated[int, internal("Number of the routing domain.")] = 0

    def settled(self, draft: Draft) -> VirtualNetwork:
        self._check_prefixes(draft)
        self._check_frozen(draft)
        _check_ranges(self.unbilled_address_ranges, draft)
        carrier = draft.read(key_of(self.logical_network))
        if carrier is None or not decode(carrier, LogicalNetwork).network_virtualization_enabled:
            raise Invalid(
                f"{self.logical_network} has networkVirtualizationEnabled False: virtual networks"
                " need one that"
                " has it True.",
                code="InvalidLogicalNetworkReference",
                target=draft.at("logical_network"),
            )
        rdid = self.rdid or draft.free("rdid", ((1, HIGHEST_RDID),))
        if rdid is None:
            raise Conflict(f"All {HIGHEST_RDID} routing domains are in use.", target=draft.ref)
        draft.allocate("rdid", rdid)
        return msgspec.structs.replace(self, rdid=rdid)

    def _check_prefixes(self, draft: Draft) -> None:
        prefixes = self.address_space.address_prefixes
        target = f"{draft.at('address_space')}.addressPrefixes"
        if not prefixes:
            raise Invalid(
                "An address space needs at least one prefix.", code=MISSING, target=target
            )
        clash = overlapping(prefixes)
        if clash is not None:
            other, own = clash
            raise Invalid(
                f"{prefixes[own]} overlaps {prefixes[other]}.",
                code="InvalidIPPrefix",
                target=f"{target}[{own}]",
            )

    def _check_frozen(self, draft: Draft) -> None:
        before = draft.before(VirtualNetwork)
        if before is None or before.address_space == self.address_space:
            return
        if draft.old is not None and draft.children(draft.old.key, peerings.NAME):
            raise Conflict(
                "The address space cannot change while the network is peered: delete its"
                " virtualNetworkPeerings first.",
                code="VnetAddressSpaceCannotChangeDueToPeerings",
                target=draft.at("address_space"),
            )

    def check_children(self, kind: str, children: Sequence[Member]) -> None:
        subnets = [
            (m, m.value.address_prefix) for m in children if isinstance(m.value, VirtualSubnet)
        ]
        clash = overlapping([text for _, text in subnets])
        if clash is not None:
            (other, theirs), (member, ours) = (subnets[position] for position in clash)
            raise Invalid(
                f"{ours} of {member.resource_id} overlaps {theirs} of {other.resource_id}.",
                code="InvalidIPPrefix",
                target=member.at("address_prefix"),
            )
        check_pairs(children)


def _check_ranges(ranges: str | None, draft: Draft) -> None:
    for text in ranges.split(",") if ranges else ():
        try:
            IpPrefix().read(text)
        except Invalid as error:
            raise Invalid(
                error.message,
                code="InvalidUnbilledAddressRange",
                target=draft.at("unbilled_address_ranges"),
            ) from error


KIND = Kind(
    name="virtualNetworks",
    model=VirtualNetwork,
    in_use_code="VnetInUse",
    has_state=True,
    children=(virtual_subnets.KIND, peerings.KIND),
)
