# SPDX-License-Identifier: Apache-2.0
"""Writes while something is done to the servers that take them."""

from __future__ import annotations

import threading
from itertools import count

from isthmus.api.client import Client
from isthmus.errors import IsthmusError


class Writes:
    """An operator who writes all the time, and knows what was acknowledged. What several of them
    write begins with names of their own."""

    def __init__(self, url: str, prefix: str = "n") -> None:
        self._url = url
        self._prefix = prefix
        self.acknowledged: set[str] = set()
        self.refused = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._go)

    def __enter__(self) -> Writes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _go(self) -> None:
        for number in count():
            if self._ending.wait(0.02):
                return
            name = f"{self._prefix}{number}"
            try:
                # Without the client's own patience: what is refused is refused.
                with Client(self._url, timeout_s=30.0) as client:
                    client.put(f"/logicalNetworks/{name}", {"properties": {}})
            except IsthmusError:
                self.refused += 1
            else:
                self.acknowledged.add(name)

    def lost(self, url: str = "") -> set[str]:
        """What was acknowledged and is not there, as that controller says; something was."""
        assert self.acknowledged, f"{self.refused} refused"
        with Client(url or self._url) as client:
            found = {one["resourceId"] for one in client.list("/logicalNetworks")}
        return self.acknowledged - found
