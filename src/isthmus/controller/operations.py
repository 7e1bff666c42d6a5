# SPDX-License-Identifier: Apache-2.0
"""What an operator asks of a controller: is all well, what became of this port, is everyone done.

Everything here is read from the stores and from hosts' own words, and shaped as JSON objects; the
CLI turns them into text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from isthmus.api.http.streams import Message
from isthmus.api.interfaces import Check, Wanted, Watched
from isthmus.controller import listeners
from isthmus.controller.asking import Asking
from isthmus.controller.checks import Checks
from isthmus.controller.doctor import (
    ERROR,
    Finding,
    Heard,
    certificates_told,
    findings,
    physical_mtu,
)
from isthmus.controller.explaining import explained, misnamed
from isthmus.controller.listeners import Shown
from isthmus.controller.picture import Picture, host_shown
from isthmus.controller.preview import preview
from isthmus.controller.probes import Probes
from isthmus.controller.removing import remove_host
from isthmus.controller.streams import Streams
from isthmus.controller.tracing import Tracing
from isthmus.derive.engine import Engine
from isthmus.errors import NotFound
from isthmus.intent.model import Json, JsonObject, View
from isthmus.intent.planning import Request
from isthmus.intent.registry import ROOTS
from isthmus.intent.render import render
from isthmus.intent.versions import Version
from isthmus.policy.rows import (
    DESIRED,
    OBSERVED,
    PortStatus,
    Row,
)
from isthmus.reach.trace import Question
from isthmus.reach.world import World
from isthmus.store.connection import Connection
from isthmus.store.identifiers import RandomIds

MOST_ERRORS = 100
"""Of ports in error, how many a status names."""


class StoreHealth(NamedTuple):
    """One of the two stores as this controller sees it."""

    name: str
    connected: bool
    problem: str
    rows: int
    restarts: int = 0
    """Of the server that this controller keeps, since the controller began."""


class Vitals(Protocol):
    """What the process knows of itself."""

    def controllers(self) -> Iterable[JsonObject]: ...

    def trusts(self) -> Mapping[str, JsonObject]:
        """What living controllers with TLS say of their certificates: `signedBy`, `trusts`."""
        ...

    async def listeners(self) -> tuple[Sequence[Shown], Sequence[Shown]]:
        """What listeners present: those with certificates of the authority of hosts, and those of
        the north store where its authority is another."""
        ...

    def stores(self) -> Iterable[StoreHealth]: ...

    def deriver(self) -> JsonObject: ...


class Operations:
    """Answers from the picture, the policy, and the hosts. All times are of this controller."""

    def __init__(
        self,
        *,
        version: str,
        view: Callable[[], View],
        picture: Picture,
        south: Connection,
        vitals: Vitals,
        pending: Callable[[], bool],
        engine: Callable[[], Engine],
    ) -> None:
        """`pending`: whether something accepted is not in the south store yet."""
        self._version = version
        self._view = view
        self._picture = picture
        self._south = south
        self._vitals = vitals
        self._engine = engine
        self._asking = Asking(south, picture.is_alive)
        self._probes = Probes(south, picture, self._asking, pending)
        self.streams = Streams(view, picture, self._asking)
        self._tracing = Tracing(self._world, self._asking, self._probes.unknown)
        self._checks = Checks(self._world, self._asking, self._tracing, south)
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled, keep the store free of what nobody reads."""
        await self._asking.keep_forgetting()

    def south_changed(self) -> None:
        """Let those who wait look again."""
        self._probes.south_changed()
        self._asking.south_changed()

    def _world(self) -> World:
        tables = self._south.rows.values()
        return World(row for rows in tables for row in rows.values() if isinstance(row, Row))

    def events(self, after: str, wanted: Wanted) -> AsyncIterator[Message]:
        """What happens from now on, or has since the event that `after` identifies."""
        return self.streams.events(after, wanted)

    def flows(self, watched: Watched, kind: str) -> AsyncIterator[Message]:
        """What hosts allow and drop from now on. Raises NotFound, Invalid."""
        return self.streams.flows(watched, kind)

    async def counters(self) -> JsonObject:
        """What rules, stages and ports have counted, by host."""
        return await self.streams.counters()

    async def plan(self, requests: Sequence[Request], version: Version) -> JsonObject:
        """What requests would do. Raises what they would be refused with.

        One at a time, so that many questions do not slow down what must go on.
        """
        async with self._one_at_a_time:
            return await preview(
                self._view(), RandomIds(), self._engine(), self._observed, requests, version
            )

    def _observed(self) -> Iterator[Row]:
        for table in OBSERVED:
            yield from self._south.table(table).values()

    async def trace(self, question: Question, *, by_switches: bool) -> JsonObject:
        """Where a packet ends and why. Raises NotFound, Invalid."""
        return await self._tracing.trace(question, by_switches=by_switches)

    async def check_connectivity(self, check: Check) -> str:
        """Begin a ConnectivityCheck; its operation id. Raises NotFound, Unavailable."""
        return await self._checks.start(check)

    def check_results(self) -> dict[str, JsonObject]:
        """What checks have found, by operation id."""
        return self._checks.results()

    # -- status ------------------------------------------------------------------------------------

    def status(self) -> JsonObject:
        picture = self._picture
        errors = [
            status
            for port in sorted(picture.ports)
            if (status := picture.status_of(port)) is not None and status.state == "error"
        ]
        up = sum(
            1
            for port in picture.ports
            if (status := picture.status_of(port)) is not None and status.state == "up"
        )
        unknown = [
            {"port": port, "host": host}
            for port, claims in sorted(picture.claims_by_port.items())
            for host in sorted(claims)
            if host not in picture.hosts
        ]
        return {
            "software": self._version,
            "controllers": [dict(one) for one in self._vitals.controllers()],
            "stores": [store._asdict() for store in self._vitals.stores()],
            "deriver": dict(self._vitals.deriver()),
            "hosts": [host_shown(view, picture.problems_of(view)) for view in picture.host_views()],
            "ports": {
                "total": len(picture.ports),
                "claimed": sum(1 for port in picture.ports if picture.claim_of(port)),
                "up": up,
                "error": len(errors),
            },
            "errors": [_error(status) for status in errors[:MOST_ERRORS]],
            "unknownClaims": unknown[:MOST_ERRORS],
        }

    async def status_asked(self) -> JsonObject:
        """The same, after asking all hosts: `unknown` says of a host why nobody knows how it is
        now, and since when. What its ports were is not what they are."""
        unknown = await self._probes.unknown()
        told = dict(self.status())
        hosts, ports = told["hosts"], told["ports"]
        assert isinstance(hosts, list)
        assert isinstance(ports, dict)
        told["hosts"] = [{**host, "unknown": unknown.get(host["host"], "")} for host in hosts]
        found = [
            status for port in self._picture.ports if (status := self._picture.status_of(port))
        ]
        lost = [status.state for status in found if status.host in unknown]
        told["ports"] = {
            **ports,
            "up": ports["up"] - lost.count("up"),
            "error": ports["error"] - lost.count("error"),
            "unknown": len(lost),
        }
        return told

    # -- one port ----------------------------------------------------------------------------------

    async def explain_port(self, resource_id: str) -> JsonObject:
        """From the request to the flows. Raises NotFound."""
        port_id = resource_id.lower()
        view, picture = self._view(), self._picture
        stored = view.get(f"/networkinterfaces/{port_id}")
        if stored is None:
            named = [f"; on {host}: {text}" for host, text in misnamed(picture, port_id)]
            raise NotFound(
                f"there is no networkInterface {resource_id}: `isthmus get /networkInterfaces`"
                f" lists those that are{''.join(named)}",
                target=f"/networkInterfaces/{resource_id}",
            )
        hosts = sorted({*picture.claims_by_port.get(port_id, {})})
        asked = (self._asking.ask(host, f"port {port_id}") for host in hosts)
        unknown, answers = await asyncio.gather(self._probes.unknown(hosts), asyncio.gather(*asked))
        told = dict(zip(hosts, answers, strict=True))
        request = render(stored, view, states=picture)
        found = explained(request, self._world(), picture, told, unknown)
        return {"owner": stored.owner, **found}

    def ailing(self) -> Sequence[str]:
        return [one.name for one in self._vitals.stores() if not one.connected]

    # -- the whole cloud ---------------------------------------------------------------------------

    async def doctor(self) -> JsonObject:
        """What is wrong, and how it is repaired."""
        world = self._world()
        mtu = physical_mtu(world)
        addresses = {
            status.host: status.provider_addresses[0]
            for status in world.host_statuses.values()
            if status.provider_addresses and status.host in world.hosts
        }
        hosts = [host for host in sorted(addresses) if self._picture.is_alive(host)]
        heard, (shown, shown_north) = await asyncio.gather(
            asyncio.gather(*(self._hear(host, addresses, mtu) for host in hosts)),
            self._vitals.listeners(),
        )
        silent = {
            view.host: view.age_s
            for view in self._picture.host_views()
            if view.age_s is not None and not view.alive
        }
        told = dict(zip(hosts, heard, strict=True))
        found = findings(world, told, time.time(), mtu, silent=silent)
        presented = listeners.findings((*shown, *shown_north), time.time())
        stores = [
            Finding(*(ERROR, store.name, "store", store.problem), "isthmus store status says more")
            for store in self._vitals.stores()
            if not store.connected
        ]
        foreign = str(self._vitals.deriver()["foreign"])
        if foreign:
            repair = (
                "find out whose certificate it was: a host's opens the whole south store"
                " (docs/security.md). Until then the deriver writes each row back"
            )
            stores.append(Finding(ERROR, "south", "policy-changed", foreign, repair))
        return {
            "hosts": len(hosts),
            "findings": [one._asdict() for one in (*stores, *presented, *found)],
            "certificates": {
                **{f"controller {name}": said for name, said in self._vitals.trusts().items()},
                **listeners.told(shown),
                **certificates_told(world, told),
            },
            "northCertificates": listeners.told(shown_north),
        }

    async def _hear(self, host: str, addresses: Mapping[str, str], mtu: int) -> Heard:
        peers = [address for other, address in addresses.items() if other != host]
        question = msgspec.json.encode({"mtu": mtu, "peers": peers}).decode()
        asked_s = time.time()
        answer = await self._asking.ask(host, f"health {question}")
        return Heard(answer, asked_s, time.time())

    async def bundle(self) -> JsonObject:
        """Everything that support needs: `cli.bundles` says what is in it."""
        view, picture = self._view(), self._picture
        doctor, counters = await asyncio.gather(self.doctor(), self.counters())
        return {
            "isthmus": self._version,
            "atS": int(time.time()),
            "status": self.status(),
            "doctor": doctor,
            "counters": counters,
            # Rendered, and so without what can be written only: passwords and keys.
            "north": [
                render(row, view, states=picture)
                for kind in ROOTS
                for row in view.collection(kind.name)
            ],
            "south": {
                table.TABLE: [msgspec.to_builtins(row) for row in self._south.table(table).values()]
                for table in (*DESIRED, *OBSERVED)
            },
        }

    # -- hosts -------------------------------------------------------------------------------------

    async def raise_probe(self) -> JsonObject:
        """See `Probes.raise_probe`."""
        return await self._probes.raise_probe()

    async def probe(self, number: int, answered: int, wait_s: float) -> JsonObject:
        """See `Probes.probe`."""
        return await self._probes.probe(number, answered, wait_s)

    async def remove_host(self, host: str) -> JsonObject:
        """See `removing.remove_host`."""
        return await remove_host(host.lower(), self._south, self._asking)


def _error(status: PortStatus) -> dict[str, Json]:
    return {
        "port": status.port,
        "host": status.host,
        "code": status.code,
        "detail": status.detail,
    }
