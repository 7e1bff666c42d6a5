# SPDX-License-Identifier: Apache-2.0
"""What a controller tells as it happens: events, what hosts allow and drop, and what they have
counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from ipaddress import ip_network
from typing import NamedTuple
from uuid import uuid4

import msgspec

from isthmus.api.http.streams import Message
from isthmus.api.interfaces import Wanted, Watched
from isthmus.controller.answers import Verdicts
from isthmus.controller.asking import Asking
from isthmus.controller.events import Event, Events, change_of
from isthmus.controller.picture import Picture, host_shown
from isthmus.errors import NotFound, Unavailable
from isthmus.intent.model import Json, JsonObject, Stored, View
from isthmus.intent.render import etag_text

WATCH_S = 30.0
"""For how long a host is asked to show what it sees; it is asked again while somebody looks."""

UNKNOWN = "is no question that this host knows"
"""How agents of every version refuse a question."""


class Peer(NamedTuple):
    """One end of what is watched: a port, if it is one, and its prefixes."""

    port: str
    networks: tuple[str, ...]


NO_PEER = Peer("", ())


class Asked(NamedTuple):
    """What a host is asked about."""

    port: str
    peer: Peer


class Streams:
    """Of one controller."""

    def __init__(self, view: Callable[[], View], picture: Picture, asking: Asking) -> None:
        self.happened = Events()
        self._view = view
        self._picture = picture
        self._asking = asking

    def north_changed(self, changes: Iterable[tuple[str, Stored | None, Stored | None]]) -> None:
        """Resources by key, before and after."""
        for key, old, new in changes:
            change = change_of(old, new)
            if change is not None:
                self.happened.add("resource", key, change)

    async def events(self, after: str, wanted: Wanted) -> AsyncIterator[Message]:
        """What happens, as it is when it is told."""
        async with aclosing(self.happened.follow(after, wanted)) as following:
            async for event in following:
                yield self._told(event)

    def _told(self, event: Event) -> Message:
        identifier = self.happened.identifier(event.number)
        match event.kind:
            case "alive":
                return Message("", {}, identifier)
            case "reset":
                return Message("reset", {"why": "events are missing: read anew"}, identifier)
            case "host":
                view = self._picture.host_view(event.key)
                shown = host_shown(view, self._picture.problems_of(view))
                return Message("host", shown, identifier)
            case "resource":
                return Message("resource", self._resource(event), identifier)
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

    def _resource(self, event: Event) -> dict[str, Json]:
        """`action` is what the resource is now, `change` what has happened to it."""
        row = self._view().get(event.key)
        if row is None:
            return {"action": "deleted", "change": event.change, "resourceRef": event.key}
        owner: dict[str, Json] = {"owner": row.owner} if row.owner else {}
        return {
            "action": "written",
            "change": event.change,
            "resourceRef": row.ref,
            "instanceId": row.instance_id,
            "etag": etag_text(row.etag),
            **owner,
        }

    async def counters(self) -> JsonObject:
        """What rules, stages and ports have counted, by host."""
        hosts = self._watched_hosts("", "")
        told = await asyncio.gather(*(self._asking.ask(host, "counters") for host in hosts))
        return {"hosts": [{**one, "host": h} for h, one in zip(hosts, told, strict=True)]}

    def flows(self, watched: Watched, kind: str) -> AsyncIterator[Message]:
        """What hosts allow and drop from now on, told as events of that kind: of one port, with one
        peer, on one host, or everywhere. A sample. Raises NotFound."""
        watched = watched._replace(port=watched.port.lower(), host=watched.host.lower())
        return self._flows(watched, kind, self._questions(watched))

    async def _flows(
        self, watched: Watched, kind: str, questions: Mapping[str, Asked]
    ) -> AsyncIterator[Message]:
        name, renewed_s = f"watch-{uuid4()}", 0.0
        try:
            while True:
                now_s = time.monotonic()
                if now_s > renewed_s + WATCH_S / 2:
                    told = await self._watch(name, watched.verdict, questions, WATCH_S)
                    for one, answer in told.items():
                        if answer.get("error"):
                            error = _explained(one, str(answer["error"]))
                            yield Message("silent", {"host": one, "error": error})
                    renewed_s = now_s
                    yield Message("", {})
                for answer in await self._asking.take(f"{name}.", Verdicts):
                    for message in _messages(answer, kind):
                        yield message
                await self._asking.next_change(time.monotonic() + 1.0)
        finally:
            # Who looked has gone: no host need wait for the end of its time.
            await self._watch(name, watched.verdict, questions, 0)
            with suppress(Unavailable):  # then it is forgotten later
                await self._asking.take(f"{name}.")

    async def _watch(
        self, name: str, verdict: str, questions: Mapping[str, Asked], seconds: float
    ) -> Mapping[str, JsonObject]:
        texts = []
        for port, peer in questions.values():
            question: dict[str, object] = {"name": name, "seconds": int(seconds), "port": port}
            word = "watch"
            if verdict != "dropped" or peer.networks:
                # Who does not know what is allowed would take this for a question about drops.
                word = "flows"
                question |= {"verdict": verdict, "peer": peer.port, "peers": peer.networks}
            texts.append(f"{word} {msgspec.json.encode(question).decode()}")
        told = await asyncio.gather(*map(self._asking.ask, questions, texts))
        return dict(zip(questions, told, strict=True))

    def _questions(self, watched: Watched) -> Mapping[str, Asked]:
        """By host. Between two ports it is asked of the hosts of both, each about its own. Raises
        NotFound."""
        port, peer = watched.port, self._peer(watched.peer)
        hosts = self._watched_hosts(port, watched.host)
        found = {host: Asked(port, peer) for host in hosts}
        if port and peer.port:
            there = self._watched_hosts(peer.port, watched.host)
            claims = self._picture.claims_by_port
            turned = Asked(peer.port, self._peer(port))
            has_port, has_peer = (claims.get(one, {}) for one in (port, peer.port))
            found |= {host: turned for host in there if host in has_peer and host not in has_port}
        return found

    def _peer(self, text: str) -> Peer:
        """Raises NotFound."""
        if not text:
            return NO_PEER
        port = self._picture.ports.get(text.lower())
        if port is None:
            try:
                return Peer("", (str(ip_network(text, strict=False)),))
            except ValueError:
                raise NotFound(
                    f"no port is called {text}, and it is no address and no prefix", target="peer"
                ) from None
        own = [str(ip_network(address)) for address in port.addresses]
        own += [pair.partition(" ")[0] for pair in port.pairs]
        if not own:
            raise NotFound(f"{port.id} has no address", target="peer")
        return Peer(port.id, tuple(own))

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


def _messages(answer: JsonObject, kind: str) -> Iterator[Message]:
    """What a host has told, one verdict a message; nothing of what cannot be read."""
    verdicts, unshown = answer.get("verdicts", ()), answer.get("unshown", 0)
    assert isinstance(verdicts, Sequence)
    for verdict in verdicts:
        assert isinstance(verdict, Mapping)
        yield Message(kind, {"verdict": "dropped", **verdict})
    if unshown:
        yield Message("unshown", {"host": answer.get("host", ""), "packets": unshown})


def _explained(host: str, error: str) -> str:
    """What an agent says that does not know a question is in its own words."""
    if UNKNOWN in error:
        return (
            f"its agent is older than this controller and shows what it drops, with no peer, and"
            f" nothing else: upgrade {host}"
        )
    return error
