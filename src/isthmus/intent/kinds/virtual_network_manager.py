# SPDX-License-Identifier: Apache-2.0
"""virtualNetworkManager/configuration: what holds for all virtual networks (MS-NCNBI section B.18).

A singleton: it exists with defaults before it is first written.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated

from isthmus.errors import Invalid
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import MISSING, Field, Part, Rules, decode, required
from isthmus.intent.kind import Kind
from isthmus.intent.model import Json, Stored
from isthmus.intent.resource import Resource
from isthmus.intent.specs import Nested
from isthmus.intent.values import Choice, Integer
from isthmus.intent.versions import V2

KEY = "/virtualnetworkmanager/configuration"

LOWEST_VSID, HIGHEST_VSID = 4096, 2**24 - 1
DEFAULT_LAST_VSID = 2**24 - 2
"""HNV's own limit: RFC 7637 section 3.2 reserves 0xFFFFFF."""

_VALUES, _FORMAT = "InvalidVsidRangeValues", "InvalidVsidRangeFormat"


class Protocol(enum.StrEnum):
    """How packets of virtual networks are encapsulated."""

    VXLAN = "VXLAN"
    NVGRE = "NVGRE"


class RouterState(enum.StrEnum):
    """The distributed router cannot be turned off (the schema has no other value)."""

    ENABLED = "Enabled"


class VsidRange(Part, frozen=True, kw_only=True):
    """Inclusive range of virtual subnet ids."""

    start_id: Annotated[
        int, Integer(LOWEST_VSID, HIGHEST_VSID, code=_VALUES), required("First id.", _FORMAT)
    ]
    end_id: Annotated[
        int, Integer(LOWEST_VSID, HIGHEST_VSID, code=_VALUES), required("Last id.", _FORMAT)
    ]


DEFAULT_RANGE = VsidRange(start_id=LOWEST_VSID, end_id=DEFAULT_LAST_VSID)


@dataclass(frozen=True, slots=True)
class _RangeType(Nested):
    """The range has codes of its own for what is malformed and what is out of bounds."""

    def read(self, value: Json) -> Part:
        try:
            return Nested.read(self, value)
        except Invalid as error:
            if error.code in ("InvalidRequestFormat", MISSING):
                error.code = _FORMAT
            raise


class VirtualNetworkManager(Resource, frozen=True, kw_only=True):
    """Settings of all virtual networks."""

    network_virtualization_protocol: Annotated[
        Protocol,
        Field(
            "Only VXLAN: each pair of hosts uses the encapsulation that the hosts themselves prefer"
            " of those that both speak, NVGRE too."
        ),
    ] = Protocol.VXLAN
    distributed_router_state: Annotated[
        RouterState,
        Choice(RouterState, aliases=(("enable", "Enabled"),)),
        Field("Always Enabled: routing between subnets is done on every host."),
    ] = RouterState.ENABLED
    virtual_subnet_id_range: Annotated[
        VsidRange,
        _RangeType(VsidRange),
        Field(
            "Where ids of new virtual subnets come from. Subnets that have one keep it.",
            Rules(since=V2, too_early="MinimumApiVersionNotSpecifiedForVsidRange"),
        ),
    ] = DEFAULT_RANGE
    enable_metering: Annotated[bool, Field("Only false: nothing is metered.")] = False

    def settled(self, draft: Draft) -> VirtualNetworkManager:
        chosen = self.virtual_subnet_id_range
        if chosen.start_id >= chosen.end_id:
            raise Invalid(
                f"{chosen.start_id} to {chosen.end_id} is no range: startId must be below endId.",
                code=_VALUES,
                target=draft.at("virtual_subnet_id_range"),
            )
        if self.network_virtualization_protocol is not Protocol.VXLAN:
            raise Invalid(
                f"networkVirtualizationProtocol {self.network_virtualization_protocol} would change"
                " nothing: each pair of hosts uses what both speak, as `isthmus agent"
                " --encapsulations` says on each. Leave it out.",
                code="OperationNotSupported",
                target=draft.at("network_virtualization_protocol"),
            )
        if self.enable_metering:
            raise Invalid(
                "This controller meters nothing: leave enableMetering out, or send false.",
                code="OperationNotSupported",
                target=draft.at("enable_metering"),
            )
        return self


def vsid_range(stored: Stored | None) -> tuple[int, int]:
    """The range for new virtual subnets, given the stored singleton or None before it is first
    written."""
    chosen = DEFAULT_RANGE
    if stored is not None:
        chosen = decode(stored, VirtualNetworkManager).virtual_subnet_id_range
    return chosen.start_id, chosen.end_id


KIND = Kind(
    name="virtualNetworkManager",
    model=VirtualNetworkManager,
    singleton="configuration",
)
