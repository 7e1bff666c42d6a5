# SPDX-License-Identifier: Apache-2.0
"""The address space of a virtual network, in which its subnets are, and which no peer of it may
overlap."""

from __future__ import annotations

from typing import Annotated

from isthmus.intent.address_values import IpPrefix
from isthmus.intent.fields import Part, decode, required
from isthmus.intent.model import Stored


class AddressSpace(Part, frozen=True, kw_only=True):
    """The prefixes that subnets are cut from."""

    address_prefixes: Annotated[
        tuple[Annotated[str, IpPrefix()], ...], required("At least one prefix, none overlapping.")
    ]


class _Addressed(Part, frozen=True, kw_only=True):
    """A virtual network, of which no more is read than its address space."""

    address_space: AddressSpace


def prefixes_of(network: Stored) -> tuple[str, ...]:
    """The prefixes of a stored virtual network."""
    return decode(network, _Addressed).address_space.address_prefixes
