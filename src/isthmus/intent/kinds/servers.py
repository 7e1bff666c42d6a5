# SPDX-License-Identifier: Apache-2.0
"""servers and their physical networkInterfaces: the hosts (MS-NCNBI section B.13).

The resourceId is the host's id, the one that ``isthmus agent --host`` names. The specification
demands `connections`, by which Microsoft's controller reaches a host; agents of ours connect by
themselves, so it is optional here.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from isthmus.errors import Invalid
from isthmus.intent.address_values import IpAddress
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, Part, Rules, kept, required
from isthmus.intent.kind import BackReference, Kind, Located
from isthmus.intent.kinds.credentials import CredentialType
from isthmus.intent.references import Reference
from isthmus.intent.resource import Resource
from isthmus.intent.values import Boolean, Integer
from isthmus.intent.versions import V2, V3


class Auditing(enum.StrEnum):
    """What a host writes audit files of."""

    FIREWALL = "Firewall"
    DISABLED = "Disabled"


class Connection(Part, frozen=True, kw_only=True):
    """One way to reach a host."""

    management_addresses: Annotated[
        tuple[str, ...], required("Names or addresses of the host, at least one.")
    ]
    credential: Annotated[str, Reference(("credentials",)), required("What to prove oneself with.")]
    credential_type: Annotated[CredentialType, required("The type of that credential.")]
    port: Annotated[int | None, Integer(1, 65535), Field("TCP port, if not the usual one.")] = None


class HostAddress(Part, frozen=True, kw_only=True):
    """An address of a physical interface."""

    ip_address: Annotated[str | None, IpAddress(), Field("The address.")] = None
    network_prefix: Annotated[str | None, Field("Its network, in CIDR notation.")] = None
    default_gateway: Annotated[str | None, Field("Default gateway on that network.")] = None
    is_dhcp_enabled: Annotated[
        bool | None, Boolean(as_text=True), Field("Whether DHCP gives it.")
    ] = None


class PhysicalInterface(Resource, frozen=True, kw_only=True):
    """A physical interface of a host, or its virtual switch as one (SDNExpress)."""

    interface_name: Annotated[str | None, kept("Name on the host.")] = None
    interface_index: Annotated[str | None, kept("Index on the host.")] = None
    interface_speed: Annotated[str | None, kept("Speed, bits per second.")] = None
    mac: Annotated[str | None, kept("MAC address.")] = None
    vlan_ids: Annotated[tuple[str, ...], kept("VLANs that it carries.")] = ()
    is_bmc: Annotated[
        bool,
        Boolean(as_text=True),
        kept("Whether it leads to the management controller of the machine."),
    ] = msgspec.field(default=False, name="isBMC")
    admin_status: Annotated[str | None, kept("Administrative status.")] = None
    operational_status: Annotated[str | None, kept("Operational status.")] = None
    ip_configuration: Annotated[tuple[HostAddress, ...], kept("Its addresses.")] = ()
    logical_subnets: Annotated[
        tuple[Annotated[str, Reference(("logicalNetworks/subnets",))], ...],
        kept(
            "Logical subnets that it is attached to. Agents of ours choose their provider address"
            " themselves."
        ),
    ] = ()


class Server(Resource, frozen=True, kw_only=True):
    """A host that carries virtual machines."""

    connections: Annotated[
        tuple[Connection, ...],
        kept("How Microsoft's controller reaches the host. Our agents connect by themselves."),
    ] = ()
    certificate: Annotated[
        str | None,
        kept(
            "Certificate of the host, DER in base64. Agents of ours are known by the name in"
            " theirs."
        ),
    ] = None
    rack_slot: Annotated[str | None, kept("Where it stands.")] = None
    os: Annotated[str | None, kept("Operating system.")] = None
    model: Annotated[str | None, kept("Model.")] = None
    vendor: Annotated[str | None, kept("Vendor.")] = None
    serial: Annotated[str | None, kept("Serial number.")] = None
    auditing_enabled: Annotated[
        tuple[Auditing, ...],
        Field("What is audited; only Disabled is offered.", Rules(since=V3)),
    ] = ()

    def settled(self, draft: Draft) -> Server:
        for index, connection in enumerate(self.connections):
            if not connection.management_addresses:
                raise Invalid(
                    "A connection needs at least one management address.",
                    code="RequiredParamMissing",
                    target=f"{draft.at('connections')}[{index}].managementAddresses",
                )
        if Auditing.FIREWALL in self.auditing_enabled:
            raise Invalid(
                "This controller audits no firewalls: send Disabled or leave auditingEnabled out.",
                code="OperationNotSupported",
                target=draft.at("auditing_enabled"),
            )
        return self


KIND = Kind(
    name="servers",
    model=Server,
    in_use_code="InUseServerCannotBeDeleted",
    has_state=True,
    located=Located(
        "virtualNetworkInterfaces", True, "Network interfaces whose port is on its switch.", V2
    ),
    back_references=(
        BackReference("virtualServers", (), "Virtual servers on it."),
        BackReference("virtualSwitches", (), "Virtual switches on it."),
    ),
    children=(Kind(name="servers/networkInterfaces", model=PhysicalInterface),),
)
