# SPDX-License-Identifier: Apache-2.0
"""portSettings of a network interface (MS-NCNBI section B.11).

Limits that are asked for and not enforced would be a lie: of those only the defaults are taken.
The hints for a host's hardware (virtual machine queues, SR-IOV) change no behaviour and are kept as
given.
"""

from __future__ import annotations

import enum
from typing import Annotated

from isthmus.errors import Invalid
from isthmus.intent.fields import Field, Part, Rules, kept
from isthmus.intent.specs import fields_of
from isthmus.intent.values import Choice, Integer, shown


class Guard(enum.StrEnum):
    """Whether a guard is on. The schema of the specification misspells Enabled."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


GUARD = Choice(Guard, aliases=(("eanbled", "Enabled"),))


class InterruptModeration(enum.StrEnum):
    """How an SR-IOV device moderates its interrupts."""

    DEFAULT = "Default"
    ADAPTIVE = "Adaptive"
    OFF = "Off"
    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"
    ON = "On"


class ReservationMode(enum.StrEnum):
    """How a reserved bandwidth is meant."""

    ABSOLUTE = "Absolute"
    WEIGHT = "Weight"


class QosSettings(Part, frozen=True, kw_only=True):
    """Bandwidth of a port, in Mbit/s; 0 is none."""

    outbound_reserved_value: Annotated[int, Field("Reserved outbound; only 0 is offered.")] = 0
    outbound_reserved_mode: Annotated[
        ReservationMode | None, kept("How a reservation would be meant.")
    ] = None
    outbound_maximum_mbps: Annotated[int, Field("Limit outbound; only 0 is offered.")] = 0
    inbound_maximum_mbps: Annotated[int, Field("Limit inbound; only 0 is offered.")] = 0
    enable_hardware_limits: Annotated[bool, Field("Limits in hardware; only false.")] = False


class PortSettings(Part, frozen=True, kw_only=True):
    """Settings of a port."""

    mac_spoofing_enabled: Annotated[
        Guard, GUARD, Field("Whether the guest may send from other MAC addresses than the port's.")
    ] = Guard.DISABLED
    arp_guard_enabled: Annotated[
        Guard,
        GUARD,
        kept("Whatever it says, forged ARP and neighbour discovery are stopped on every port."),
    ] = Guard.DISABLED
    dhcp_guard_enabled: Annotated[
        Guard, GUARD, Field("Whether the guest is kept from answering as a DHCP server.")
    ] = Guard.DISABLED
    router_guard_enabled: Annotated[
        Guard,
        GUARD,
        Field(
            "Whether the guest is kept from sending router advertisements.",
            Rules(extension="routerGuard"),
        ),
    ] = Guard.ENABLED
    storm_limit: Annotated[
        int,
        Integer(0, 1_000_000),
        Field("Broadcasts and multicasts that the guest may send in a second; 0 is no limit."),
    ] = 0
    port_flow_limit: Annotated[int, Field("Flows; only 0, no limit, is offered.")] = 0
    vmq_weight: Annotated[int, Integer(0, 100), kept("Hint: virtual machine queues.")] = 100
    iov_weight: Annotated[int, Integer(0, 100), kept("Hint: SR-IOV.")] = 0
    iov_interrupt_moderation: Annotated[
        InterruptModeration, kept("Hint: SR-IOV interrupt moderation.")
    ] = InterruptModeration.OFF
    iov_queue_pairs_requested: Annotated[
        int, Integer(0, 2**32 - 1), kept("Hint: SR-IOV queue pairs.")
    ] = 0
    qos_settings: Annotated[QosSettings | None, Field("Bandwidth.")] = None


_ENFORCED_LATER = frozenset(
    (
        "port_flow_limit",
        "outbound_reserved_value",
        "outbound_maximum_mbps",
        "inbound_maximum_mbps",
        "enable_hardware_limits",
    )
)


def check_offered(settings: PortSettings, path: str) -> None:
    """Refuse what would not be enforced. Raises Invalid."""
    _check(settings, path)
    if settings.qos_settings is not None:
        _check(settings.qos_settings, f"{path}.qosSettings")


def _check(part: Part, path: str) -> None:
    for spec in fields_of(type(part)):
        value: object = getattr(part, spec.attribute)
        if spec.attribute in _ENFORCED_LATER and value != spec.default:
            raise Invalid(
                f"{spec.wire} {shown(spec.type.write(value))} would not be enforced: this"
                " controller takes"
                f" {spec.type.write(spec.default)} only. Leave it out.",
                code="OperationNotSupported",
                target=f"{path}.{spec.wire}",
            )
