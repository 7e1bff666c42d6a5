# SPDX-License-Identifier: Apache-2.0
"""An application served in this process, for clients that block."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isthmus.api.http.authentication import Application
from isthmus.api.http.listening import Listener
from isthmus.api.http.server import ApiServer


@contextmanager
def serving(
    app: Application, address: str = "", *, listener: Listener | None = None
) -> Iterator[str]:
    """The URL of `app` on `address` or by `listener`, else on a unix socket, served by a thread of
    its own."""
    folder = Path(tempfile.mkdtemp(prefix="cl", dir="/tmp"))
    urls: list[str] = []
    loop, ready = asyncio.new_event_loop(), threading.Event()

    def serve() -> None:
        server = ApiServer(app, [listener or Listener(address or f"unix:{folder}/s")])
        loop.run_until_complete(server.start())
        urls.extend(server.urls)
        ready.set()
        loop.run_forever()
        loop.run_until_complete(server.stop())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        shutil.rmtree(folder)
