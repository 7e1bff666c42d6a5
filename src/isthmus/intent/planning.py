# SPDX-License-Identifier: Apache-2.0
"""Requests to plans: PUT, DELETE and batches of them, as MS-NCNBI sections A.2 and A.4 say.

Pure: the store is seen through a `View`, identifiers come from `Ids`, and what is to be done comes
back as a `Plan`. A plan that the store refuses because something it relied upon has changed is
simply made again.

- PUT creates or fully replaces, children included: a child list that is missing is an empty one.
  One that is null stays as it is stored: serialisers of .NET write null for what they were not
  given.
- A write changes the etag of what is written, of all below it and of all above it, not of siblings
  nor of what refers to it.
- What is absent when it is deleted is a success (204).
- What an API version does not have, a request of that version neither finds nor takes away: a child
  list that it does not know is not missing from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from isthmus.errors import Conflict, Invalid, IsthmusError, NotFound
from isthmus.intent.drafts import named
from isthmus.intent.kind import Kind
from isthmus.intent.model import Ids, Json, Outcome, Places, Plan, Stored, View
from isthmus.intent.overlay import Overlay
from isthmus.intent.parse import Parsed, parse
from isthmus.intent.paths import Target, checked_id, find, resolve
from isthmus.intent.preconditions import OldBody, check_match, check_put, old_body
from isthmus.intent.references import key_of
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.render import render
from isthmus.intent.resource import Member
from isthmus.intent.values import join
from isthmus.intent.versions import LATEST, Version
from isthmus.intent.writing import TreeWriter, remove_all, stored_tree


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Create or replace. `path` is as in `paths.resolve`."""

    path: str
    body: Json
    create_only: bool = False
    """If-None-Match: ``*``."""
    expected_etag: str | None = None
    """If-Match: ``*`` or an etag with or without ``W/"..."``; None or empty for none."""
    request_id: str = ""
    operation_id: str = ""
    author: str = ""
    """Who sends it, and will own what it creates."""


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """Delete, with all below."""

    path: str
    expected_etag: str | None = None


Request = Put | Delete


def plan_put(
    view: View,
    ids: Ids,
    path: str,
    body: Json,
    *,
    create_only: bool = False,
    expected_etag: str | None = None,
    request_id: str = "",
    operation_id: str = "",
    author: str = "",
    version: Version = LATEST,
    body_etag_is_precondition: bool = True,
    registry: Registry = REGISTRY,
) -> Plan:
    """Plan a PUT: status 201 when it creates, else 200.

    `body_etag_is_precondition`: an ``etag`` in the body that differs from the stored one is refused
    when there is no If-Match (section A.4; Microsoft's controller seems to); where there is none,
    those of the children are looked at (`preconditions`). Raises Invalid,
    Conflict, NotFound (of the parent or the collection), PreconditionFailed.
    """
    request = Put(
        path=path,
        body=body,
        create_only=create_only,
        expected_etag=expected_etag or None,
        request_id=request_id,
        operation_id=operation_id,
        author=author,
    )
    overlay = Overlay(view)
    outcome, code = _put(overlay, ids, request, version, body_etag_is_precondition, registry)
    return overlay.plan((outcome,), code)


def plan_delete(
    view: View,
    ids: Ids,
    path: str,
    *,
    expected_etag: str | None = None,
    version: Version = LATEST,
    places: Places | None = None,
    registry: Registry = REGISTRY,
) -> Plan:
    """Plan a DELETE: status 200, or 204 for what does not exist. Raises Invalid (a singleton),
    Conflict (something requires it, it is applied to something, or `places` has ports on it),
    NotFound (no such collection), PreconditionFailed."""
    overlay = Overlay(view)
    request = Delete(path=path, expected_etag=expected_etag or None)
    outcome, code = _delete(overlay, ids, request, version, places, registry)
    return overlay.plan((outcome,), code)


