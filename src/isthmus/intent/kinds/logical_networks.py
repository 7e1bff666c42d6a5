# SPDX-License-Identifier: Apache-2.0
"""logicalNetworks: the underlay (MS-NCNBI section B.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from isthmus.errors import Invalid
from isthmus.intent.addressing import overlapping
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field
from isthmus.intent.kind import BackReference, Kind
from isthmus.intent.kinds import logical_subnets
from isthmus.intent.kinds.logical_subnets import LogicalSubnet
from isthmus.intent.resource import Member, Resource
from isthmus.intent.values import Boolean


class LogicalNetwork(Resource, frozen=True, kw_only=True):
    """A physical network, or a role of one."""

    network_virtualization_enabled: Annotated[
        bool,
        Boolean(as_text=True),
        Field(
            "Whether it carries virtual networks. Text on the wire: clients compare with 'True'."
        ),
    ] = False

    def settled(self, draft: Draft) -> LogicalNetwork:
        before = draft.before(LogicalNetwork)
        attribute = "network_virtualization_enabled"
        if (
            before is not None
            and before.network_virtualization_enabled
            and not self.network_virtualization_enabled
        ):
            rule = "It must stay enabled for virtual networks."
            draft.replace_unless_used("ResourceInUse", attribute, rule)
        return self

    def check_children(self, kind: str, children: Sequence[Member]) -> None:
        subnets = [
            (member, member.value) for member in children if isinstance(member.value, LogicalSubnet)
        ]
        with_prefix = [(m, s.address_prefix) for m, s in subnets if s.address_prefix is not None]
        clash = overlapping([prefix for _, prefix in with_prefix])
        if clash is not None:
            (other, theirs), (member, ours) = (with_prefix[position] for position in clash)
            raise Invalid(
                f"{ours} of {member.resource_id} overlaps {theirs} of {other.resource_id}.",
                code="InvalidIPPrefix",
                target=member.at("address_prefix"),
            )
        public_vlans: dict[int, str] = {}
        for member, subnet in subnets:
            if subnet.is_public and subnet.vlan_id:
                first = public_vlans.setdefault(subnet.vlan_id, member.resource_id)
                if first != member.resource_id:
                    raise Invalid(
                        f"VLAN {subnet.vlan_id} is that of the public subnet {first} already.",
                        code="DuplicateNonZeroVIPSubnetVLanID",
                        target=member.at("vlan_id"),
                    )


KIND = Kind(
    name="logicalNetworks",
    model=LogicalNetwork,
    children=(logical_subnets.KIND,),
    back_references=(
        BackReference("virtualNetworks", ("virtualNetworks",), "Virtual networks on it."),
    ),
)
