# SPDX-License-Identifier: Apache-2.0
"""Which segment an address of an interface is on.

An interface is one port on one segment. Two subnets of a virtual network, one of each family, are
one segment where the IPv6 one says so in `dualStackSubnet`; and, for clients of v1, which cannot
say it, where an interface has an address in each: then the IPv6 subnet joins the IPv4 one's
segment, if nobody else has an address in it yet. What is joined stays so for as long as anybody has
an address there, and each such address holds the subnet that the segment is called after.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from isthmus.intent.addressing import prefix
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import decode, encode
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet


def segment_beside(draft: Draft, key: str, beside: Sequence[str]) -> str:
    """Key of the subnet that the segment of an address in the virtual subnet `key` is called after.
    `beside` are the subnets of the interface's other addresses, with which `key` is joined where
    that can be. `draft` is the address's; the subnets are fenced."""
    own = _subnet(draft, key)
    for other in beside:
        its = _subnet(draft, other)
        if its.segment_key(other) == own.segment_key(key):
            continue
        four, six = (key, other) if _version(own) == 4 else (other, key)
        if {_version(own), _version(its)} == {4, 6} and _may_join(draft, four, six):
            _write(draft, six, four)
            own = _subnet(draft, key)
    segment = own.segment_key(key)
    if own.joined:
        draft.require(segment)
    return segment


def segment_of(draft: Draft, key: str) -> str:
    """Key of the subnet that the segment of `key` is called after now."""
    return _subnet(draft, key).segment_key(key)


def _subnet(draft: Draft, key: str) -> VirtualSubnet:
    row = draft.read(key)
    assert row is not None, "references were resolved before"
    subnet = decode(row, VirtualSubnet)
    if subnet.joined:
        partner = draft.read(subnet.joined)
        if partner is None or _version(decode(partner, VirtualSubnet)) != 4:
            # Nobody can have had an address here since, for each would have held the partner.
            return _write(draft, key, "")
    return subnet


def _may_join(draft: Draft, four: str, six: str) -> bool:
    network = four.rpartition("/subnets/")[0]
    subnet = _subnet(draft, six)
    if six.rpartition("/subnets/")[0] != network or subnet.segment_key(six) != six:
        return False
    if _is_used_by_others(draft, six):
        return False
    for row in draft.children(network, "virtualNetworks/subnets"):
        other = decode(row, VirtualSubnet)
        if row.key not in (four, six) and other.segment_key(row.key) == four:
            return False
    return True


def _is_used_by_others(draft: Draft, subnet: str) -> bool:
    return any(not key.startswith(f"{draft.parent}/") for key in draft.users_of(subnet))


def _write(draft: Draft, six: str, four: str) -> VirtualSubnet:
    """Replaced, not updated: the store refuses it should somebody else use the subnet by then."""
    row = draft.read(six)
    assert row is not None, "it was read before"
    subnet = msgspec.structs.replace(decode(row, VirtualSubnet), joined=four)
    draft.change(msgspec.structs.replace(row, properties=encode(subnet)), replacing=True)
    return subnet


def _version(subnet: VirtualSubnet) -> int:
    return prefix(subnet.address_prefix).version
