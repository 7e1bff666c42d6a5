# SPDX-License-Identifier: Apache-2.0
"""How a transaction can fail (RFC 7047 sections 3.1 and 4.1.3)."""

from __future__ import annotations

from isthmus.errors import Broken, Conflict, IsthmusError, Unavailable
from isthmus.wire.ovsdb import OperationError

__all__ = [
    "Duplicate",
    "IntegrityRefused",
    "OutcomeUnknown",
    "Refused",
    "Unavailable",
    "WaitFailed",
    "failure",
]


class OutcomeUnknown(Unavailable):
    """Sent, and the connection was lost before the answer: it was applied, or not."""


class WaitFailed(Conflict):
    """A ``wait`` did not hold: what was relied upon has changed. Nothing was written."""

    default_code = "PreconditionFailed"


class IntegrityRefused(Conflict):
    """A strong reference would point nowhere: something is in use, or has gone. Nothing was
    written."""


class Duplicate(Conflict):
    """An index holds that value already. Nothing was written."""

    default_code = "ResourceConflict"


class Refused(Broken):
    """Anything else that the server objects to: a fault of ours. Nothing was written."""


_AWAY = {
    "not leader",
    "cluster error",
    "disconnected",
    "canceled",
    "I/O error",
    "resources exhausted",
    "not allowed",
    "unavailable",
    "unknown database",
    "aborted",
}
"""The server cannot commit now: no quorum, no room, no rights, another leader."""


def failure(error: OperationError) -> IsthmusError:
    """The exception for a failed operation."""
    text = f"{error.error}: {error.details}" if error.details else error.error
    match error.error:
        case "timed out":
            return WaitFailed(f"operation {error.number}: what was relied upon has changed")
        case "referential integrity violation":
            return IntegrityRefused(error.details or text)
        # The same error stands for values that a column does not allow.
        case "constraint violation" if "for index on" in error.details:
            return Duplicate(text)
        case name if name in _AWAY:
            return Unavailable(f"the data base takes no writes now: {text}")
    return Refused(f"the data base refuses operation {error.number}: {text}")
