# SPDX-License-Identifier: Apache-2.0
"""Logical networks that carry virtual ones: physical networks, as the operator has set them up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.derive.engine import Item, Read, unit
from isthmus.derive.from_intent.family import Family, item, reader
from isthmus.derive.from_intent.names import name_of
from isthmus.intent.fields import decode
from isthmus.intent.kinds import logical_networks
from isthmus.intent.kinds.logical_networks import LogicalNetwork
from isthmus.intent.model import Stored
from isthmus.policy.rows import PhysicalNetwork


class Underlay(NamedTuple):
    """What the operator says of the physical network; one row, key `UNDERLAY`."""

    mtu_bytes: int = 1500
    transports: tuple[str, ...] = ("vxlan", "nvgre")


UNDERLAY = "underlay"


class CarrierFact(NamedTuple):
    """A logical network that carries virtual networks."""

    ref: str
    name: str


def carrier_fact(stored: Stored) -> CarrierFact | None:
    if not decode(stored, LogicalNetwork).network_virtualization_enabled:
        return None
    return CarrierFact(ref=stored.ref, name=name_of(stored))


def carrier(logical: CarrierFact, read: Read) -> Iterator[Item]:
    """Over CarrierFact: the underlay of virtual networks."""
    underlay = read.get(Underlay, UNDERLAY) or Underlay()
    yield item(
        PhysicalNetwork(
            name=logical.name,
            transports=tuple(sorted(underlay.transports)),
            mtu_bytes=underlay.mtu_bytes,
            origin=logical.ref,
        )
    )


FAMILY = Family(
    readers=(reader(logical_networks.KIND, CarrierFact, carrier_fact),),
    units=(unit(CarrierFact, carrier),),
    tables=(Underlay,),
)
