# SPDX-License-Identifier: Apache-2.0
"""The REST API as the lab uses it, over the unix socket of its controller."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from pathlib import Path

from isthmus.api.client import Client, Resource
from isthmus.errors import IsthmusError, Unavailable
from isthmus_lab.daemon import Daemon

__all__ = ["Northbound", "Resource"]

_TIMEOUT_S = 60.0
_READY_S = 60.0
_VERSION = "v7.1"
"""The newest: security tags are not in the first one."""


class Northbound(Client):
    """A client of the lab's controller; a context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"unix:{path}", timeout_s=_TIMEOUT_S, version=_VERSION)
        self._socket = path

    def put_all(self, resources: Iterable[tuple[str, Resource]]) -> None:
        """Put many resources in one transaction, all or none."""
        self.batch({"method": "PUT", "resourceRef": ref, "body": body} for ref, body in resources)

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
                self.discovery()
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
