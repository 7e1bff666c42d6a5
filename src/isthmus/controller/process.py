# SPDX-License-Identifier: Apache-2.0
"""The controller's process: REST in front, two stores behind, and the deriver if nobody else is.

Any number of controllers run on the same stores: all serve REST, one derives. A controller that was
told of no servers keeps its own: members of two RAFT clusters, of one each until they are grown. It
starts them again when they die. They outlive it: hosts go on reading the south store while no
controller runs, and the next controller takes the servers over.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from isthmus.api.app import create_app
from isthmus.api.certificate_checks import trust
from isthmus.api.http.listening import Listener
from isthmus.api.http.server import ApiServer
from isthmus.api.http.tls import TlsFiles
from isthmus.controller.deriving import Deriving, faults
from isthmus.controller.hearing import Hearing
from isthmus.controller.listeners import Shown, ask, rest_listeners, store_listeners
from isthmus.controller.operations import Operations, StoreHealth
from isthmus.controller.picture import NAMED, Picture
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.errors import IsthmusError, Unavailable
from isthmus.intent.model import Json, JsonObject, Stored
from isthmus.policy.rows import TABLES, Claim, HostStatus, PortStatus, row_or_none
from isthmus.store import schema, servers
from isthmus.store.client_tls import ClientTls
from isthmus.store.connection import Change, Connection
from isthmus.store.exposure import ServerTls
from isthmus.store.files import ServerFiles
from isthmus.store.north import North, Trust
from isthmus.store.south import PolicyWriter, deriver_of
from isthmus.store.supervising import Keeper

log = logging.getLogger(__name__)

LOADED_S = 30.0
"""How long the stores may take to be there; then the process ends with what is wrong."""


class Settings(NamedTuple):
    """What a controller is told. Empty `north` and `south`: it keeps servers of its own."""

    name: str
    data_directory: Path
    run_directory: Path
    listen: tuple[str, ...]
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    client_certificates: tuple[str, ...] = ()
    users: Path | None = None
    north: tuple[str, ...] = ()
    south: tuple[str, ...] = ()
    store_listen: tuple[str, ...] = ()
    north_tls: ServerTls | None = None
    """Of the north store, whose authority is none that hosts have certificates of."""
    underlay_mtu_bytes: int = 1500
    transports: tuple[str, ...] = ("vxlan", "nvgre")
    version: str = "0"


async def run(settings: Settings) -> None:
    """Serve until cancelled. Raises IsthmusError for what must not or cannot be served."""
    for directory in (settings.run_directory, settings.data_directory):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = [one for one in _own_servers(settings) if not getattr(settings, one.files.name)]
    controller = Controller(settings, own)  # refuses settings before anything is started
    for one in own:
        await one.ensure()
    await controller.run()


class _OwnServer(NamedTuple):
    """A server of a store that this machine keeps."""

    files: ServerFiles
    schema: schema.Schema
    listen: tuple[str, ...]
    tls: ServerTls | None

    async def ensure(self) -> None:
        """Have it run."""
        await servers.ensure_server(
            self.files.name,
            self.schema,
            directory=self.files.directory,
            run_directory=self.files.run_directory,
            listen=self.listen,
            tls=self.tls,
        )

    def keeper(self, serves: Callable[[], bool]) -> Keeper:
        return Keeper(self.files, self.schema, serves=serves, listen=self.listen, tls=self.tls)


def _own_servers(settings: Settings) -> tuple[_OwnServer, _OwnServer]:
    """Both stores', where the settings name no others."""
    places = settings.data_directory, settings.run_directory
    return (
        _OwnServer(ServerFiles("north", *places), schema.north_schema(), (), settings.north_tls),
        _OwnServer(
            ServerFiles("south", *places),
            schema.south_schema(),
            settings.store_listen,
            _south_tls(settings),
        ),
    )


def _south_tls(settings: Settings) -> ServerTls | None:
    """How we and our own server prove ourselves to hosts and to other servers of the south."""
    if settings.certificate is None or settings.key is None or settings.ca is None:
        return None
    return ServerTls(settings.certificate, settings.key, settings.ca)


