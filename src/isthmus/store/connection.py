# SPDX-License-Identifier: Apache-2.0
"""A client of one data base: a live replica of some of its tables, and transactions.

It keeps itself connected: to any of several servers, in a cluster to one that is part of a quorum,
or to the leader alone. After a gap it asks for what it missed, and where the server cannot tell
that (it remembers a hundred transactions) for everything; `on_changes` then hears the difference.

The server sends a transaction's updates before its answer, so `transact` returns when the replica
holds what was written.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import msgspec

from isthmus.errors import IsthmusError, Unavailable
from isthmus.store.failures import OutcomeUnknown, failure
from isthmus.store.remotes import check_remote, dial
from isthmus.store.replica import Change, Replica, Row, table
from isthmus.store.session import Counters, Session
from isthmus.wire import ovsdb
from isthmus.wire.malformed import Malformed
from isthmus.wire.ovsdb import Operation, RowId

__all__ = ["Change", "Clause", "Conditions", "Connection"]

log = logging.getLogger(__name__)

Clause = tuple[str, str, str]
"""Column, function, value (RFC 7047 section 5.1); those of one table are joined by OR."""

Conditions = Mapping[type, Sequence[Clause]]
"""By row type: no clause asks for no row, an absent type for all."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 2.0
ANSWER_S = 10.0
LOAD_S = 120.0
"""For the first picture of a large data base."""
LARGE_BYTES = 1 << 20
_MONITOR, _SERVER_MONITOR = "rows", "server"
_NEVER = "00000000-0000-0000-0000-000000000000"


class _Database(msgspec.Struct, frozen=True):
    """What a server says of a data base in its ``_Server`` (ovsdb-server(5))."""

    TABLE: ClassVar[str] = "Database"
    name: str = ""
    model: str = ""
    connected: bool = True
    leader: bool = True
    cid: RowId | None = None
    """The cluster."""
    index: int | None = None
    """How much of the cluster's log the server has applied."""


