# SPDX-License-Identifier: Apache-2.0
"""The bytes of a body to JSON.

What a body is, its head declares: JSON (RFC 8259), its charset, that nothing has compressed it. It
is read as that and as nothing else, so that no text is ever stored as another than was sent. How
many values it has and how deep they go is bounded here, for all that follows.
"""

from __future__ import annotations

import codecs

import msgspec

from isthmus.errors import Detail, Invalid, IsthmusError
from isthmus.intent.model import Json
from isthmus.intent.values import MOST_DEPTH, is_deeper

MOST_VALUES = 300_000
"""Of a body's JSON: 15,000 rules, or a batch of a thousand interfaces ten times over. The costliest
JSON of that size takes about 60 ms and 40 MiB to read."""
LEVELS_OF_A_BATCH = 3
"""Around the bodies in it: the object, its list, the request."""
JSON_NAMES = frozenset(("application/json", "text/json"))
_CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "iso-8859-1": "latin-1",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
"""By the names that IANA has for them."""
_UTF_16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class TooLarge(IsthmusError):
    """The body is longer than we read."""

    status = 413
    default_code = "RequestTooLarge"


class WrongMediaType(IsthmusError):
    """The body is no JSON, or in a form that we do not decode."""

    status = 415
    default_code = "InvalidRequestFormat"


def read_json(body: bytes, content_type: str, content_encoding: str, levels: int = 0) -> Json:
    """What `body` says, by two headers of its request. `levels` may be around what is bounded in
    depth. Raises Invalid with the place of the mistake, WrongMediaType, TooLarge."""
    media_type = content_type.partition(";")[0].strip().lower()
    # MS-NCNBI section A.3 wants it on every PUT. What has none may be a web page's, which needs
    # nobody's leave to send a body that has no type (see `web_pages`).
    if media_type not in JSON_NAMES and (media_type or body):
        raise WrongMediaType(
            f"the body is {media_type or 'without Content-Type'}: send application/json",
            target="Content-Type",
        )
    for coding in content_encoding.split(","):
        if coding.strip().lower() not in ("", "identity"):
            raise WrongMediaType(
                f"the body is encoded as {coding.strip()}: send it as it is, without"
                " Content-Encoding",
                target="Content-Encoding",
            )
    text = _in_utf_8(body, _charset(content_type))
    # Each value but the first follows one of these. Inside a text they count too, which is
    # nothing beside the bound.
    if sum(map(text.count, (b",", b":", b"[", b"{"))) > MOST_VALUES:
        raise TooLarge(f"the body has more than {MOST_VALUES} values: send it in parts")
    most = MOST_DEPTH + levels
    try:
        value: Json = msgspec.json.decode(text)
    except RecursionError as error:
        raise _too_deep(most) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_json("the body is empty" if not text.strip() else str(error)) from error
    if is_deeper(value, most):
        raise _too_deep(most)
    return value


def _charset(content_type: str) -> str:
    """The declared one, in lower case; empty where none is."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            declared = value.strip().strip('"').lower()
            if declared not in _CHARSETS:
                raise WrongMediaType(
                    f"the charset of the body is {declared}: send utf-8 ({', '.join(_CHARSETS)} are"
                    " understood)",
                    target="Content-Type",
                )
            return declared
    return ""


def _in_utf_8(body: bytes, declared: str) -> bytes:
    charset = _CHARSETS[declared or "utf-8"]
    if body[:2] in _UTF_16_MARKS and (not declared or charset.startswith("utf-16")):
        charset, body = _UTF_16_MARKS[body[:2]], body[2:]
    elif charset == "utf-16":
        # RFC 4627 section 3: JSON begins with an ASCII character
        charset = "utf-16-be" if body[:1] == b"\0" else "utf-16-le"
    if charset == "utf-8":
        # RFC 8259 section 8.1: a parser "MAY ignore the presence of a byte order mark"
        body = body.removeprefix(codecs.BOM_UTF8)
        if not declared:
            return body
    try:
        return body if charset == "ascii" and body.isascii() else body.decode(charset).encode()
    except UnicodeDecodeError as error:
        raise _no_json(f"it is not {declared or charset}: {error}") from error


def _no_json(why: str) -> Invalid:
    return Invalid(
        f"the body is no JSON: {why}",
        code="InvalidRequestFormat",
        details=(Detail("InvalidJson", why),),
    )


def _too_deep(most: int) -> Invalid:
    return Invalid(
        f"the body is nested too deeply: at most {most} levels are taken",
        code="InvalidRequestFormat",
    )
