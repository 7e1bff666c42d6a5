# SPDX-License-Identifier: Apache-2.0
"""If-Match, If-None-Match and the etag inside a body: the table of MS-NCNBI section A.4.

PUT,    no condition      absent 201, exists 200
PUT,    If-Match: *       absent 412, exists 200
PUT,    If-Match: "x"     absent 412, exists 200 or 412
PUT,    If-None-Match: *  absent 201, exists 412
DELETE, no condition, *   absent 204, exists 200
DELETE, If-Match: "x"     absent 204, exists 200 or 412

A body without an etag of its own may have those of its children (python-hnvclient leaves its own
out). One of them that is not the stored one tells that the whole body is an old one. What it lacks
may have been written since, and what it has may have been changed since, at any level: so an old
body may add children and entries of lists, and neither takes away nor changes anything that is
stored. Windows Admin Center reads a server once, and writes it again for each subnet that it adds
to one of its interfaces.

Two things cannot be told. An entry of a list has no etag: one that an old body has, and the stored
list has not, counts as added. And a child that another has added changes no etag but its parent's:
a body that has neither that one nor an old one looks like one that takes the child away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from isthmus.errors import PreconditionFailed
from isthmus.intent.kind import Kind
from isthmus.intent.model import Json, Stored, View
from isthmus.intent.parse import Parsed, etags
from isthmus.intent.resource import Resource
from isthmus.intent.specs import FieldSpec

ANY = "*"


def check_put(ref: str, old: Stored | None, create_only: bool, expected: str | None) -> None:
    """Judge the headers of a PUT. `expected` is If-Match. Raises PreconditionFailed."""
    if create_only and old is not None:
        raise PreconditionFailed(
            f"{ref} exists already, and If-None-Match asks to create it.", target=ref
        )
    if expected is not None and old is None:
        raise PreconditionFailed(
            f"{ref} does not exist, and If-Match asks to change it.", target=ref
        )
    if old is not None:
        check_match(ref, old, expected, "If-Match")


def check_match(ref: str, old: Stored, expected: str | None, source: str) -> None:
    """Compare an expected etag, in any dress, with the stored one. Raises PreconditionFailed."""
    if expected is None or expected.strip() == ANY:
        return
    wanted = etags(expected)
    if old.etag not in wanted:
        raise PreconditionFailed(
            f"{ref} has changed: {source} is {', '.join(wanted)}, its etag is {old.etag}. Read it"
            " again.",
            target=ref,
        )


class OldBody(NamedTuple):
    """A body that is older than what is stored; `sign` tells how that is known."""

    sign: str

    def check_taken(self, gone: Iterable[Stored]) -> None:
        """`gone` is what the write would take away. Raises PreconditionFailed."""
        for row in gone:
            raise self._refusal(row.ref, f"take away {row.ref}")

    def check_kept(self, root: Kind, before: Iterable[Stored], after: View) -> None:
        """Compare what is stored, of the kind `root` or below it, with what it would be. Raises
        PreconditionFailed."""
        for row in before:
            now = after.get(row.key)
            if now is None:
                raise self._refusal(row.ref, f"take away {row.ref}")
            changed = _changed(root.tree[row.kind], row, now)
            if changed:
                raise self._refusal(row.ref, f"change {changed} of {row.ref}")

    def _refusal(self, ref: str, change: str) -> PreconditionFailed:
        return PreconditionFailed(
            f"The body is an old one ({self.sign}), and the write would {change}. Read it again.",
            target=ref,
        )


def old_body(view: View, parsed: Parsed, key: str) -> OldBody | None:
    """Judge the etags of the children in a body that has none of its own; `key` is that of the
    resource it is for. None when all are the stored ones. Raises PreconditionFailed for a child
    that was read and does not exist."""
    found: OldBody | None = None
    for kind, children in parsed.children.items():
        for child in children:
            below = f"{key}/{kind.collection}/{child.resource_id}".lower()
            row = view.get(below)
            if child.etag and row is None:
                raise PreconditionFailed(
                    f"The body has an etag for {below}, which does not exist: the write would"
                    " create it. Read it again.",
                    target=below,
                )
            if child.etag and row is not None and child.etag != row.etag:
                found = found or OldBody(
                    f"its etag of {row.ref} is {child.etag}, the stored one {row.etag}"
                )
            found = old_body(view, child, below) or found
    return found


def _changed(kind: Kind, row: Stored, now: Stored) -> str:
    """What a stored resource would not hold any more of what clients write."""
    was, becomes = kind.decoded(row), kind.decoded(now)
    for spec in kind.fields:
        if spec.read and not _is_kept(_on_wire(spec, was), _on_wire(spec, becomes)):
            return spec.wire
    for name, old, new in (
        ("tags", row.tags, now.tags),
        ("resourceMetadata", row.metadata, now.metadata),
    ):
        # Names of an object have no order (RFC 8259 section 4).
        if old != new and msgspec.json.decode(old) != msgspec.json.decode(new):
            return name
    return ""


def _on_wire(spec: FieldSpec, value: Resource) -> Json:
    inner: object = getattr(value, spec.attribute)
    return None if inner is None else _comparable(spec.type.write(inner))


def _comparable(value: Json) -> Json:
    """References are found in any letter case."""
    if isinstance(value, dict):
        ref = value.get("resourceRef")
        if isinstance(ref, str):
            return {"resourceRef": ref.lower()}
        return {name: _comparable(inner) for name, inner in value.items()}
    return [_comparable(inner) for inner in value] if isinstance(value, list) else value


def _is_kept(was: Json, now: Json) -> bool:
    """Whether a value is the same but for further entries of its lists."""
    if isinstance(was, dict) and isinstance(now, dict):
        return was.keys() == now.keys() and all(
            _is_kept(inner, now[name]) for name, inner in was.items()
        )
    if isinstance(was, list) and isinstance(now, list):
        left = iter(now)
        return all(entry in left for entry in was)
    return was == now
