# SPDX-License-Identifier: Apache-2.0
"""The REST API as the lab uses it: a plain client of MS-NCNBI over a unix socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from isthmus.errors import IsthmusError, Unavailable
from isthmus_lab.daemon import Daemon

_TIMEOUT_S = 20.0
_READY_S = 20.0

Resource = Mapping[str, Any]
"""A resource as JSON. What is in it is for who reads it to know, hence Any."""


class Northbound:
    """Puts and gets resources; a context manager. Every method raises Unavailable for any
    refusal.
    """

    def __init__(self, path: Path, version: str = "v1") -> None:
        self._prefix = f"/networking/{version}"
        self._socket = path
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)),
            base_url="http://localhost",
            timeout=_TIMEOUT_S,
        )

    def __enter__(self) -> Northbound:
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

    def get(self, reference: str) -> Resource:
        return self._exchange("GET", self._prefix + reference)

    def put(self, reference: str, body: Resource) -> Resource:
        """Create or replace; the resource as the controller answers it."""
        return self._exchange("PUT", self._prefix + reference, body)

    def batch(self, resources: Iterable[tuple[str, Resource]]) -> None:
        """Put many resources in one transaction, all or none: the extension ``batch``."""
        entries = [{"method": "PUT", "resourceRef": ref, "body": body} for ref, body in resources]
        self._exchange("POST", f"{self._prefix}/batch", {"requests": entries})

    def delete(self, reference: str) -> None:
        self._exchange("DELETE", self._prefix + reference)

    def wait_until_ready(self, controller: Daemon) -> float:
        """Wait until the controller answers discovery; seconds. Raises Unavailable with its log's
        end.
        """
        start = time.monotonic()
        problem = f"nobody listens on {self._socket}"
        while time.monotonic() < start + _READY_S and controller.pid is not None:
            if not self._listens():
                time.sleep(0.01)
                continue
            try:
                self._exchange("GET", "/networking/discovery")
            except IsthmusError as error:
                problem = error.message
                time.sleep(0.02)
            else:
                return time.monotonic() - start
        state = "does not answer" if controller.pid is not None else "has ended"
        raise Unavailable(
            f"the controller {state}: expected 200 from /networking/discovery in {_READY_S:g} s;"
            f" saw: {problem}; the end of {controller.log}:\n{controller.last_words()}"
        )

    def _listens(self) -> bool:
        """Whether somebody is there. httpcore leaves the socket of a failed attempt open."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._socket)) == 0

    def _exchange(self, method: str, path: str, body: Resource | None = None) -> Resource:
        try:
            reply = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise Unavailable(f"{method} {path}: {type(error).__name__}: {error}") from error
        if reply.status_code >= 300:
            raise Unavailable(
                f"{method} {path}: expected 2xx, saw {reply.status_code} {reply.text}"
            )
        content: Resource = reply.json() if reply.content else {}
        return content
