# SPDX-License-Identifier: Apache-2.0
"""virtualNetworkPeerings: two virtual networks that reach each other (MS-NCNBI section B.17).

Each side has a peering of its own; packets pass when both exist and both allow access. It is not
transitive, and address spaces must not overlap. Lists of rules go on to hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from isthmus.errors import Conflict, Invalid
from isthmus.intent.addressing import space
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, Rules, decode, encode, internal, kept
from isthmus.intent.kind import Computed, Kind
from isthmus.intent.kinds.address_spaces import prefixes_of
from isthmus.intent.model import Json, Stored, View
from isthmus.intent.references import Reference, key_of
from isthmus.intent.resource import Resource
from isthmus.intent.versions import V3

NAME = "virtualNetworks/virtualNetworkPeerings"


class VirtualNetworkPeering(Resource, frozen=True, kw_only=True):
    """One side of a peering."""

    remote_virtual_network: Annotated[
        str,
        Reference(("virtualNetworks",), requires=False),
        Field(
            "The other network; not this one, and no other peering's.",
            Rules(
                required="RemoteVirtualNetworkNotSpecified",
                immutable="ChangingRemoteVirtualNetworkNotAllowed",
            ),
        ),
    ]
    allow_virtual_network_access: Annotated[
        bool, Field("Whether the two reach each other; both sides must allow it.")
    ] = True
    allow_forwarded_traffic: Annotated[
        bool,
        kept(
            "Whatever it says, what a guest sends from its own addresses and its allowed address"
            " pairs crosses a peering."
        ),
    ] = False
    allow_gateway_transit: Annotated[bool, kept("There are no gateways.")] = False
    use_remote_gateways: Annotated[bool, Field("Only false: no network has gateways yet.")] = False
    remote_instance: Annotated[str, internal("instanceId of the network that was meant.")] = ""
    met: Annotated[bool, internal("Whether the other side has had its peering.")] = False

    def settled(self, draft: Draft) -> VirtualNetworkPeering:
        target = draft.at("remote_virtual_network")
        if self.use_remote_gateways and self.allow_gateway_transit:
            raise Invalid(
                "useRemoteGateways and allowGatewayTransit exclude each other.",
                code="UseRemoteAndAllowTransitCannotBeTrue",
                target=draft.at("use_remote_gateways"),
            )
        if self.use_remote_gateways:
            raise Invalid(
                f"{self.remote_virtual_network} has no gateways.",
                code="RemoteVnetHasNoGateways",
                target=draft.at("use_remote_gateways"),
            )
        remote = draft.read(key_of(self.remote_virtual_network))
        parent = draft.parent or ""
        if key_of(self.remote_virtual_network) == parent:
            raise Invalid(
                "A network cannot be peered with itself.",
                code="PeeringRemoteVnetIsSameAsParentVnet",
                target=target,
            )
        before = draft.before(VirtualNetworkPeering)
        if remote is None:
            if self != before:
                raise Conflict(
                    f"{self.remote_virtual_network} has gone, and with it what this peering could"
                    " be: delete it.",
                    code="CannotUpdateDisconnectedPeeringWithNullRemoteVnet",
                    target=target,
                )
            return self
        if before is not None and before.remote_instance not in ("", remote.instance_id):
            raise Conflict(
                f"{self.remote_virtual_network} was deleted and made anew since: delete this"
                " peering, and make it anew too.",
                code="RemotePeeringIsStaleBecauseVnetWasRecreated",
                target=target,
            )
        self._check_siblings(draft, remote, parent)
        own = draft.read(parent)
        assert own is not None, "a child is written after its parent"
        other = _towards(own, draft.children(remote.key, NAME))
        if other is not None and not decode(other, VirtualNetworkPeering).met:
            draft.read(other.key)
            known = msgspec.structs.replace(decode(other, VirtualNetworkPeering), met=True)
            draft.amend(msgspec.structs.replace(other, properties=encode(known)))
        return msgspec.structs.replace(
            self, remote_instance=remote.instance_id, met=self.met or other is not None
        )

    def _check_siblings(self, draft: Draft, remote: Stored, parent: str) -> None:
        target = draft.at("remote_virtual_network")
        own = draft.read(parent)
        assert own is not None, "a child is written after its parent"
        if _overlap(prefixes_of(own), prefixes_of(remote)):
            raise Conflict(
                f"The address spaces of {own.ref} and {remote.ref} overlap.",
                code="VnetAddressSpacesOverlap",
                target=target,
            )
        for row in draft.children(parent, NAME):
            if row.key == draft.key:
                continue
            other = decode(row, VirtualNetworkPeering)
            if key_of(other.remote_virtual_network) == remote.key:
                raise Conflict(
                    f"{row.ref} is a peering with {remote.ref} already.",
                    code="AnotherPeeringAlreadyReferencesRemoteVnet",
                    target=target,
                )
            peer = draft.read(key_of(other.remote_virtual_network))
            if peer is not None and _overlap(prefixes_of(peer), prefixes_of(remote)):
                raise Conflict(
                    f"The address space of {remote.ref} overlaps that of {peer.ref}, which this"
                    " network is peered with.",
                    code="VnetAddressSpaceOverlapsWithAlreadyPeeredVnet",
                    target=target,
                )


def _towards(network: Stored, peerings: Iterable[Stored]) -> Stored | None:
    """The one of `peerings` with `network` itself, not with another that had its name."""
    for row in peerings:
        peering = decode(row, VirtualNetworkPeering)
        meant = peering.remote_instance in ("", network.instance_id)
        if key_of(peering.remote_virtual_network) == network.key and meant:
            return row
    return None


def _overlap(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    others = [space(text) for text in theirs]
    return any(
        one.family == other.family and one.network <= other.last and other.network <= one.last
        for one in map(space, ours)
        for other in others
    )


def _remote(stored: Stored, view: View) -> Stored | None:
    peering = decode(stored, VirtualNetworkPeering)
    remote = view.get(key_of(peering.remote_virtual_network))
    if remote is None or peering.remote_instance not in ("", remote.instance_id):
        return None
    return remote


def _state(stored: Stored, view: View) -> Json:
    remote = _remote(stored, view)
    if remote is None:
        return "Disconnected"
    network = view.get(stored.parent or "")
    if network is not None and _towards(network, view.children(remote.key, NAME)) is not None:
        return "Connected"
    return "Disconnected" if decode(stored, VirtualNetworkPeering).met else "Initiated"


def _address_space(stored: Stored, view: View) -> Json:
    remote = _remote(stored, view)
    prefixes: list[Json] = [] if remote is None else [*prefixes_of(remote)]
    return {"addressPrefixes": prefixes}


KIND = Kind(
    name=NAME,
    model=VirtualNetworkPeering,
    since=V3,
    computed=(
        Computed(
            "peeringState",
            _state,
            {
                "type": "string",
                "enum": ["Initiated", "Connected", "Disconnected", "Disconnecting"],
            },
            "Connected when both sides exist, Disconnected when the other one has gone.",
        ),
        Computed(
            "remoteAddressSpace",
            _address_space,
            {
                "type": "object",
                "properties": {"addressPrefixes": {"type": "array", "items": {"type": "string"}}},
            },
            "The other network's.",
        ),
    ),
)
