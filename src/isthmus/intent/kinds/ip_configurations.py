# SPDX-License-Identifier: Apache-2.0
"""The ipConfigurations of networkInterfaces: the addresses of a port (MS-NCNBI section B.11)."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from isthmus.errors import Invalid
from isthmus.intent.address_values import IpAddress
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, Rules, decode, encode, internal, required
from isthmus.intent.kind import Kind
from isthmus.intent.kinds.access_control_lists import ACL
from isthmus.intent.kinds.ip_assignment import assign
from isthmus.intent.kinds.segments import segment_beside, segment_of
from isthmus.intent.references import Reference, key_of
from isthmus.intent.refusals import NotOffered
from isthmus.intent.resource import Resource
from isthmus.intent.versions import V4, V5


class IpAllocation(enum.StrEnum):
    """Who chooses the IP address."""

    STATIC = "Static"
    DYNAMIC = "Dynamic"
    UNMANAGED = "Unmanaged"


class IpConfiguration(Resource, frozen=True, kw_only=True):
    """An address of a port."""

    subnet: Annotated[
        str,
        Reference(("virtualNetworks/subnets", "logicalNetworks/subnets")),
        required("The subnet that the address is in.", "SubnetIsRequired"),
    ]
    private_ip_address: Annotated[
        str | None,
        IpAddress("InvalidPrivateIPAddressFormat"),
        Field(
            "The address; required if Static. If Dynamic the controller chooses when the"
            " configuration is made, this one if it is free, and keeps it."
        ),
    ] = msgspec.field(default=None, name="privateIPAddress")
    private_ip_allocation_method: Annotated[
        IpAllocation | None,
        Field(
            "If left out: Static when privateIPAddress is given, else Dynamic. Unmanaged: on"
            " logical subnets of"
            " networks without virtualization only.",
            Rules(immutable="PrivateIpAllocationMethodCannotBeUpdated"),
        ),
    ] = msgspec.field(default=None, name="privateIPAllocationMethod")
    is_primary: Annotated[
        bool | None, Field("Whether this is the address that DNS knows.", Rules(since=V4))
    ] = None
    access_control_list: Annotated[
        str | None, ACL, Field("The access control list that this address is under.")
    ] = None
    public_ip_address: Annotated[None, NotOffered("public IP addresses"), Field("Not offered.")] = (
        msgspec.field(default=None, name="publicIPAddress")
    )
    load_balancer_backend_address_pools: Annotated[
        tuple[()], NotOffered("load balancers", as_list=True), Field("Not offered.")
    ] = ()
    load_balancer_inbound_nat_rules: Annotated[
        tuple[()], NotOffered("load balancers", as_list=True), Field("Not offered.")
    ] = ()
    service_insertion: Annotated[None, NotOffered("service insertion"), Field("Not offered.")] = (
        None
    )
    learned_ip: Annotated[
        None, NotOffered("learned IP addresses"), Field("Not offered.", Rules(since=V5))
    ] = None
    segment: Annotated[str, internal("Key of the subnet that the segment is called after.")] = ""

    @property
    def is_virtual(self) -> bool:
        """Whether it is in a virtual network (else in a logical one)."""
        return self.subnet.startswith("/virtualNetworks/")

    def settled(self, draft: Draft) -> IpConfiguration:
        method = self.private_ip_allocation_method
        if method is None:
            given = self.private_ip_address is not None
            method = IpAllocation.STATIC if given else IpAllocation.DYNAMIC
        before = draft.before(IpConfiguration)
        kept = None
        if before is not None and key_of(before.subnet) == key_of(self.subnet):
            kept = before.private_ip_address
        match method:
            case IpAllocation.STATIC if self.private_ip_address is None:
                raise Invalid(
                    "privateIPAddress is missing: give it, or let privateIPAllocationMethod be"
                    " Dynamic.",
                    code="PrivateIPAddressMissing",
                    target=draft.at("private_ip_address"),
                )
            case IpAllocation.STATIC:
                address = assign(draft, key_of(self.subnet), self.private_ip_address)
            case IpAllocation.DYNAMIC:
                preferred = self.private_ip_address
                address = assign(draft, key_of(self.subnet), None, kept, preferred=preferred)
            case IpAllocation.UNMANAGED:
                address = assign(draft, key_of(self.subnet), None, unmanaged=True)
        if self.access_control_list is not None and not self.is_virtual:
            raise not_enforced(self, "accessControlList", draft.at("access_control_list"))
        return msgspec.structs.replace(
            self,
            private_ip_address=address,
            private_ip_allocation_method=method,
            segment=self._segment(draft),
        )

    def _segment(self, draft: Draft) -> str:
        key = key_of(self.subnet)
        if not self.is_virtual:
            return key
        beside = [(row, decode(row, IpConfiguration)) for row in draft.siblings()]
        subnets = [key_of(config.subnet) for _, config in beside if config.is_virtual]
        segment = segment_beside(draft, key, subnets)
        for row, config in beside:
            if config.is_virtual and config.segment != segment_of(draft, key_of(config.subnet)):
                moved = msgspec.structs.replace(config, segment=segment)
                draft.amend(
                    msgspec.structs.replace(
                        row, properties=encode(moved), requires=row.requires | {segment}
                    )
                )
        return segment


def not_enforced(config: IpConfiguration, name: str, target: str) -> Invalid:
    return Invalid(
        f"{config.subnet} is in a logical network, which this controller does not carry: {name}"
        " would not be enforced there. Leave it out, or use a virtual network.",
        code="OperationNotSupported",
        target=target,
    )


KIND = Kind(
    name="networkInterfaces/ipConfigurations",
    model=IpConfiguration,
    in_use_code="NicInUse",
)
