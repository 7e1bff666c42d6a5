# SPDX-License-Identifier: Apache-2.0
"""A request that comes again, told by its x-ms-client-request-id (MS-NCNBI section A.3).

"The same id on two successive writes is a retry: return the stored earlier response." The id is
stored with what the request wrote, in the same transaction, so every controller knows it. It is
looked for while planning: a retry that overtakes its first sending sees it in the plan that is
under way, and plans nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.api.http.request import HttpRequest
from isthmus.api.interfaces import North
from isthmus.errors import Invalid
from isthmus.intent.model import Outcome, Plan, Stored, View
from isthmus.intent.paths import resolve
from isthmus.intent.planning import Put, Request


def earlier_put(sent: HttpRequest, view: View, key: str) -> Plan | None:
    """What `sent` has done already, as a plan that changes nothing. Raises Invalid when its id
    was that of another body: to answer it as a retry would lose a write without a word."""
    row = view.get(key)
    if row is None or not _is_same(sent, row):
        return None
    return Plan(status=row.status, ref=row.key)


def earlier_delete(sent: HttpRequest, view: View, north: North, key: str) -> Plan | None:
    """As `earlier_put`."""
    if not sent.request_id or view.get(key) is not None:
        return None
    earlier = north.deletion(sent.write_id())
    return Plan(status=earlier.status) if earlier is not None and earlier.key == key else None


def earlier_batch(
    sent: HttpRequest, view: View, north: North, requests: Sequence[Request]
) -> Plan | None:
    """As `earlier_put`, if all that the batch wrote still stands. A deletion of what had not been
    there is answered as one of what had (200 for 204): the store does not keep which it was."""
    if not sent.request_id:
        return None
    outcomes = []
    for request in requests:
        row = view.get(resolve(request.path).key)
        if isinstance(request, Put):
            if row is None or not _is_same(sent, row):
                return None
            outcomes.append(Outcome(row.status, row.key))
        elif row is not None:
            return None
        else:
            outcomes.append(Outcome(200, ""))
    wrote = any(isinstance(request, Put) for request in requests)
    if not wrote and north.deletion(sent.write_id()) is None:
        return None
    return Plan(outcomes=tuple(outcomes))


def _is_same(sent: HttpRequest, row: Stored) -> bool:
    if not sent.request_id:
        return False
    if row.request_id == sent.write_id():
        return True
    if row.request_id.rpartition(" ")[0] == sent.request_id:
        raise Invalid(
            f"{row.ref} was last written by a request of the same x-ms-client-request-id,"
            f" {sent.request_id}, and another body: give each request an id of its own",
            target="x-ms-client-request-id",
        )
    return False
