# SPDX-License-Identifier: Apache-2.0
"""networkInterfaces and their ipConfigurations: the ports of virtual machines (MS-NCNBI section
B.11).

One interface is one port on one segment: all its ipConfigurations name the same subnet, or one of
each family of one network (`segments`). A port on several segments is several interfaces.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from isthmus.addresses import Mac, is_multicast_mac, parse_mac
from isthmus.errors import Conflict, Invalid
from isthmus.intent.address_values import MacAddress
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, Part, Rules, kept, required
from isthmus.intent.kind import Kind, Located
from isthmus.intent.kinds import ip_configurations
from isthmus.intent.kinds.acl_rules import MANY_TAGS
from isthmus.intent.kinds.ip_configurations import IpConfiguration, not_enforced
from isthmus.intent.kinds.mac_pools import SCOPE, dynamic_mac
from isthmus.intent.kinds.port_settings import Guard, PortSettings, check_offered
from isthmus.intent.kinds.virtual_networks import DhcpOptions
from isthmus.intent.references import Reference
from isthmus.intent.refusals import NotOffered
from isthmus.intent.resource import Member, Resource
from isthmus.intent.rule_values import RuleAddress
from isthmus.intent.specs import Nested
from isthmus.intent.values import Many
from isthmus.intent.versions import V5


class MacAllocation(enum.StrEnum):
    """Who chooses the MAC address."""

    STATIC = "Static"
    DYNAMIC = "Dynamic"


MOST_PAIRS = 64
"""Address pairs that one interface may have: each costs its host flows."""


class AddressPair(Part, frozen=True, kw_only=True):
    """Addresses that a guest may use beside its own."""

    ip_address: Annotated[str, RuleAddress(), required("An address, or a prefix.")]
    mac_address: Annotated[
        str | None, MacAddress(), Field("With which MAC address; the interface's if left out.")
    ] = None


class NetworkInterface(Resource, frozen=True, kw_only=True):
    """A port of a virtual machine. Hosts find it by its instanceId (or, on Linux, its resourceId
    too)."""

    private_mac_address: Annotated[
        str | None,
        MacAddress(),
        Field(
            "MAC address of the port; required if Static. If Dynamic it is given out of macPools"
            " when the interface is made, this one if it is free in one of them, and kept."
        ),
    ] = None
    private_mac_allocation_method: Annotated[
        MacAllocation | None,
        Field(
            "If left out: Static when privateMacAddress is given, else Dynamic.",
            Rules(immutable="PrivateMacAllocationMethodCannotBeUpdated"),
        ),
    ] = None
    is_host_virtual_network_interface: Annotated[
        bool,
        Field(
            "Whether it belongs to the host itself; then it cannot be in a virtual network.",
            Rules(immutable="IsHostVirtualNetworkInterfaceCannotBeUpdated"),
        ),
    ] = False
    is_primary: Annotated[
        bool,
        Field(
            "Whether it is the first interface of its machine.",
            Rules(immutable="PrimaryNicPropertyCannotBeUpdated"),
        ),
    ] = True
    is_multitenant_stack: Annotated[
        bool, kept("Whether the guest keeps several tenants apart.")
    ] = False
    internal_dns_name_label: Annotated[
        str | None, kept("Name of the machine for internal DNS, which is not offered.")
    ] = None
    dns_settings: Annotated[DhcpOptions, Field("DNS servers instead of the virtual network's.")] = (
        DhcpOptions()
    )
    port_settings: Annotated[
        PortSettings, Field("Guards, limits and hardware hints of the port.")
    ] = PortSettings()
    service_insertion_elements: Annotated[
        tuple[()], NotOffered("service insertion", as_list=True), Field("Not offered.")
    ] = ()
    security_tags: Annotated[
        tuple[str, ...],
        MANY_TAGS,
        Field("The groups that it is a member of.", Rules(since=V5)),
    ] = ()
    allowed_servers: Annotated[
        tuple[str, ...],
        Many(Reference(("servers",))),
        Field(
            "The only hosts that may have it; any if left out. A port that is given one host moves"
            " there at once.",
            Rules(extension="portLocation"),
        ),
    ] = ()
    allowed_address_pairs: Annotated[
        tuple[AddressPair, ...],
        Many(Nested(AddressPair), limit=MOST_PAIRS),
        Field(
            "Further addresses that the guest may use: shared ones (VRRP), or those behind it.",
            Rules(extension="allowedAddressPairs"),
        ),
    ] = ()

    def settled(self, draft: Draft) -> NetworkInterface:
        if self.dns_settings.dns_servers and not self.is_primary:
            raise Invalid(
                "Only an interface with isPrimary true can have DNS servers.",
                code="OnlyPrimaryNetworkInterfaceCanHaveDnsSettings",
                target=draft.at("dns_settings"),
            )
        check_offered(self.port_settings, draft.at("port_settings"))
        for index, pair in enumerate(self.allowed_address_pairs):
            mac = None if pair.mac_address is None else parse_mac(pair.mac_address)
            if mac is not None and (mac == 0 or is_multicast_mac(mac)):
                raise Invalid(
                    f"{pair.mac_address} is zero or has the group bit set: nothing comes from it.",
                    code="InvalidPrivateMacAddress",
                    target=f"{draft.at('allowed_address_pairs')}[{index}].macAddress",
                )
        method = self.private_mac_allocation_method
        if method is None:
            given = self.private_mac_address is not None
            method = MacAllocation.STATIC if given else MacAllocation.DYNAMIC
        static = method is MacAllocation.STATIC
        if static:
            address = self._static_mac(draft)
        else:
            before = draft.before(NetworkInterface)
            kept = None if before is None else before.private_mac_address
            address = dynamic_mac(draft, kept, self.private_mac_address)
        draft.allocate(SCOPE, int(address, 16))
        return msgspec.structs.replace(
            self, private_mac_address=address, private_mac_allocation_method=method
        )

    def _static_mac(self, draft: Draft) -> str:
        digits, target = self.private_mac_address, draft.at("private_mac_address")
        if digits is None:
            raise Invalid(
                "privateMacAddress is missing: give it, or let privateMacAllocationMethod be"
                " Dynamic.",
                code="PrivateMacAddressMissing",
                target=target,
            )
        number = int(digits, 16)
        if number == 0 or is_multicast_mac(Mac(number)):
            raise Invalid(
                f"{digits} is no address of one interface: it is zero or has the group bit set.",
                code="InvalidPrivateMacAddress",
                target=target,
            )
        holder = draft.holder(SCOPE, number)
        if holder is not None:
            raise Conflict(
                f"{digits} is the MAC address of {holder} already: choose another, or Dynamic.",
                code="InvalidPrivateMacAddress",
                target=target,
            )
        return digits

    def _enforced(self) -> Iterator[str]:
        """Wire names of what it asks for that is done on virtual networks only."""
        settings = self.port_settings
        asked: dict[str, object] = {
            "securityTags": self.security_tags,
            "allowedServers": self.allowed_servers,
            "allowedAddressPairs": self.allowed_address_pairs,
            "portSettings.dhcpGuardEnabled": settings.dhcp_guard_enabled is Guard.ENABLED,
            "portSettings.stormLimit": settings.storm_limit,
        }
        return (name for name, value in asked.items() if value)

    def check_children(self, kind: str, children: Sequence[Member]) -> None:
        first: IpConfiguration | None = None
        primaries = 0
        for member in children:
            config = member.value
            assert isinstance(config, IpConfiguration)
            if first is not None and config.segment != first.segment:
                raise Invalid(
                    f"{config.subnet} is not {first.subnet}, nor its dual-stack partner, nor can it"
                    " become that: an interface is one port on one segment. Use one interface for"
                    " each.",
                    code="NetworkMismatch",
                    target=member.at("subnet"),
                )
            if self.is_host_virtual_network_interface and config.is_virtual:
                raise Invalid(
                    "A host's own interface cannot be in a virtual network.",
                    code="HostVirtualNetworkInterfaceCannotConnectToVirtualNetwork",
                    target=member.at("subnet"),
                )
            if not config.is_virtual:
                for name in self._enforced():
                    raise not_enforced(config, name, member.at("subnet"))
            primaries += config.is_primary is True
            if primaries > 1:
                raise Invalid(
                    "Only one ipConfiguration of an interface can have isPrimary true.",
                    target=member.at("is_primary"),
                )
            first = first or config


KIND = Kind(
    name="networkInterfaces",
    model=NetworkInterface,
    in_use_code="NicInUse",
    has_state=True,
    located=Located("server", False, "The host on whose switch the port is."),
    children=(ip_configurations.KIND,),
)
