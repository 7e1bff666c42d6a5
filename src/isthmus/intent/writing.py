# SPDX-License-Identifier: Apache-2.0
"""Writing one resource with all below it onto an `Overlay`: the full replace of MS-NCNBI section
A.2.

Children that the request does not name go away, those that it names keep their identity. Identity,
etags and references are settled here, the same for every kind; the rules of a kind are in its
`Resource.settled`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import msgspec

from isthmus.errors import Conflict, Invalid
from isthmus.intent.drafts import Draft, named, requirers
from isthmus.intent.fields import encode
from isthmus.intent.kind import Kind
from isthmus.intent.model import Allocation, Ids, Stored
from isthmus.intent.overlay import Overlay
from isthmus.intent.parse import Parsed
from isthmus.intent.references import key_of
from isthmus.intent.resource import Member, Resource
from isthmus.intent.specs import FieldSpec, build
from isthmus.intent.values import Mention, join
from isthmus.intent.versions import Version


def stored_tree(overlay: Overlay, kind: Kind, row: Stored | None) -> dict[str, Stored]:
    """`row` and everything below it, by key, parents first."""
    if row is None:
        return {}
    found = {row.key: row}
    for child in kind.children:
        for below in overlay.children(row.key, child.name):
            found.update(stored_tree(overlay, child, below))
    return found


def remove_all(
    overlay: Overlay,
    root: Kind,
    rows: Collection[Stored],
    kept: Mapping[str, Stored],
    code: str = "",
) -> None:
    """Take rows away, of which no parent outlives its children. They are of the kind `root` or
    below it. Raises Conflict when something outside `rows` and `kept` requires one, or one is
    applied to something: with `code`, else that of the kind in use."""
    inside = {row.key for row in rows} | kept.keys()
    for row in rows:
        kind = root.tree[row.kind]
        users = requirers(overlay, (row.key,), inside)
        if users:
            raise Conflict(
                f"{row.ref} cannot be deleted: it is used by {named(overlay, users)}. Delete or"
                " change these first.",
                code=code or kind.in_use_code,
                target=row.ref,
            )
        bound = [key for ref in kind.applied_to(row) if (key := key_of(ref)) not in inside]
        if bound:
            raise Conflict(
                f"{row.ref} cannot be deleted: it is applied to {named(overlay, bound)}. Put it"
                " without these first.",
                code=code or kind.in_use_code,
                target=row.ref,
            )
    for row in rows:
        overlay.remove(row.key)


class TreeWriter:
    """Writes one request's resources; all get the same etag (section A.4)."""

    def __init__(
        self,
        overlay: Overlay,
        ids: Ids,
        version: Version,
        etag: str,
        tree: Mapping[str, Stored],
        coming: Collection[str],
        unseen: Iterable[Stored],
        *,
        author: str = "",
    ) -> None:
        self._overlay = overlay
        self._ids = ids
        self._version = version
        self._etag = etag
        self._tree = tree
        """The stored rows that this request writes anew, or takes away."""
        self._coming = coming
        """Keys of all that this request writes: siblings may refer to each other."""
        self._author = author
        """Owner of what is new."""
        self._unseen: defaultdict[str, list[Stored]] = defaultdict(list)
        """By parent: stored rows that its version does not have, and that stay as they are."""
        for row in unseen:
            self._unseen[row.parent or ""].append(row)

    def write(
        self,
        parsed: Parsed,
        ref: str,
        *,
        parent: str | None,
        position: int,
        replacing: bool = False,
        request_id: str = "",
        operation_id: str = "",
        status: int = 0,
    ) -> Resource:
        """Put `parsed` and its children under `ref`; what is stored there already keeps its
        spelling."""
        kind, old = parsed.kind, self._tree.get(key_of(ref))
        ref = old.ref if old is not None else ref
        previous = kind.decoded(old) if old is not None else None
        draft = Draft(
            self._overlay,
            kind.name,
            kind.model,
            ref,
            old=old,
            previous=previous,
            parent=parent,
            path=parsed.path,
            version=self._version,
            replacing=replacing,
            tree=self._tree,
            etag=self._etag,
            given=frozenset(parsed.values),
        )
        value = self._settled(parsed, draft, previous)
        instance_id = self._instance_id(old, parsed)
        draft.allocations.add(Allocation("instance", instance_id))
        row = Stored(
            key=draft.key,
            ref=ref,
            kind=kind.name,
            resource_id=ref.rpartition("/")[2],
            instance_id=instance_id,
            etag=self._etag,
            parent=parent,
            position=position,
            properties=encode(value),
            tags=parsed.tags,
            metadata=parsed.metadata,
            requires=frozenset(draft.requires),
            mentions=frozenset(draft.mentions),
            allocations=frozenset(draft.allocations),
            owner=self._author if old is None else old.owner,
            request_id=request_id,
            operation_id=operation_id,
            status=status,
        )
        self._overlay.put(row, replacing=draft.replacing)
        self._write_children(parsed, value, row, draft.replacing)
        return value

    def _write_children(
        self, parsed: Parsed, value: Resource, row: Stored, replacing: bool
    ) -> None:
        for kind, children in parsed.children.items():
            members = []
            for position, child in enumerate(children):
                ref = f"{row.ref}/{kind.collection}/{child.resource_id}"
                self.write(child, ref, parent=row.key, position=position, replacing=replacing)
                members.append((child, key_of(ref)))
            # read again, for one may have changed what was written before it
            written = [(child, self._overlay.get(key)) for child, key in members]
            value.check_children(
                kind.name,
                [
                    Member(child.path, child.resource_id, kind.decoded(now))
                    for child, now in written
                    if now is not None
                ],
            )
        self._keep(row.key, replacing)

    def _keep(self, parent: str, replacing: bool) -> None:
        """MS-NCNBI section A.4: the etag of what is below changes too."""
        for row in self._unseen[parent]:
            kept = msgspec.structs.replace(row, etag=self._etag)
            self._overlay.put(kept, replacing=replacing)
            self._keep(row.key, replacing)

    def _settled(self, parsed: Parsed, draft: Draft, previous: Resource | None) -> Resource:
        kind, values = parsed.kind, parsed.values
        projection = kind.projection(self._version)
        if previous is not None:
            for attribute in projection.carried:
                if attribute not in values:
                    values[attribute] = getattr(previous, attribute)
        for spec in projection.required:
            if values.get(spec.attribute) is None:
                raise Invalid(
                    f"{spec.wire} is missing: {spec.description}",
                    code=spec.rules.required,
                    target=draft.at(spec.attribute),
                )
        for spec in kind.inner_defaults:
            # by identity, so that it is left out at rest like all that has its default
            if values.get(spec.attribute) == spec.default:
                values[spec.attribute] = spec.default
        value = build(kind.model, values)
        if previous is not None:
            _check_immutable(kind, draft, previous, value)
        if kind.referring:
            self._refer(kind, draft, value, previous)
        return value.settled(draft)

    def _refer(self, kind: Kind, draft: Draft, value: Resource, previous: Resource | None) -> None:
        for spec in kind.referring:
            for found in _mentions(spec, value):
                key = key_of(found.ref)
                if self._overlay.get(key) is None and key not in self._coming:
                    if not found.requires and key in _mentioned(spec, previous):
                        continue  # it has vanished since, as it may: what was read can be put back
                    raise Invalid(
                        f"{found.ref} does not exist.",
                        code=found.code,
                        target=join(draft.at(spec.attribute), found.path),
                    )
                (draft.requires if found.requires else draft.mentions).add(key)

    def _instance_id(self, old: Stored | None, parsed: Parsed) -> str:
        if old is not None:
            return old.instance_id
        wanted = parsed.instance_id
        # section A.5: a GUID that the client chose is honoured when it is unused
        if wanted and self._overlay.holder(Allocation("instance", wanted)) is None:
            return wanted
        return self._ids.guid()


def _mentions(spec: FieldSpec, value: Resource) -> Iterable[Mention]:
    inner = getattr(value, spec.attribute)
    return () if inner is None else spec.type.mentions(inner)


def _mentioned(spec: FieldSpec, value: Resource | None) -> set[str]:
    return set() if value is None else {key_of(found.ref) for found in _mentions(spec, value)}


def _check_immutable(kind: Kind, draft: Draft, previous: Resource, value: Resource) -> None:
    for spec in kind.immutable:
        was, wanted = getattr(previous, spec.attribute), getattr(value, spec.attribute)
        if was == wanted:
            continue
        if not (spec.type.can_mention() and key_of(was) == key_of(wanted)):
            raise Invalid(
                f"{spec.wire} of {draft.ref} is {was} and cannot become {wanted}: it is fixed when"
                " the resource is"
                " created.",
                code=spec.rules.immutable,
                target=draft.at(spec.attribute),
            )
