# SPDX-License-Identifier: Apache-2.0
"""A client of the REST API: what the CLI and tests use. Errors of the server come as those of
`isthmus.errors`, with their codes and targets."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlencode

import httpx

from isthmus import errors
from isthmus.errors import Detail, Invalid, IsthmusError, Unavailable

TIMEOUT_S = 30.0
STREAM_SILENCE_S = 60.0
"""A stream says something four times as often."""

MOST_SHOWN = 500
"""Characters of an answer that is not understood, in a message."""

Resource = Mapping[str, Any]
"""JSON; what is in it is for who reads it to know, hence Any."""

_BY_STATUS: dict[int, type[IsthmusError]] = {
    400: errors.Invalid,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.Invalid,
    409: errors.Conflict,
    412: errors.PreconditionFailed,
    413: errors.Invalid,
    415: errors.Invalid,
    503: errors.Unavailable,
}


class StreamedEvent(NamedTuple):
    """One of an endless answer. `identifier` is what one goes on with after a cut."""

    kind: str
    data: Resource
    identifier: str


_STRICT = {"Prefer": "handling=strict"}
"""RFC 7240 section 4.4."""


class Client:
    """One controller, or whatever speaks MS-NCNBI. A context manager."""

    def __init__(
        self,
        url: str,
        *,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        user: str = "",
        password: str = "",
        version: str = "v1",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`url`: ``unix:/path``, ``http://127.0.0.1:8080``, ``https://host``. Raises Invalid for
        another one, and for certificates that cannot be used."""
        self.url = url
        self._prefix = f"/networking/{version}"
        path = url.removeprefix("unix:") if url.startswith("unix:") else None
        if not url.startswith(("unix:", "http://", "https://")):
            raise _no_address(url, "")
        verify: ssl.SSLContext | bool = False
        if url.startswith("https://") or ca or certificate:
            verify = _context(ca, certificate, key)  # reads all authorities: 0.2 s
        try:
            self._client = httpx.Client(
                transport=httpx.HTTPTransport(uds=path, verify=False) if path else None,
                base_url="http://localhost" if path else url.rstrip("/"),
                verify=verify,
                auth=(user, password) if user else None,
                timeout=timeout_s,
            )
        except httpx.InvalidURL as error:
            raise _no_address(url, f" ({error})") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    # -- resources ---------------------------------------------------------------------------------

    def get(self, ref: str) -> Resource:
        """A resource, or a collection as ``{"value": [...]}``. Raises NotFound."""
        return self._ask("GET", self._prefix + _path(ref))

    def list(self, ref: str) -> Sequence[Resource]:
        """The members of a collection."""
        found: Sequence[Resource] = self.get(ref).get("value", ())
        return found

    def put(
        self, ref: str, body: Resource, *, if_match: str = "", create_only: bool = False
    ) -> Resource:
        """Create or replace; the resource as it is stored."""
        headers = {"If-Match": if_match} if if_match else {}
        if create_only:
            headers["If-None-Match"] = "*"
        return self._ask("PUT", self._prefix + _path(ref), body, headers)

    def delete(self, ref: str, *, if_match: str = "") -> bool:
        """Delete; False when there was nothing."""
        headers = {"If-Match": if_match} if if_match else {}
        reply = self._send("DELETE", self._prefix + _path(ref), None, headers)
        return reply.status_code != 204

    def batch(self, requests: Iterable[Resource], *, strict: bool = False) -> Sequence[Resource]:
        """Many writes as one, all or nothing; the answer to each. `strict`: a field that the server
        would ignore is refused."""
        body = {"requests": [*requests]}
        answer = self._ask("POST", f"{self._prefix}/batch", body, _STRICT if strict else None)
        found: Sequence[Resource] = answer["responses"]
        return found

    # -- beyond resources --------------------------------------------------------------------------

    def discovery(self) -> Resource:
        return self._ask("GET", "/networking/discovery")

    def status(self, *, ask: bool = False) -> Resource:
        """`ask`: all hosts, whether they are there; takes up to three seconds."""
        return self._ask("GET", f"{self._prefix}/isthmus/status{'?ask=true' if ask else ''}")

    def remove_host(self, host: str) -> Resource:
        """Forget all that a dead host has said. Raises NotFound, and Conflict for one that
        answers."""
        return self._ask("DELETE", f"{self._prefix}/isthmus/hosts/{quote(host, safe='')}")

    def explain_port(self, port: str) -> Resource:
        return self._ask("GET", f"{self._prefix}/isthmus/explain/ports/{quote(port, safe='')}")

    def plan(self, requests: Iterable[Resource]) -> Resource:
        """What a batch would do, judged strictly; nothing is stored."""
        body = {"requests": [*requests]}
        return self._ask("POST", f"{self._prefix}/isthmus/plan", body, _STRICT)

    def trace(self, source: str, destination: str, **how: str | int) -> Resource:
        """Where a packet ends and why. `how`: protocol, port, sourcePort, family, switches."""
        query = urlencode({"from": source, "to": destination, **how})
        return self._ask("GET", f"{self._prefix}/isthmus/trace?{query}")

    def check_connectivity(self, properties: Resource) -> Resource:
        """Begin a ConnectivityCheck (MS-NCNBI section B.20)."""
        body = {"properties": properties}
        return self._ask("PUT", f"{self._prefix}/diagnostics/ConnectivityCheck", body)

    def doctor(self) -> Resource:
        """What is wrong, and how it is repaired."""
        return self._ask("GET", f"{self._prefix}/isthmus/doctor")

    def bundle(self) -> Resource:
        """Everything that support needs."""
        return self._ask("GET", f"{self._prefix}/isthmus/bundle")

    def counters(self) -> Resource:
        """What rules, stages and ports have counted, by host."""
        return self._ask("GET", f"{self._prefix}/isthmus/counters")

    def events(
        self,
        after: str = "",
        *,
        event: str = "",
        kind: str = "",
        resource: str = "",
        change: str = "",
    ) -> Iterator[StreamedEvent]:
        """What happens from now on, or since the event of that id; endless. All, or what the
        others name only: docs/api.md has their values."""
        given = {"after": after, "event": event, "kind": kind}
        given |= {"resource": resource, "change": change}
        query = urlencode({name: value for name, value in given.items() if value})
        return self._stream(f"{self._prefix}/isthmus/events?{query}")

    def drops(self, port: str = "", host: str = "", peer: str = "") -> Iterator[StreamedEvent]:
        """What hosts drop; endless."""
        query = urlencode({"port": port, "host": host, "peer": peer})
        return self._stream(f"{self._prefix}/isthmus/drops?{query}")

    def flows(
        self, verdict: str = "all", port: str = "", host: str = "", peer: str = ""
    ) -> Iterator[StreamedEvent]:
        """What hosts allow and drop; endless."""
        query = urlencode({"verdict": verdict, "port": port, "host": host, "peer": peer})
        return self._stream(f"{self._prefix}/isthmus/flows?{query}")

    def raise_probe(self) -> Resource:
        """Ask every host to answer when it has all that was written before."""
        return self._ask("POST", f"{self._prefix}/isthmus/probes")

    def probe(self, number: int, *, answered: int = 0, wait_s: float = 10.0) -> Resource:
        """Who has answered; returns when more than `answered` hosts have, or after `wait_s`."""
        query = f"answered={answered}&waitSeconds={wait_s:g}"
        return self._ask("GET", f"{self._prefix}/isthmus/probes/{number}?{query}")

    def _stream(self, path: str) -> Iterator[StreamedEvent]:
        try:
            with self._client.stream("GET", path, timeout=STREAM_SILENCE_S) as reply:
                if reply.status_code >= 300:
                    reply.read()
                    raise _error(reply)
                yield from _messages(reply.iter_lines())
        except httpx.HTTPError as error:
            told = str(error) or type(error).__name__
            raise Unavailable(f"the stream from {self.url} was cut off: {told}") from error

    # -- requests ----------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Resource:
        reply = self._send(method, path, body, headers)
        try:
            content: Resource = reply.json() if reply.content else {}
        except RecursionError as error:
            raise Invalid(
                f"what {self.url}{path} answers is nested too deeply to be read"
            ) from error
        except ValueError as error:
            raise Unavailable(
                f"what answers at {self.url} is no controller: {reply.text[:MOST_SHOWN]!r}."
                " Is the address right (--url)?"
            ) from error
        return content

    def _send(
        self,
        method: str,
        path: str,
        body: Resource | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        try:
            reply = self._client.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise _no_answer(self.url, error) from error
        if reply.status_code >= 300:
            raise _error(reply)
        return reply


def _no_address(url: str, why: str) -> errors.Invalid:
    return errors.Invalid(
        f"{url!r} is no address of a controller{why}: write unix:/path, http://127.0.0.1:8080 or"
        " https://host",
        target=url,
    )


def _no_answer(url: str, error: httpx.HTTPError) -> IsthmusError:
    """Why there is none, and what is to be done about that."""
    told = str(error) or type(error).__name__
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    advice = "Is it running (isthmus controller), and is the address right (--url)?"
    if any(isinstance(one, PermissionError) for one in causes):
        advice = "Its unix socket is its owner's alone: ask as root, or by https:// and a name."
    elif any(isinstance(one, ssl.SSLCertVerificationError) for one in causes):
        advice = (
            "Somebody answers, whose certificate --ca does not vouch for: give the authority"
            " (--ca), and the name or address that is in the certificate (--url)."
        )
    elif any(isinstance(one, ssl.SSLError) for one in causes):
        advice = (
            "Somebody answers, but not as agreed on: does it speak TLS, and want --certificate?"
        )
    return Unavailable(f"no answer from the controller at {url}: {told}. {advice}")


def _messages(lines: Iterable[str]) -> Iterator[StreamedEvent]:
    """Server-sent events, one a block of lines; comments are passed over."""
    identifier = kind = data = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            identifier = value
        elif name == "event":
            kind = value
        elif name == "data":
            data = value
        elif not line and data:
            yield StreamedEvent(kind, json.loads(data), identifier)
            kind = data = ""


def _path(ref: str) -> str:
    return quote("/" + ref.strip("/"), safe="/:@~+(){}")


def _context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | bool:
    if ca is None and certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(file) for file in (ca, certificate, key) if file is not None)
        raise errors.Invalid(f"the certificates {files} cannot be used: {error}") from error
    return context


def _error(reply: httpx.Response) -> IsthmusError:
    told = _told(reply)
    retry_after = reply.headers.get("retry-after", "")
    details = told.get("details")
    return _BY_STATUS.get(reply.status_code, errors.Broken)(
        str(told.get("message") or f"{reply.status_code} {reply.text[:MOST_SHOWN]}"),
        code=told.get("code"),
        target=told.get("target"),
        details=tuple(
            Detail(str(one.get("code")), str(one.get("message")), one.get("target"))
            for one in (details if isinstance(details, list) else ())
            if isinstance(one, dict)
        ),
        retry_after_s=int(retry_after) if retry_after.isdecimal() else None,
    )


def _told(reply: httpx.Response) -> Resource:
    """What the server says of its error, which a proxy in between may have put in its own words."""
    try:
        body = reply.json()
    except ValueError:
        return {}
    told = body.get("error") if isinstance(body, dict) else None
    return told if isinstance(told, dict) else {}
