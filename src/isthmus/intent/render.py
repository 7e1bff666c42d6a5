# SPDX-License-Identifier: Apache-2.0
"""A stored resource as MS-NCNBI answers it (section A.5): exact spellings, children embedded, back
references.

What hosts say (configurationState, where a port is) is not intent and comes from `States`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from isthmus.intent.kind import BackReference, Kind, Located
from isthmus.intent.model import Json, JsonObject, Places, Stored, View
from isthmus.intent.references import key_of
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.specs import write_fields
from isthmus.intent.versions import LATEST, Version


class States(Places, Protocol):
    """What is known of resources beyond intent. Look-ups must be O(1) or O(result)."""

    def configuration_state(self, kind: str, instance_id: str) -> JsonObject | None:
        """``configurationState`` as in section A.9; None while no host has said anything."""
        ...


def etag_text(etag: str) -> str:
    """The wire form of an etag."""
    return f'W/"{etag}"'


def render(
    stored: Stored,
    view: View,
    *,
    version: Version = LATEST,
    states: States | None = None,
    registry: Registry = REGISTRY,
) -> dict[str, Json]:
    """The resource with all below it, ready to be encoded: what is shown as it was given is
    `msgspec.Raw`. About 10 µs a resource."""
    kind = registry.kinds[stored.kind]
    answer: dict[str, Json] = {
        "resourceRef": stored.ref,
        "resourceId": stored.resource_id,
        "etag": f'W/"{stored.etag}"',
        "instanceId": stored.instance_id,
    }
    if stored.tags != b"{}":
        answer["tags"] = msgspec.Raw(stored.tags)
    if stored.metadata != b"{}":
        answer["resourceMetadata"] = msgspec.Raw(stored.metadata)
    answer["properties"] = _properties(kind, stored, view, version, states, registry)
    return answer


def render_collection(
    rows: Iterable[Stored],
    view: View,
    *,
    version: Version = LATEST,
    states: States | None = None,
    registry: Registry = REGISTRY,
) -> dict[str, Json]:
    """A collection (section A.2): never paginated, as on Windows."""
    return {
        "value": [
            render(row, view, version=version, states=states, registry=registry) for row in rows
        ],
        "nextLink": "",
    }


def _properties(
    kind: Kind,
    stored: Stored,
    view: View,
    version: Version,
    states: States | None,
    registry: Registry,
) -> dict[str, Json]:
    projection = kind.projection(version)
    # requests are answered when they are stored, so nothing is ever Updating or Failed (section
    # A.6)
    properties: dict[str, Json] = {"provisioningState": "Succeeded"}
    properties.update(write_fields(projection.writers, kind.decoded(stored)))
    for child in kind.children_in(version):
        properties[child.collection] = [
            render(row, view, version=version, states=states, registry=registry)
            for row in view.children(stored.key, child.name)
        ]
    if projection.back_references:
        properties.update(_back_references(projection.back_references, stored.key, view, registry))
    for computed in projection.computed:
        value = computed.of(stored, view)
        if value is not None or computed.as_null:
            properties[computed.wire] = value
    if states is not None:
        properties.update(_observed(kind, stored, states, version))
    return properties


def _back_references(
    wanted: Sequence[BackReference], key: str, view: View, registry: Registry
) -> dict[str, Json]:
    refs: dict[str, list[Json]] = {back.wire: [] for back in wanted}
    by_kind = {kind: (refs[back.wire], back.by) for back in wanted for kind in back.kinds}
    if by_kind:
        for referrer in sorted(view.referrers(key)):
            row = view.get(referrer)
            if row is not None and row.kind in by_kind:
                found, by = by_kind[row.kind]
                if not by or key_of(getattr(registry.kinds[row.kind].decoded(row), by)) == key:
                    found.append({"resourceRef": row.ref})
    return {**refs}


def _observed(kind: Kind, stored: Stored, states: States, version: Version) -> dict[str, Json]:
    observed: dict[str, Json] = {}
    if kind.has_state:
        state = states.configuration_state(kind.name, stored.instance_id)
        if state is not None:
            observed["configurationState"] = {**state}
    located = kind.located
    if located is not None and located.since <= version:
        observed.update(_location(located, states.located(kind.name, stored.instance_id)))
    return observed


def _location(located: Located, refs: Sequence[str]) -> dict[str, Json]:
    values: list[Json] = [{"resourceRef": ref} for ref in refs]
    if located.as_list:
        return {located.wire: values}
    return {located.wire: values[0]} if values else {}
