# SPDX-License-Identifier: Apache-2.0
"""The address of an ipConfiguration: is it free to be had, and which one if the controller chooses
(MS-NCNBI sections B.8, B.11 and C)."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.errors import Conflict, Invalid
from isthmus.intent.addressing import Range, Space, number_of, space, text_of, without
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import decode
from isthmus.intent.kinds.logical_networks import LogicalNetwork
from isthmus.intent.kinds.logical_subnets import IpPool, LogicalSubnet, address_scope
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet
from isthmus.intent.model import Stored

ATTRIBUTE, METHOD = "private_ip_address", "private_ip_allocation_method"


def assign(
    draft: Draft,
    subnet_key: str,
    wanted: str | None,
    kept: str | None = None,
    *,
    unmanaged: bool = False,
    preferred: str | None = None,
) -> str | None:
    """The address that the configuration holds from now on: `wanted`, else `kept`, else a free one,
    which is `preferred` where that can be had; None if `unmanaged`. The subnet's row is fenced, and
    in a logical subnet the ipPool required. Raises Invalid, Conflict."""
    subnet = draft.read(subnet_key)
    assert subnet is not None, "references were resolved before"
    if subnet.kind == "virtualNetworks/subnets":
        if unmanaged:
            raise _not_unmanaged(draft, subnet)
        whole = space(decode(subnet, VirtualSubnet).address_prefix)
        reserved = {whole.network, whole.last} - {*whole.usable} | {whole.router}
        return _take(draft, subnet, whole, reserved, whole.dynamic(), wanted or kept, preferred)
    return _in_logical_subnet(draft, subnet, wanted or kept, unmanaged, preferred)


def _in_logical_subnet(
    draft: Draft, subnet: Stored, wanted: str | None, unmanaged: bool, preferred: str | None
) -> str | None:
    if unmanaged:
        network = draft.read(subnet.parent or "")
        if network is None or decode(network, LogicalNetwork).network_virtualization_enabled:
            raise _not_unmanaged(draft, subnet)
        return None
    value = decode(subnet, LogicalSubnet)
    if value.address_prefix is None:
        raise Invalid(
            f"{subnet.ref} has no addressPrefix, so addresses in it are Unmanaged.",
            code="PrivateIpAllocationMethodMustBeUnmanaged",
            target=draft.at(METHOD),
        )
    rows = draft.children(subnet.key, "logicalNetworks/subnets/ipPools")
    pools = [(row.key, decode(row, IpPool).numbers()) for row in rows]
    reserved = value.reserved()
    ranges = without([span for _, span in pools], reserved)
    whole = space(value.address_prefix)
    address = _take(draft, subnet, whole, reserved, ranges, wanted, preferred)
    number, _ = number_of(address)
    for key, (first, last) in pools:
        if first <= number <= last:
            draft.require(key)
    return address


def _not_unmanaged(draft: Draft, subnet: Stored) -> Invalid:
    return Invalid(
        f"Addresses in {subnet.ref} are managed: Unmanaged is for logical networks that have"
        " networkVirtualizationEnabled False.",
        code="UnmanagedAllocationMethodNotSupported",
        target=draft.at(METHOD),
    )


def _take(
    draft: Draft,
    subnet: Stored,
    whole: Space,
    reserved: set[int],
    ranges: Sequence[Range],
    wanted: str | None,
    preferred: str | None,
) -> str:
    scope = address_scope(subnet.key)
    if wanted is None and preferred is not None:
        number, family = number_of(preferred)
        inside = family == whole.family and any(first <= number <= last for first, last in ranges)
        if inside and draft.holder(scope, number) is None:
            wanted = preferred
    if wanted is not None:
        number = _checked(draft, subnet, whole, reserved, wanted)
        draft.allocate(scope, number)
        return wanted
    free = draft.free(scope, ranges)
    if free is None:
        rule = "" if ranges else " Dynamic addresses of a logical subnet come from its ipPools."
        raise Conflict(
            f"{subnet.ref} has no free address left.{rule}",
            code="SubnetIsFull",
            target=draft.at(ATTRIBUTE),
        )
    draft.allocate(scope, free)
    return text_of(free, whole.family)


def _checked(draft: Draft, subnet: Stored, whole: Space, reserved: set[int], wanted: str) -> int:
    number, family = number_of(wanted)
    target = draft.at(ATTRIBUTE)
    if not whole.holds(number, family):
        raise Invalid(
            f"{wanted} is outside {subnet.ref}, which runs from"
            f" {text_of(whole.network, whole.family)} to"
            f" {text_of(whole.last, whole.family)}.",
            code="PrivateIPAddressNotInSubnet",
            target=target,
        )
    if number in reserved:
        raise Invalid(
            f"{wanted} of {subnet.ref} is reserved: the first and last address of a subnet and its"
            " router's are"
            " given to nobody.",
            code="PrivateIPAddressInReservedRange",
            target=target,
        )
    holder = draft.holder(address_scope(subnet.key), number)
    if holder is not None:
        raise Conflict(
            f"{wanted} in {subnet.ref} is the address of {holder} already.",
            code="PrivateIPAddressInUse",
            target=target,
        )
    return number