def _context(tls: ServerTls | None) -> Callable[[], ssl.SSLContext] | None:
    """How we prove ourselves to servers that are reached by ``ssl:``. Raises Invalid."""
    return None if tls is None else ClientTls(tls.certificate, tls.key, tls.ca).context


def _trust(settings: Settings) -> Trust:
    """What this controller's files say now; nothing where they cannot be read."""
    if settings.certificate is None or settings.ca is None:
        return Trust()
    try:
        signed_by, trusts = trust(settings.certificate, settings.ca)
    except IsthmusError:
        return Trust()  # the listeners and the connections to the stores say what is wrong
    return Trust(signed_by, frozenset(trusts))


class Controller:
    """One controller on its two stores. The constructor raises IsthmusError for settings that must
    not or cannot be served, and begins nothing."""

    def __init__(self, settings: Settings, own: Sequence[_OwnServer]) -> None:
        self.settings = settings
        by_name = {one.files.name: one for one in own}
        self._own = by_name
        north = settings.north or (by_name["north"].files.remote,)
        south = settings.south or (by_name["south"].files.remote,)
        south_tls = _south_tls(settings)
        north_tls = settings.north_tls or south_tls
        self.picture = Picture(time.time, Hearing(time.monotonic))
        # A server of our own may follow another: what a transaction waits for is looked at by the
        # leader again (ovsdb(7)), so that the fence and the etags hold there as well.
        self.north = North(
            north,
            replica=settings.name,
            leader_only=bool(settings.north),
            tls=_context(north_tls),
            on_changes=self._north_changed,
            trust=lambda: _trust(settings),
        )
        self.south = Connection(
            south,
            schema.SOUTH,
            TABLES,
            name="south",
            leader_only=bool(settings.south),
            tls=_context(south_tls),
            on_changes=self._south_changed,
            on_connected=self._south_connected,
        )
        self._keepers = {
            name: one.keeper(partial(self._serves, name)) for name, one in by_name.items()
        }
        self._writer = PolicyWriter(self.south, settings.name)
        self.deriving = Deriving(
            self._writer,
            Underlay(settings.underlay_mtu_bytes, settings.transports),
            name=settings.name,
            heartbeats=lambda: self.north.heartbeats,
            holder=self._holder,
        )
        self.operations = Operations(
            version=settings.version,
            view=lambda: self.north.view,
            picture=self.picture,
            south=self.south,
            vitals=self,
            pending=lambda: self.deriving.pending,
            engine=lambda: self.deriving.engine,
        )

        self._api = ApiServer(
            create_app(
                self.north,
                states=self.picture,
                operations=self.operations,
                software_version=settings.version,
            ),
            _listeners(settings),
        )

    async def run(self) -> None:
        """Serve until cancelled."""
        keeping = [asyncio.create_task(keeper.run()) for keeper in self._keepers.values()]
        try:
            await self.north.start()
            await self.south.start()
            await self._loaded()
            keeping.append(asyncio.create_task(self.operations.run()))
            await self._api.start()
            await self.deriving.run()
        finally:
            await self._api.stop()
            await self.south.stop()
            await self.north.stop()
            for task in keeping:
                task.cancel()

    async def _loaded(self) -> None:
        try:
            await self.north.loaded(LOADED_S)
            await self.south.loaded(LOADED_S)
        except Unavailable as error:
            raise Unavailable(
                f"the stores cannot be read: {error.message}. `isthmus store status` says more"
            ) from error
        for wanted, connection in (
            (schema.north_schema(), self.north.connection),
            (schema.south_schema(), self.south),
        ):
            schema.refuse_other_version(wanted, connection.schema_version, connection.remotes)

    # -- what changes ------------------------------------------------------------------------------

    def _north_changed(self, changes: Sequence[tuple[str, Stored | None, Stored | None]]) -> None:
        self.operations.streams.north_changed(changes)
        for _, old, new in changes:
            row = new or old
            if row is not None and row.kind in NAMED:
                if old is not None and (new is None or new.instance_id != old.instance_id):
                    self.picture.name(old.instance_id, None)
                if new is not None:
                    self.picture.name(new.instance_id, new.resource_id.lower())
        self.deriving.changed((old, new) for _, old, new in changes)

    def _south_changed(self, changes: Sequence[Change]) -> None:
        self._writer.note(changes)
        self.deriving.south_changed(changes)
        for _, _, old, new in changes:
            self.picture.change(row_or_none(old), row_or_none(new))
            happened = new if new is not None else old
            if isinstance(happened, PortStatus | Claim):
                self.operations.streams.happened.add("state", happened.port)
            elif isinstance(happened, HostStatus):
                self.operations.streams.happened.add("host", happened.host)
        self.operations.south_changed()

    def _south_connected(self, connected: bool) -> None:
        if connected:
            self.picture.hearing.listen()
            self.deriving.forget()

    def _holder(self) -> str | None:
        """Whom the south store names the deriver; None while it is away."""
        if not self.south.connected or not self.north.connected:
            return None
        found = deriver_of(self.south)
        return "" if found is None else found[1].holder

    # -- controller.operations.Vitals --------------------------------------------------------------

    def controllers(self) -> Iterable[JsonObject]:
        holder = self._holder()
        now_s = time.monotonic()
        for name in sorted(self.north.heartbeats):
            alive = name == self.settings.name or self.deriving.watch.is_alive(name, now_s)
            yield {"name": name, "alive": alive, "deriving": alive and name == holder}

    def trusts(self) -> Mapping[str, JsonObject]:
        alive = {one["name"] for one in self.controllers() if one["alive"]}
        return {
            name: {"signedBy": said.signed_by, "trusts": sorted(said.trusts)}
            for name, said in sorted(self.north.trusts.items())
            if name in alive and said != Trust()
        }

    async def listeners(self) -> tuple[Sequence[Shown], Sequence[Shown]]:
        south_tls = _south_tls(self.settings)
        north_tls = self.settings.north_tls or south_tls
        found = []
        for name, tls in (("south", south_tls), ("north", north_tls)):
            if tls is None:
                continue
            one = self._own.get(name)
            own = None if one is None else (one.files, str(one.schema["name"]), one.listen)
            found += await store_listeners(name, tls, getattr(self.settings, name), own)
        if south_tls is not None:
            found += rest_listeners(self.settings.listen, south_tls)
        shown = await ask(found)
        north = [one for one in shown if south_tls != one.listener.tls == north_tls]
        return [one for one in shown if one not in north], north

    def stores(self) -> Iterable[StoreHealth]:
        for name, store, rows in (
            ("north", self.north, self.north.rows),
            ("south", self.south, sum(len(rows) for rows in self.south.rows.values())),
        ):
            keeper = self._keepers.get(name)
            problems = (store.problem, "" if keeper is None else keeper.problem)
            yield StoreHealth(
                name,
                store.connected,
                "; ".join(filter(None, problems)),
                rows,
                0 if keeper is None else keeper.restarts,
            )

    def _serves(self, name: str) -> bool:
        return self.north.connected if name == "north" else self.south.connected

    def deriver(self) -> JsonObject:
        found = deriver_of(self.south)
        row = None if found is None else found[1]
        deriving: dict[str, Json] = {
            "holder": None if row is None else row.holder,
            "generation": None if row is None else row.generation,
            "here": self.deriving.is_deriver,
            "pending": self.deriving.pending,
            "problem": self.deriving.problem,
            "failures": [*faults(self.deriving.engine), *self.deriving.told],
            "foreign": self.deriving.foreign.told,
        }
        return deriving


def _listeners(settings: Settings) -> list[Listener]:
    """TLS and the rule of access hold for all but unix sockets and this machine's own addresses."""
    found = []
    for text in settings.listen:
        address = text.removeprefix("https://").removeprefix("http://")
        plain = address.startswith("unix:") or text.startswith("http://")
        if plain or settings.certificate is None:
            found.append(Listener(address))
            continue
        assert settings.key is not None, "a certificate comes with its key"
        found.append(
            Listener(
                address,
                tls=TlsFiles(
                    settings.certificate, settings.key, settings.ca or settings.certificate
                ),
                certificates=settings.client_certificates,
                users=settings.users,
            )
        )
    return found