def plan_batch(
    view: View,
    ids: Ids,
    requests: Iterable[Request],
    *,
    version: Version = LATEST,
    body_etag_is_precondition: bool = True,
    places: Places | None = None,
    registry: Registry = REGISTRY,
) -> Plan:
    """Plan many requests as one change, all or nothing; each sees what those before it do.
    `Plan.outcomes` has their answers. The target of an error begins with the request's index:
    ``[3].properties.subnet``."""
    overlay = Overlay(view)
    outcomes: list[Outcome] = []
    code = "ResourceInUse"
    try:
        for request in requests:
            if isinstance(request, Put):
                outcome, code = _put(
                    overlay, ids, request, version, body_etag_is_precondition, registry
                )
            else:
                outcome, code = _delete(overlay, ids, request, version, places, registry)
            outcomes.append(outcome)
    except IsthmusError as error:
        error.target = join(f"[{len(outcomes)}]", error.target)
        raise
    return overlay.plan(outcomes, code if len(outcomes) == 1 else "ResourceInUse")


def _put(
    overlay: Overlay,
    ids: Ids,
    request: Put,
    version: Version,
    body_etag: bool,
    registry: Registry,
) -> tuple[Outcome, str]:
    target = _resource(request.path, version, registry)
    kind, old = target.kind, find(overlay, target)
    check_put(target.ref, old, request.create_only, request.expected_etag or None)
    ancestors = _ancestors(overlay, target)
    parsed = parse(kind, request.body, version=version, registry=registry)
    _check_identity(target, parsed)
    _keep_untouched(overlay, parsed, target.key, version, registry)
    outdated: OldBody | None = None
    if body_etag and not request.expected_etag and old is not None:
        if parsed.etag:
            check_match(target.ref, old, parsed.etag, "the etag in the body")
        else:
            outdated = old_body(overlay, parsed, target.key)
    etag, tree = ids.guid(), stored_tree(overlay, kind, old)
    coming = set(_keys(parsed, target.key))
    unseen = _unseen(kind, tree, coming, version)
    tree = {key: row for key, row in tree.items() if key not in unseen}
    if outdated is not None:
        outdated.check_taken(row for key, row in tree.items() if key not in coming)
    if tree:
        _clear(overlay, kind, tree, coming)
    status = 201 if old is None else 200
    writer = TreeWriter(
        overlay, ids, version, etag, tree, coming, unseen.values(), author=request.author
    )
    value = writer.write(
        parsed,
        _spelled(ancestors, target, parsed),
        parent=target.parent,
        position=_position(overlay, target, old),
        request_id=request.request_id,
        operation_id=request.operation_id,
        status=status,
    )
    if outdated is not None:
        outdated.check_kept(kind, tree.values(), overlay)
    if target.parent_kind is not None:
        siblings = overlay.children(ancestors[-1].key, kind.name)
        members = [
            Member("", r.resource_id, value if r.key == target.key else kind.decoded(r))
            for r in siblings
        ]
        target.parent_kind.decoded(ancestors[-1]).check_children(kind.name, members)
        _touch(overlay, ancestors, etag)
    return Outcome(status, target.key), kind.in_use_code


def _delete(
    overlay: Overlay,
    ids: Ids,
    request: Delete,
    version: Version,
    places: Places | None,
    registry: Registry,
) -> tuple[Outcome, str]:
    target = _resource(request.path, version, registry)
    kind = target.kind
    if kind.singleton:
        raise Invalid(
            f"{target.ref} always exists; it can be changed but not deleted.",
            code="OperationNotSupported",
            target=target.ref,
        )
    old = overlay.get(target.key)
    if old is None:
        return Outcome(204, ""), kind.in_use_code
    check_match(old.ref, old, request.expected_etag or None, "If-Match")
    if places is not None:
        _check_empty(overlay, kind, old, places)
    ancestors = _ancestors(overlay, target)
    remove_all(overlay, kind, stored_tree(overlay, kind, old).values(), {}, kind.in_use_code)
    if ancestors:
        _touch(overlay, ancestors, ids.guid())
    return Outcome(200, ""), kind.in_use_code


def _check_empty(overlay: Overlay, kind: Kind, row: Stored, places: Places) -> None:
    """That no ports are on the switch of a server. They are seen, not stored: a port that appears
    at the same moment is missed."""
    if kind.located is None or not kind.located.as_list:
        return
    ports = [key_of(ref) for ref in places.located(kind.name, row.instance_id)]
    if ports:
        raise Conflict(
            f"{row.ref} cannot be deleted: on its switch are the ports of {named(overlay, ports)}."
            " Move or unplug them first. If the host is gone for good, isthmus host remove"
            f" {row.resource_id.lower()} takes them from it.",
            code=kind.in_use_code,
            target=row.ref,
        )


