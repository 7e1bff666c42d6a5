# SPDX-License-Identifier: Apache-2.0
"""macPools: where dynamic MAC addresses come from (MS-NCNBI section B.9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from isthmus.addresses import Mac, is_multicast_mac, mac_digits, parse_mac
from isthmus.errors import Conflict, Invalid
from isthmus.intent.address_values import MacAddress
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import MISSING, Field, Rules, decode
from isthmus.intent.kind import Computed, Kind
from isthmus.intent.model import Json, Stored, View
from isthmus.intent.resource import Resource

SCOPE = "mac"
"""Scope of the allocations: all MAC addresses of network interfaces, static and dynamic, are unique
together."""

_CODE = "InvalidMacAddressForMacPool"
_ADDRESS = MacAddress(dashes=True, code=_CODE)


class MacPool(Resource, frozen=True, kw_only=True):
    """A range of MAC addresses. It cannot be changed, and not deleted while an interface has one of
    it."""

    start_mac_address: Annotated[
        str,
        _ADDRESS,
        Field("First address of the range.", Rules(required=MISSING, immutable=_CODE)),
    ]
    end_mac_address: Annotated[
        str,
        _ADDRESS,
        Field("Last address of the range.", Rules(required=MISSING, immutable=_CODE)),
    ]

    @property
    def numbers(self) -> tuple[int, int]:
        """First and last address."""
        return parse_mac(self.start_mac_address), parse_mac(self.end_mac_address)

    def settled(self, draft: Draft) -> MacPool:
        first, last = self.numbers
        if not 0 < first <= last:
            raise Invalid(
                f"{self.start_mac_address} to {self.end_mac_address} is no range: begin above"
                " 00-00-00-00-00-00 and end at or above the beginning.",
                code=_CODE,
                target=draft.at("end_mac_address"),
            )
        # the group bit is in the first byte: where that byte changes, a range runs through group
        # addresses
        if is_multicast_mac(parse_mac(self.start_mac_address)) or first >> 40 != last >> 40:
            raise Invalid(
                f"{self.start_mac_address} to {self.end_mac_address} contains multicast addresses:"
                " choose one even"
                " first byte for both.",
                code="MacPoolContainsMulticastAddresses",
                target=draft.at("start_mac_address"),
            )
        return self


def dynamic_mac(draft: Draft, kept: str | None, given: str | None) -> str:
    """The MAC address of an interface that is given one: `kept`, which it has; else `given` where
    that is free in a pool, as of an interface that is restored; else a free one. Its pool is
    required. Raises Conflict."""
    if kept is not None:
        for key in draft.old.requires if draft.old is not None else ():
            if key.startswith("/macpools/"):
                draft.require(key)
        return kept
    pools = [(row, decode(row, MacPool).numbers) for row in draft.collection("macPools")]
    ranges = [numbers for _, numbers in pools]
    wanted = int(given or "0", 16)
    can_be_had = _in_any(wanted, ranges) and draft.holder(SCOPE, wanted) is None
    number = wanted if can_be_had else draft.free(SCOPE, ranges)
    if number is None:
        raise Conflict(
            "No macPools has a free MAC address: add one, or give a Static privateMacAddress.",
            code="PrivateMacAddressMissing",
            target=draft.at("private_mac_address"),
        )
    # the pool cannot go while it has addresses out
    draft.require(next(row.key for row, span in pools if _in_any(number, [span])))
    return mac_digits(Mac(number))


def _in_any(number: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= number <= last for first, last in ranges)


def _usage(stored: Stored, view: View) -> Json:
    first, last = decode(stored, MacPool).numbers
    return {
        "numberOfMacAddresses": last - first + 1,
        # the capital letters are the specification's
        "numberofMacAddressesAllocated": view.held(SCOPE, first, last),
    }


_COUNT: Json = {"type": "integer", "minimum": 0}

KIND = Kind(
    name="macPools",
    model=MacPool,
    computed=(
        Computed(
            "usage",
            _usage,
            {
                "type": "object",
                "properties": {
                    "numberOfMacAddresses": _COUNT,
                    "numberofMacAddressesAllocated": _COUNT,
                },
            },
            "How many addresses there are, and how many are in use.",
        ),
    ),
)
