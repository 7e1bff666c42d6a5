# SPDX-License-Identifier: Apache-2.0
"""If-Match, If-None-Match and the etag inside a body: the table of MS-NCNBI section A.4.

PUT,    no condition      absent 201, exists 200
PUT,    If-Match: *       absent 412, exists 200
PUT,    If-Match: "x"     absent 412, exists 200 or 412
PUT,    If-None-Match: *  absent 201, exists 412
DELETE, no condition, *   absent 204, exists 200
DELETE, If-Match: "x"     absent 204, exists 200 or 412
"""

from __future__ import annotations

from isthmus.errors import PreconditionFailed
from isthmus.intent.model import Stored
from isthmus.intent.parse import bare_etag

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