def _resource(path: str, version: Version, registry: Registry) -> Target:
    target = resolve(path, version, registry)
    if target.is_collection:
        raise Invalid(
            f"{target.ref} is a collection: name one resource in it.",
            code="OperationNotSupported",
            target=target.ref,
        )
    if target.kind.singleton and target.resource_id.lower() != target.kind.singleton.lower():
        raise NotFound(
            f"The only one of {target.kind.name} is {target.kind.singleton}.", target=target.ref
        )
    return target


def _ancestors(overlay: Overlay, target: Target) -> list[Stored]:
    """The rows above, the root first; the plan relies on all of them: one writer per tree (section
    A.6)."""
    parts, found = target.key.split("/"), []
    for end in range(3, len(parts), 2):
        key = "/".join(parts[:end])
        row = overlay.read(key)
        if row is None:
            raise NotFound(f"{key} does not exist, so it can have nothing below it.", target=key)
        found.append(row)
    return found


def _check_identity(target: Target, parsed: Parsed) -> None:
    checked_id(target.resource_id)
    if parsed.resource_id and parsed.resource_id.lower() != target.resource_id.lower():
        raise Invalid(
            f"The body's resourceId is {parsed.resource_id}, the path's {target.resource_id}: they"
            " must be equal.",
            code="InvalidResourceName",
            target="resourceId",
        )


def _spelled(ancestors: list[Stored], target: Target, parsed: Parsed) -> str:
    """The reference of a new resource: its parent's as stored, and its id as the body spells it."""
    above = ancestors[-1].ref if ancestors else ""
    return f"{above}/{target.kind.collection}/{parsed.resource_id or target.resource_id}"


def _position(overlay: Overlay, target: Target, old: Stored | None) -> int:
    if old is not None or target.parent is None:
        return old.position if old is not None else 0
    siblings = overlay.children(target.parent, target.kind.name)
    return max((row.position for row in siblings), default=-1) + 1


def _keep_untouched(
    overlay: Overlay, parsed: Parsed, key: str, version: Version, registry: Registry
) -> None:
    """Put the stored children in the place of each null, as if they had been read and put back."""
    for kind in parsed.untouched:
        where = f"{parsed.path}properties.{kind.collection}"
        parsed.children[kind] = [
            parse(
                kind,
                render(row, overlay, version=version, registry=registry),
                version=version,
                path=f"{where}[{index}].",
                registry=registry,
            )
            for index, row in enumerate(overlay.children(key, kind.name))
        ]
    for kind, children in parsed.children.items():
        for child in children:
            below = f"{key}/{kind.collection}/{child.resource_id}".lower()
            _keep_untouched(overlay, child, below, version, registry)


def _clear(overlay: Overlay, root: Kind, tree: dict[str, Stored], kept: set[str]) -> None:
    """Take away what is stored and not in the request, and lift the rest."""
    gone = [row for key, row in tree.items() if key not in kept]
    if gone:
        remove_all(overlay, root, gone, tree)
    for key, row in tree.items():
        if key in kept:
            overlay.lift(row)


def _unseen(
    root: Kind, tree: dict[str, Stored], coming: Collection[str], version: Version
) -> dict[str, Stored]:
    """What stays because the request's version does not have it, and its parent stays."""
    found: dict[str, Stored] = {}
    for key, row in tree.items():
        if row.parent in found or (root.tree[row.kind].since > version and row.parent in coming):
            found[key] = row
    return found


def _keys(parsed: Parsed, key: str) -> Iterable[str]:
    yield key
    for kind, children in parsed.children.items():
        for child in children:
            yield from _keys(child, f"{key}/{kind.collection}/{child.resource_id}".lower())


def _touch(overlay: Overlay, ancestors: list[Stored], etag: str) -> None:
    for row in ancestors:
        overlay.put(msgspec.structs.replace(row, etag=etag))
