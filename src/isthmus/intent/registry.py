# SPDX-License-Identifier: Apache-2.0
"""All kinds of resources. A new kind is a file in `isthmus.intent.kinds`, and a line here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isthmus.intent.fields import FieldSpec, Nested, fields_of
from isthmus.intent.kind import Kind
from isthmus.intent.kinds import (
    access_control_lists,
    credentials,
    logical_networks,
    mac_pools,
    network_interfaces,
    security_tags,
    servers,
    virtual_network_manager,
    virtual_networks,
)
from isthmus.intent.values import Many

ROOTS: tuple[Kind, ...] = (
    access_control_lists.KIND,
    credentials.KIND,
    logical_networks.KIND,
    mac_pools.KIND,
    network_interfaces.KIND,
    security_tags.KIND,
    servers.KIND,
    virtual_network_manager.KIND,
    virtual_networks.KIND,
)
"""The kinds that stand at the root, by name."""


def _with_children(kinds: Iterable[Kind]) -> Iterator[Kind]:
    for kind in kinds:
        yield kind
        yield from _with_children(kind.children)


KINDS: dict[str, Kind] = {kind.name: kind for kind in _with_children(ROOTS)}
"""Every kind by its name: ``virtualNetworks/subnets``."""

ROOT_BY_WORD: dict[str, Kind] = {kind.name.lower(): kind for kind in ROOTS}

OFFERED: tuple[str, ...] = tuple(kind.name for kind in ROOTS)
"""What error messages list."""


def _extensions(specs: Iterable[FieldSpec]) -> Iterator[str]:
    for spec in specs:
        inner = spec.type.item if isinstance(spec.type, Many) else spec.type
        yield spec.rules.extension
        yield inner.extension
        if isinstance(inner, Nested):
            yield from _extensions(fields_of(inner.model))


CAPABILITIES: tuple[str, ...] = tuple(
    sorted({name for kind in KINDS.values() for name in _extensions(kind.fields)} - {""})
)
"""Named extensions of the resources, as discovery lists them."""
