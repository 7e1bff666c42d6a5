# SPDX-License-Identifier: Apache-2.0
"""All kinds of resources. A new kind is a file in `isthmus.intent.kinds`, and a line here."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
from isthmus.intent.specs import FieldSpec, Nested, fields_of
from isthmus.intent.values import Many


@dataclass(frozen=True, eq=False)
class Registry:
    """The kinds that a controller offers: `roots` and all kinds below them."""

    roots: tuple[Kind, ...]
    """The kinds that stand at the root, by name."""

    @functools.cached_property
    def kinds(self) -> dict[str, Kind]:
        """Every kind by its name: ``virtualNetworks/subnets``."""
        return {name: kind for root in self.roots for name, kind in root.tree.items()}

    @functools.cached_property
    def root_by_word(self) -> dict[str, Kind]:
        """The kinds at the root by their name in lower case."""
        return {kind.name.lower(): kind for kind in self.roots}

    @functools.cached_property
    def offered(self) -> tuple[str, ...]:
        """What error messages list."""
        return tuple(kind.name for kind in self.roots)

    @functools.cached_property
    def capabilities(self) -> tuple[str, ...]:
        """Named extensions of the resources, as discovery lists them."""
        names = {name for kind in self.kinds.values() for name in _extensions(kind.fields)}
        return tuple(sorted(names - {""}))


def _extensions(specs: Iterable[FieldSpec]) -> Iterator[str]:
    for spec in specs:
        inner = spec.type.item if isinstance(spec.type, Many) else spec.type
        yield spec.rules.extension
        yield inner.extension
        if isinstance(inner, Nested):
            yield from _extensions(fields_of(inner.model))


REGISTRY = Registry(
    (
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
)
"""What this software offers."""

ROOTS = REGISTRY.roots
KINDS = REGISTRY.kinds
CAPABILITIES = REGISTRY.capabilities