class Connection:
    """See the module. `on_connected` is told True when the replica is whole, and False when the
    server is lost."""

    def __init__(
        self,
        remotes: Sequence[str],
        database: str,
        row_types: Sequence[type[msgspec.Struct]],
        *,
        name: str,
        leader_only: bool = False,
        tls: Callable[[], ssl.SSLContext] | None = None,
        on_changes: Callable[[Sequence[Change]], None] = lambda _changes: None,
        on_connected: Callable[[bool], None] = lambda _connected: None,
        conditions: Conditions | None = None,
        probe_s: float = 5.0,
    ) -> None:
        """`remotes`: ``unix:/path``, ``tcp:host:port``, ``ssl:host:port``, tried in turn; `tls` is
        asked at each attempt (`ClientTls.context`). Raises Invalid for what is no remote."""
        for remote in remotes:
            check_remote(remote)
        self.counters = Counters()
        self.problem = "not connected yet"
        """Why there is no connection; empty while there is."""
        self.schema_version = ""
        """Of the data base as the server has it; empty before it was loaded."""
        self.remotes = tuple(remotes)
        self._database = database
        self._name = name
        self._leader_only = leader_only
        self._tls = tls
        self._on_changes = on_changes
        self._on_connected = on_connected
        self._conditions: Conditions = dict(conditions or {})
        self._given_conditions: Conditions | None = {}
        """Those that the replica is a picture of; None while they are being changed."""
        self._probe_s = probe_s
        self._replica = Replica(row_types)
        self._server = Replica([_Database])
        self._last_transaction = _NEVER
        self._seen: tuple[RowId | None, int] = (None, 0)
        """The cluster, and how much of its log the replica has at least."""
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._loaded = asyncio.Event()
        self._changing_conditions = asyncio.Lock()

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to connect, and keep at it."""
        self._task = asyncio.create_task(self._stay_connected(), name=f"store {self._name}")

    async def loaded(self, timeout_s: float | None = None) -> None:
        """Wait for the first whole picture. Raises Unavailable with the reason."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._loaded.wait()
        except TimeoutError:
            raise Unavailable(
                f"no picture of {self._database} after {timeout_s:g} s: {self.problem}"
            ) from None

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    @property
    def connected(self) -> bool:
        """Whether the replica is whole and followed."""
        return self._session is not None and not self._session.lost.done()

    @property
    def rows(self) -> Mapping[type, Mapping[RowId, msgspec.Struct]]:
        """The live replica, by row type."""
        return self._replica.rows

    def table(self, row_type: type[Row]) -> Mapping[RowId, Row]:
        """The live rows of one type."""
        return table(self._replica, row_type)

    # -- use ---------------------------------------------------------------------------------------

    async def transact(
        self, operations: Sequence[Operation], *, timeout_s: float = ANSWER_S
    ) -> list[object]:
        """All operations or none; their results. Raises what `store.failures` has."""
        session = self._current()
        self.counters.transactions += 1
        answer = await session.ask("transact", [self._database, *operations], timeout_s=timeout_s)
        if answer.error is not None:
            raise failure(ovsdb.rpc_error(answer.error))
        try:
            results = ovsdb.raw_list(answer.result)
        except Malformed as error:
            self.counters.malformed += 1
            session.abort(str(error))
            raise OutcomeUnknown(f"the answer to a transaction cannot be read: {error}") from error
        refused = ovsdb.operation_error(results)
        if refused is not None:
            raise failure(refused)
        return results

    async def set_conditions(self, conditions: Conditions) -> float:
        """Ask for other rows from now on; returns when they have come, with the seconds that the
        server took. While there is no connection they are kept for the next one. Raises
        Unavailable."""
        self._conditions = dict(conditions)
        async with self._changing_conditions:
            if self._session is None or not self.connected:
                return 0.0
            return await self._ask_for_conditions(self._session)

    async def _ask_for_conditions(self, session: Session) -> float:
        """Until the replica is a picture of the conditions, which may change meanwhile; how long
        the server took, without what has kept us from hearing of it."""
        loop, taken_s = asyncio.get_running_loop(), 0.0
        while self._conditions != self._given_conditions:
            wanted, given = self._conditions, self._given_conditions
            self._given_conditions = None
            changed = {
                codec.table: [{"where": self._where(wanted, codec.row_type)}]
                for codec in self._replica.monitored
                if given is None or wanted.get(codec.row_type) != given.get(codec.row_type)
            }
            if changed:
                params = [_MONITOR, _MONITOR, changed]
                asked_s = answered_s = loop.time()

                def note(_answer: ovsdb.Message) -> None:
                    nonlocal answered_s
                    answered_s = loop.time()

                answer = await session.ask(
                    "monitor_cond_change", params, timeout_s=LOAD_S, take=note
                )
                taken_s += answered_s - asked_s
                if answer.error is not None:
                    session.abort("the conditions were refused")  # whether in part is not known
                    raise failure(ovsdb.rpc_error(answer.error))
            self._given_conditions = wanted
        return taken_s

    def _current(self) -> Session:
        if self._session is None:
            raise Unavailable(f"{self._database} cannot be reached: {self.problem}")
        return self._session

    # -- staying connected -------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        loop, delay_s = asyncio.get_running_loop(), FIRST_DELAY_S
        while True:
            for remote in self.remotes:
                try:
                    session = await self._open(remote)
                # UnicodeError: a host name that DNS cannot have.
                except (OSError, IsthmusError, UnicodeError) as error:
                    self._note(f"{remote}: {str(error) or type(error).__name__}")
                    continue
                except Exception as error:  # whatever it is, one goes on connecting
                    if self._note(f"{remote}: a fault of this program: {error!r}"):
                        log.exception("store=%s connecting=fault", self._name)
                    continue
                since_s = loop.time()
                await self._serve(session, remote)
                if loop.time() - since_s > LONGEST_DELAY_S:  # else it may be lost at once again
                    delay_s = FIRST_DELAY_S
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def _note(self, problem: str) -> bool:
        """Log why there is no connection, once for as long as it is the same; True for the first
        time."""
        is_news = problem != self.problem
        level = logging.WARNING if is_news else logging.DEBUG
        log.log(level, "store=%s unreachable=%s", self._name, problem)
        self.problem = problem
        return is_news

    async def _open(self, remote: str) -> Session:
        """Connect, choose, and load."""
        tls = None if self._tls is None else self._tls()
        session = await dial(remote, lambda: Session(self._notified, self.counters), tls, ANSWER_S)
        try:
            await self._watch_server(session)
            await self._load(session)
            await self._ask_for_conditions(session)  # those that were set meanwhile
            self._refuse_unsuitable()  # it may have lost its place in the cluster meanwhile
        except BaseException:
            session.abort("the connection is not used")
            raise
        return session

    async def _watch_server(self, session: Session) -> None:
        """Learn what the server is in its cluster. Raises Unavailable if it is not for us."""
        self._server.fit(ovsdb.columns_by_table(await self._schema(session, "_Server")))
        params = ["_Server", _SERVER_MONITOR, {"Database": [{"columns": [*_columns(_Database)]}]}]
        await self._monitor(session, "monitor_cond", params, self._server_loaded)
        self._refuse_unsuitable()

    def _server_loaded(self, message: ovsdb.Message) -> None:
        self._server.load_plain(memoryview(message.result))

    def _refuse_unsuitable(self) -> None:
        rows = [r for r in table(self._server, _Database).values() if r.name == self._database]
        if not rows:
            raise Unavailable(f"the server has no data base {self._database}")
        row = rows[0]
        if row.model == "clustered" and not row.connected:
            raise Unavailable("the server is in no majority of its cluster")
        if row.model == "relay" and not row.connected:
            raise Unavailable("the server is a relay that has lost its source")
        if row.model == "clustered" and self._leader_only and not row.leader:
            raise Unavailable("the server does not lead its cluster")
        # One that has just been started, or is slow: its picture would take back what was told.
        if row.index is not None and row.cid == self._seen[0] and row.index < self._seen[1]:
            raise Unavailable("the server is behind what another of its cluster has said")

    def _note_index(self) -> None:
        """The replica has, or is about to have, what the server says that it has applied."""
        for row in table(self._server, _Database).values():
            if row.name == self._database and row.index is not None:
                self._seen = row.cid, row.index

    async def _load(self, session: Session) -> None:
        schema = await self._schema(session, self._database)
        self.schema_version = ovsdb.schema_version(schema)
        self._replica.fit(ovsdb.columns_by_table(schema))
        if self._conditions != self._given_conditions:
            self._last_transaction = _NEVER  # what was missed would be told of the old conditions
        conditions = self._conditions
        requests = {}
        for codec in self._replica.monitored:
            asked: dict[str, object] = {"columns": list(codec.columns)}
            if codec.row_type in conditions:
                asked["where"] = self._where(conditions, codec.row_type)
            requests[codec.table] = [asked]
        params = [self._database, _MONITOR, requests, self._last_transaction]
        await self._monitor(session, "monitor_cond_since", params, self._rows_loaded)
        self._given_conditions = conditions

    async def _schema(self, session: Session, database: str) -> msgspec.Raw:
        answer = await session.ask("get_schema", [database], timeout_s=ANSWER_S)
        if answer.error is not None:
            raise Unavailable(f"the server has no data base {database}")
        return answer.result

    async def _monitor(
        self,
        session: Session,
        method: str,
        params: object,
        take: Callable[[ovsdb.Message], None],
    ) -> None:
        answer = await session.ask(method, params, timeout_s=LOAD_S, take=take)
        if answer.error is not None:
            raise Unavailable(f"the server refuses to be followed: {answer.error}")

    def _where(self, conditions: Conditions, row_type: type) -> list[object]:
        """RFC 7047 section 5.1; ovsdb-server(7) section 4.1.12 adds true and false."""
        clauses = conditions.get(row_type)
        if clauses is None:
            return [True]
        return [list(clause) for clause in clauses] or [False]

    async def _serve(self, session: Session, remote: str) -> None:
        """Until the session is lost."""
        self._session, self.problem = session, ""
        self._note_index()
        self._loaded.set()
        log.info("store=%s connected=%s rows=%d", self._name, remote, self._n_rows())
        self._tell(True)
        try:
            await self._probe(session)
        finally:
            self._session = None
            session.abort("this end has closed it")
            self.problem = f"{remote}: {session.lost.result()}"
            log.info("store=%s lost=%s", self._name, self.problem)
            self._tell(False)

    async def _probe(self, session: Session) -> None:
        """Ask a silent server whether it is there, until it is not."""
        while not session.lost.done():
            session.heard = False
            await asyncio.wait([session.lost], timeout=self._probe_s)
            if not session.heard and not session.lost.done():
                try:
                    await session.ask("echo", [], timeout_s=self._probe_s)
                except Unavailable:
                    return

    def _n_rows(self) -> int:
        return sum(len(rows) for rows in self._replica.rows.values())

    # -- what comes --------------------------------------------------------------------------------

    def _rows_loaded(self, message: ovsdb.Message) -> None:
        raw = memoryview(message.result)
        # A hundred thousand rows are no garbage: looking through them again and again while they
        # are made takes longer than making them.
        collecting = gc.isenabled() and raw.nbytes > LARGE_BYTES
        if collecting:
            gc.disable()
        try:
            self._last_transaction = _NEVER  # what cannot be read is not asked for again
            resumed, self._last_transaction, changes = self._replica.load(raw)
            self.counters.resumes += resumed
            self.counters.reloads += not resumed
            self._announce(changes)
        finally:
            if collecting:
                gc.enable()

    def _notified(self, message: ovsdb.Message) -> None:
        match message.method:
            case "update3":
                self._last_transaction = _NEVER  # what cannot be read is not asked for again
                self._last_transaction, changes = self._replica.update3(memoryview(message.params))
                self._announce(changes)
            case "update2":
                self._server.update2(memoryview(message.params))
                if self._session is not None:
                    try:
                        self._refuse_unsuitable()
                    except Unavailable as error:
                        self._session.abort(error.message)
                    else:
                        self._note_index()

    def _announce(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        try:
            self._on_changes(changes)
        except Exception:  # a fault in what follows the rows must not end the following of them
            log.exception("store=%s on-changes=failed", self._name)

    def _tell(self, connected: bool) -> None:
        try:
            self._on_connected(connected)
        except Exception:  # as above
            log.exception("store=%s on-connected=failed", self._name)


def _columns(row_type: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(row_type)]
