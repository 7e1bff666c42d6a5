# SPDX-License-Identifier: Apache-2.0
"""If-Match, If-None-Match and the etag inside a body: the table of MS-NCNBI section A.4.

PUT,    no condition      absent 201, exists 200
PUT,    If-Match: *       absent 412, exists 200
PUT,    If-Match: "x"     absent 412, exists 200 or 412
PUT,    If-None-Match: *  absent 201, exists 412
DELETE, no condition, *   absent 204, exists 200
DELETE, If-Match: "x"     absent 204, exists 200 or 412

A body without an etag of its own may have those of its children (python-hnvclient leaves its own
out). One that is stale counts where the write would undo what another has done since: take away a
child that the body does not know, bring back one that is gone, or change or shorten what one holds
now. It does not count where nothing is lost: Windows Admin Center reads a server once, and writes
it again for each subnet that it adds to one of its interfaces.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.errors import PreconditionFailed
from isthmus.intent.fields import Access, FieldSpec
from isthmus.intent.kinds import Kind
from isthmus.intent.model import Stored, View
from isthmus.intent.parse import Parsed, bare_etag
from isthmus.intent.values import Many
from isthmus.intent.versions import Version

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
    if expected is None or expected == ANY:
        return
    if bare_etag(expected) != old.etag:
        raise PreconditionFailed(
            f"{ref} has changed: {source} is {bare_etag(expected)}, its etag is {old.etag}. Read it"
            " again.",
            target=ref,
        )


def check_children(view: View, parsed: Parsed, key: str, version: Version) -> None:
    """Judge the etags of the children in a body that has none of its own; `key` is that of the
    resource it is for. Raises PreconditionFailed."""
    for kind, children in parsed.children.items():
        known: set[str] = set()
        stale = ""
        for child in children:
            below = f"{key}/{kind.collection}/{child.resource_id}".lower()
            known.add(below)
            row = view.get(below)
            if row is None:
                if child.etag:
                    raise _stale(below, "it is gone since")
                continue
            if child.etag and child.etag != row.etag:
                stale = row.ref
                lost = _lost(kind, row, child.values, version)
                if lost is not None:
                    raise _stale(row.ref, f"its {lost.wire} is another since")
            check_children(view, child, below, version)
        if stale:
            for row in view.children(key, kind.name):
                if row.key not in known:
                    raise _stale(stale, f"{row.ref} is new since, and would be taken away")


def _stale(ref: str, change: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"The etag of {ref} in the body is an old one, and {change}. Read it again.", target=ref
    )


def _lost(
    kind: Kind, row: Stored, values: Mapping[str, object], version: Version
) -> FieldSpec | None:
    """A field of a stored child that would not hold any more what it holds now."""
    stored, carried = kind.decoded(row), kind.projection(version).carried
    for spec in kind.fields:
        if spec.rules.access is not Access.WRITABLE or (
            spec.attribute in carried and spec.attribute not in values
        ):
            continue
        was: object = getattr(stored, spec.attribute)
        wanted = values.get(spec.attribute, spec.default)
        if spec.type.can_mention():
            was, wanted = _in_lower_case(was), _in_lower_case(wanted)
        if isinstance(spec.type, Many):
            assert isinstance(was, tuple)
            assert isinstance(wanted, tuple)
            if any(one not in wanted for one in was):
                return spec
        elif was != wanted:
            return spec
    return None


def _in_lower_case(value: object) -> object:
    """References are found in any letter case."""
    if isinstance(value, tuple):
        return tuple(map(_in_lower_case, value))
    return value.lower() if isinstance(value, str) else value
