# SPDX-License-Identifier: Apache-2.0
"""The one tree of errors.

Each has a stable code (MS-NCNBI section A.8 names where one exists), an HTTP status, and says what
was refused, the value, the rule, and what to do. `target` is the reference or field that the error
is about.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detail:
    """One entry of an error's ``details``: a finer code, the field that it is about, a sentence."""

    code: str
    message: str
    target: str | None = None


class IsthmusError(Exception):
    """Base of all errors that a caller of Isthmus may see."""

    status = 500
    default_code = "InternalServerError"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        target: str | None = None,
        details: tuple[Detail, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.target = target
        self.details = details
        self.retry_after_s = retry_after_s


class Invalid(IsthmusError):
    """The caller's request breaks a rule; sending it again cannot help."""

    status = 400
    default_code = "InvalidParameterValue"


class Unauthorized(IsthmusError):
    """Nobody, or nobody whom we know."""

    status = 401
    default_code = "Unauthorized"


class Forbidden(IsthmusError):
    """Known, but not allowed."""

    status = 403
    default_code = "Forbidden"


class NotFound(IsthmusError):
    """The named thing does not exist."""

    status = 404
    default_code = "NotFound"


class Conflict(IsthmusError):
    """The request is well formed and stands against what exists: in use, duplicate, exhausted."""

    status = 409
    default_code = "ResourceInUse"


class PreconditionFailed(IsthmusError):
    """If-Match or If-None-Match did not hold (MS-NCNBI section A.4)."""

    status = 412
    default_code = "PreconditionFailed"


class Unavailable(IsthmusError):
    """A part that is needed does not answer now: nothing was changed, try again."""

    status = 503
    default_code = "ServiceUnavailable"


class Broken(IsthmusError):
    """Our own fault."""

    status = 500
    default_code = "InternalServerError"
