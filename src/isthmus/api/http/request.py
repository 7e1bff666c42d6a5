# SPDX-License-Identifier: Apache-2.0
"""One request as the application sees it: method, path, headers, body; and its parts read.

Standards: MS-NCNBI section A.3 (headers), RFC 9110.
"""

from __future__ import annotations

from asyncio import Semaphore
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import parse_qsl, quote

from starlette.types import Receive, Scope

from isthmus.api.http.access import IDENTITY, LOCAL, Identity
from isthmus.api.http.bodies import TooLarge, read_json
from isthmus.api.http.replies import Reply
from isthmus.errors import Invalid, IsthmusError
from isthmus.intent.model import Json

MOST_BYTES = 8 << 20
"""Of a body: a batch of a thousand resources has about two million."""
LARGE_BYTES = 16 << 10
"""Of a body that waits until there is room for it."""
MOST_LARGE = 2
"""Large bodies that are held at once."""
LONGEST_REQUEST_ID = 256
"""Known clients send GUIDs. The id is stored with what it wrote."""


class NotAllowed(IsthmusError):
    """The resource knows no such method."""

    status = 405
    default_code = "OperationNotSupported"

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{path} cannot be asked by {method}: use {allowed}", target=path)
        self.allowed = allowed


@dataclass(slots=True)
class HttpRequest:
    """A request. `operation_id` names it in our answer and in `operations/`; `identity` is who sent
    it."""

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    operation_id: str
    identity: Identity = LOCAL
    body: bytes = b""
    _holds: Semaphore | None = None

    @classmethod
    def of(cls, scope: Scope, operation_id: str) -> HttpRequest:
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            # RFC 9110 section 5.3: the values of several headers of a name are one list
            headers[name] = headers[name] + b", " + value if name in headers else value
        return cls(
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
            headers,
            operation_id,
            scope.get(IDENTITY, LOCAL),
        )

    def header(self, name: bytes) -> str:
        """A header's value, empty when it is absent."""
        return self.headers.get(name, b"").decode("latin-1").strip()

    @property
    def request_id(self) -> str:
        """What the client calls this request; the same on a retry."""
        return self.header(b"x-ms-client-request-id")

    def write_id(self) -> str:
        """What is stored of `request_id` with what the request writes: the id and a digest of the
        body, because the same id with another body is no retry. Empty without an id. Raises
        Invalid for one that is too long."""
        request_id = self.request_id
        if len(request_id) > LONGEST_REQUEST_ID:
            raise Invalid(
                f"x-ms-client-request-id has {len(request_id)} characters, at most"
                f" {LONGEST_REQUEST_ID} are taken: send a GUID",
                target="x-ms-client-request-id",
            )
        if not request_id:
            return ""
        return f"{request_id} {blake2b(self.body, digest_size=8).hexdigest()}"

    def dressed(self, reply: Reply) -> Reply:
        """`reply` with the headers of every answer (MS-NCNBI section A.3)."""
        headers = [*reply.headers, (b"x-ms-request-id", self.operation_id.encode())]
        wants_echo = self.header(b"x-ms-return-client-request-id").lower() != "false"
        if self.request_id and wants_echo:
            headers.append((b"x-ms-client-request-id", self.request_id.encode("latin-1")))
        return reply._replace(headers=tuple(headers))

    @property
    def shown_path(self) -> str:
        """The path for a log: percent-encoded, so that it is one word on one line."""
        return quote(self.path, safe="/:@~+(){}")

    @property
    def if_match(self) -> str | None:
        return self.header(b"if-match") or None

    @property
    def is_strict(self) -> bool:
        """Whether the client wants to hear of fields that would be ignored (RFC 7240 section
        4.4)."""
        preferences = self.header(b"prefer").lower().split(",")
        return any(one.replace(" ", "") == "handling=strict" for one in preferences)

    @property
    def create_only(self) -> bool:
        """``If-None-Match: *``. Raises Invalid for another value, which would mean nothing."""
        value = self.header(b"if-none-match")
        if value not in ("", "*"):
            raise Invalid(
                f"If-None-Match is {value!r}: only * (create, do not replace) is supported",
                target="If-None-Match",
            )
        return value == "*"

    def argument(self, name: str, default: float, highest: float) -> float:
        """A number of the query string, 0 to `highest`. Raises Invalid."""
        text = dict(parse_qsl(self.query)).get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= highest:
            raise Invalid(f"{name} is {text!r}: give a number from 0 to {highest:g}", target=name)
        return value

    def whole(self, name: str, default: int, highest: int) -> int:
        """The same of a whole number. Raises Invalid."""
        text = self.word(name)
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= highest):
            raise Invalid(
                f"{name} is {text!r}: give a whole number from 0 to {highest}", target=name
            )
        return int(text)

    def flag(self, name: str) -> bool:
        """Whether a word of the query string is true. Raises Invalid for what is neither."""
        text = self.word(name).lower()
        if text not in ("", "true", "false"):
            raise Invalid(f"{name} is {text!r}: give true or false", target=name)
        return text == "true"

    def word(self, name: str) -> str:
        """A text of the query string, empty when it is absent."""
        return dict(parse_qsl(self.query)).get(name, "")

    async def read(self, receive: Receive, large: Semaphore) -> None:
        """Take in the body. A long one waits for `large`, which `done` gives back. Raises
        TooLarge."""
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Invalid("the client went away in the middle of its request")
            piece = message.get("body", b"")
            size += len(piece)
            if size > MOST_BYTES:
                raise TooLarge(f"the body is longer than {MOST_BYTES} bytes: send it in parts")
            pieces.append(piece)
            if size > LARGE_BYTES and self._holds is None:
                await large.acquire()
                self._holds = large
            more = message.get("more_body", False)
        self.body = b"".join(pieces)

    def done(self) -> None:
        """The request has been answered: let go of its body."""
        self.body = b""
        if self._holds is not None:
            self._holds.release()
            self._holds = None

    def json(self, levels: int = 0) -> Json:
        """The body; see `read_json`. Raises Invalid, WrongMediaType, TooLarge."""
        content_type, encoding = self.header(b"content-type"), self.header(b"content-encoding")
        return read_json(self.body, content_type, encoding, levels)
