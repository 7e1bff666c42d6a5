# SPDX-License-Identifier: Apache-2.0
"""What a controller tells as it happens: events, what hosts drop, and what they have counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from uuid import uuid4

import msgspec

from isthmus.api.streams import Message
from isthmus.controller.answers import Drops
from isthmus.controller.asking import Asking
from isthmus.controller.events import Event, Events
from isthmus.controller.picture import Picture, host_shown
from isthmus.errors import NotFound
from isthmus.intent.model import Json, JsonObject, View
from isthmus.intent.render import etag_text

WATCH_S = 30.0
"""For how long a host is asked to show what it drops; it is asked again while somebody looks."""


class Streams:
    """Of one controller."""

    def __init__(self, view: Callable[[], View], picture: Picture, asking: Asking) -> None:
        self.happened = Events()
        self._view = view
        self._picture = picture
        self._asking = asking

    async def events(self, after: str) -> AsyncIterator[Message]:
        """What happens, as it is when it is told."""
        async with aclosing(self.happened.follow(after)) as following:
            async for event in following:
                yield self._told(event)

    def _told(self, event: Event) -> Message:
        identifier = self.happened.identifier(event.number)
        match event.kind:
            case "alive":
                return Message("", {})
            case "reset":
                return Message("reset", {"why": "events are missing: read anew"}, identifier)
            case "host":
                view = self._picture.host_view(event.key)
                shown = host_shown(view, self._picture.problems_of(view))
                return Message("host", shown, identifier)
            case "resource":
                return Message("resource", self._resource(event.key), identifier)
        port = self._picture.ports.get(event.key)
        if port is None:
            ref = f"/networkInterfaces/{event.key}"
            return Message("state", {"resourceRef": ref, "configurationState": None}, identifier)
        state = self._picture.configuration_state("networkInterfaces", port.profile_id)
        server = self._picture.located("networkInterfaces", port.profile_id)
        data: dict[str, Json] = {
            "resourceRef": port.origin,
            "instanceId": port.profile_id,
            "configurationState": state,
            "server": {"resourceRef": server[0]} if server else None,
        }
        return Message("state", data, identifier)

    def _resource(self, key: str) -> dict[str, Json]:
        row = self._view().get(key)
        if row is None:
            return {"action": "deleted", "resourceRef": key}
        return {
            "action": "written",
            "resourceRef": row.ref,
            "instanceId": row.instance_id,
            "etag": etag_text(row.etag),
        }

    async def counters(self) -> JsonObject:
        """What rules, stages and ports have counted, by host."""
        hosts = self._watched_hosts("", "")
        told = await asyncio.gather(*(self._asking.ask(host, "counters") for host in hosts))
        return {"hosts": [{**one, "host": h} for h, one in zip(hosts, told, strict=True)]}

    def drops(self, port: str, host: str) -> AsyncIterator[Message]:
        """What hosts drop from now on: of one port, on one host, or everywhere. A sample. Raises
        NotFound."""
        return self._drops(port.lower(), self._watched_hosts(port.lower(), host.lower()))

    async def _drops(self, port: str, hosts: Sequence[str]) -> AsyncIterator[Message]:
        name, renewed_s = f"watch-{uuid4()}", 0.0
        try:
            while True:
                now_s = time.monotonic()
                if now_s > renewed_s + WATCH_S / 2:
                    told = await self._watch(name, port, hosts, WATCH_S)
                    for one, answer in zip(hosts, told, strict=True):
                        if answer.get("error"):
                            yield Message("silent", {"host": one, "error": answer["error"]})
                    renewed_s = now_s
                    yield Message("", {})
                for answer in await self._asking.take(f"{name}.", Drops):
                    verdicts = answer.get("verdicts", ())  # nothing of what cannot be read
                    assert isinstance(verdicts, Sequence)
                    for verdict in verdicts:
                        yield Message("drop", verdict)
                await self._asking.next_change(time.monotonic() + 1.0)
        finally:
            # Who looked has gone: no host need wait for the end of its time.
            await self._watch(name, port, hosts, 0)

    async def _watch(
        self, name: str, port: str, hosts: Sequence[str], seconds: float
    ) -> Sequence[JsonObject]:
        question = {"name": name, "seconds": int(seconds), "port": port}
        text = f"watch {msgspec.json.encode(question).decode()}"
        return await asyncio.gather(*(self._asking.ask(one, text) for one in hosts))

    def _watched_hosts(self, port: str, host: str) -> list[str]:
        picture = self._picture
        if port and port not in picture.ports:
            raise NotFound(f"no port is called {port}", target=f"/networkInterfaces/{port}")
        if host:
            if host not in picture.hosts:
                raise NotFound(f"no server is called {host}", target=f"/servers/{host}")
            return [host]
        if port:
            return sorted(picture.claims_by_port.get(port, {}))
        return [view.host for view in picture.host_views() if view.known and view.alive]
