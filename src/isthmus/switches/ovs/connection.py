# SPDX-License-Identifier: Apache-2.0
"""The OpenFlow connection to the integration bridge, over its management socket
(``<rundir>/<bridge>.mgmt``).

`Connection.run` keeps it: it connects, agrees on OpenFlow 1.4, has packet-ins come in Nicira's
second format and nothing else unasked, and comes back with increasing delay when the switch goes
away. Each time it has connected it calls `on_connected`: the switch may be a new one, so its owner
reads it again.

Requests raise Unavailable while there is no connection, when it is lost under them, and when no
answer comes in `answer_s`; the connection is then given up, and what became of the request is not
known. Malformed is raised for an answer that cannot be read, Broken for an error in answer to a
question.

Bytes that are no OpenFlow end the connection, a malformed packet-in is passed over; both are
counted. There is no keep-alive: a switch that hangs shows at the next request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Never

from isthmus.addresses import Address
from isthmus.errors import Unavailable
from isthmus.switches.ovs.session import Counters, Session
from isthmus.wire import openflow as of
from isthmus.wire.openflow_errors import SwitchError
from isthmus.wire.openflow_packets import REASON_ACTION, REASON_MISS, PacketIn
from isthmus.wire.openflow_replies import (
    InstalledFlow,
    MeterStats,
    PortDescription,
    TableStats,
    flow_stats,
    meter_stats,
    meters,
    port_descriptions,
    table_stats,
)

ANSWER_S = 10.0
"""ovs-vswitchd answers in less than a millisecond, unless it is busy with thousands of flows."""

FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 2.0
"""A restart of ovs-vswitchd takes some tenths of a second; guests wait for DHCP answers meanwhile.
"""

FLUSHES = 6
"""How often connections of one address are flushed: each time of many about a quarter is left."""

FLUSHED = {4: (0,), 6: (6, 17, 132)}
"""IP protocols by address family: all; but of IPv6 not ICMPv6 (`of.flush_connections`), whose
entries expire within a minute."""

FROM_CONTROLLER = 0xFFFFFFFD
"""OFPP_CONTROLLER: the in_port of a packet that no port received."""

log = logging.getLogger(__name__)


class Connection:
    """One bridge's OpenFlow connection. `run` must be running for anything else to work."""

    def __init__(
        self,
        path: Path,
        *,
        on_connected: Callable[[], None],
        on_packet_in: Callable[[PacketIn], None],
        answer_s: float = ANSWER_S,
    ) -> None:
        """`path` is the management socket. The callbacks run in the event loop: keep them quick."""
        self.counters = Counters()
        self.refusal = ""
        """Why the switch, which is there, is not spoken with; empty when it is, or is not there."""
        self._path = path
        self._answer_s = answer_s
        self._on_connected = on_connected
        self._on_packet_in = on_packet_in
        self._session: Session | None = None
        self._next_xid = 1

    @property
    def connected(self) -> bool:
        return self._session is not None

    async def run(self) -> Never:
        """Connect, and connect again, until cancelled."""
        delay_s = FIRST_DELAY_S
        while True:
            try:
                session = await self._connect()
            except (OSError, Unavailable) as error:
                self.refusal = str(error) if isinstance(error, Unavailable) else ""
                log.info("switch=unreachable socket=%s error=%s", self._path, error)
            else:
                delay_s = FIRST_DELAY_S
                try:
                    await self._serve(session)
                except Exception:  # a fault of whoever was told must not end the connecting
                    log.exception("switch=lost socket=%s", self._path)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    async def _connect(self) -> Session:
        loop = asyncio.get_running_loop()
        _, session = await loop.create_unix_connection(
            lambda: Session(self._on_packet_in, self.counters), str(self._path)
        )
        try:
            await self._greet(session)
        except BaseException:
            session.abort("the greeting failed")
            raise
        return session

    async def _greet(self, session: Session) -> None:
        xids = self.reserve(4)
        greeting = (
            of.hello(xids[0]),
            # Else what asks for a port or an ICMP type would miss every packet in fragments.
            of.set_config(xids[1], fragments=of.Fragments.NX_MATCH, miss_send_len=0xFFFF),
            of.set_packet_in_format(xids[2]),
            of.set_async(xids[3], packet_in_reasons=1 << REASON_MISS | 1 << REASON_ACTION),
        )
        errors = await self._settle(session, b"".join(greeting), xids)
        if errors:
            names = ", ".join(error.name for error in errors.values())
            raise Unavailable(f"the switch at {self._path} refuses our greeting: {names}")

    async def _serve(self, session: Session) -> None:
        self._session, self.refusal = session, ""
        self.counters.connects += 1
        log.info("switch=connected socket=%s", self._path)
        try:
            self._on_connected()
            await session.lost
        finally:
            self._session = None
            session.abort("the OpenFlow connection was closed")
        log.info("switch=lost socket=%s", self._path)

    # -- requests ----------------------------------------------------------------------------------

    def reserve(self, count: int) -> range:
        """Transaction ids for `count` messages."""
        first = self._next_xid
        if first + count > 0xFFFFFFFF:
            first = 1
        self._next_xid = first + count
        return range(first, first + count)

    async def settle(self, data: bytes, xids: range) -> dict[int, SwitchError]:
        """Send messages whose transaction ids are `xids`, and wait until the switch has dealt with
        them.

        Returns the errors that it gave, by transaction id.
        """
        return await self._settle(self._current(), data, xids)

    async def barrier(self) -> None:
        """Return when the switch has dealt with all that was sent before."""
        await self.settle(b"", range(0))

    async def dump_flows(
        self, *, table: int = of.ALL_TABLES, cookie: int = 0, mask: int = 0
    ) -> list[InstalledFlow]:
        """The flows of a table, or all, whose cookies are `cookie` in the bits of `mask`."""
        flows: list[InstalledFlow] = []
        (xid,) = self.reserve(1)
        request = of.flow_stats_request(xid, table=table, cookie=cookie, mask=mask)
        await self._collect(xid, request, lambda body: flows.extend(flow_stats(body)))
        return flows

    async def dump_meters(self) -> list[of.Meter]:
        found: list[of.Meter] = []
        (xid,) = self.reserve(1)
        request = of.meter_config_request(xid)
        await self._collect(xid, request, lambda body: found.extend(meters(body)))
        return found

    async def dump_meter_stats(self) -> list[MeterStats]:
        found: list[MeterStats] = []
        (xid,) = self.reserve(1)
        request = of.meter_stats_request(xid)
        await self._collect(xid, request, lambda body: found.extend(meter_stats(body)))
        return found

    async def dump_tables(self) -> list[TableStats]:
        """How many flows each table has, and how many packets it has seen."""
        tables: list[TableStats] = []
        (xid,) = self.reserve(1)
        request = of.table_stats_request(xid)
        await self._collect(xid, request, lambda body: tables.extend(table_stats(body)))
        return tables

    async def dump_ports(self) -> list[PortDescription]:
        """All ports of the bridge, with what they were told not to do."""
        found: list[PortDescription] = []
        (xid,) = self.reserve(1)
        request = of.port_description_request(xid)
        await self._collect(xid, request, lambda body: found.extend(port_descriptions(body)))
        return found

    async def flush(self, zones: Iterable[int], ends: Iterable[tuple[int, Address]]) -> None:
        """Forget the connections of whole zones, and in a zone those of an address, on either
        end."""
        messages = [of.flush_zone(xid, zone) for zone in zones for xid in self.reserve(1)]
        for zone, address in ends:
            for protocol in FLUSHED[address.version] * FLUSHES:
                one, other = self.reserve(2)
                messages += (
                    of.flush_connections(one, zone, protocol=protocol, source=address),
                    of.flush_connections(other, zone, protocol=protocol, destination=address),
                )
        if messages:
            await self.settle(b"".join(messages), range(0))

    def send_packet_out(
        self, packet: bytes, actions: Iterable[bytes], *, in_port: int = FROM_CONTROLLER
    ) -> None:
        """Have `actions` done to a packet. A refusal is only counted and logged."""
        (xid,) = self.reserve(1)
        self._current().send(of.packet_out(packet, b"".join(actions), xid, in_port=in_port))

    async def _collect(self, xid: int, request: bytes, take: Callable[[bytes], None]) -> None:
        """Send a multipart request, and give the body of each part of the answer to `take`."""
        session = self._current()
        answered = session.expect(xid, take)
        session.send(request)
        await self._answer(session, answered)

    async def _settle(self, session: Session, data: bytes, xids: range) -> dict[int, SwitchError]:
        (xid,) = self.reserve(1)
        with session.watching(xids) as errors:
            answered = session.expect(xid)
            session.send(data + of.barrier_request(xid))
            await self._answer(session, answered)
        return errors

    async def _answer(self, session: Session, answered: asyncio.Future[None]) -> None:
        try:
            await asyncio.wait_for(answered, self._answer_s)
        except TimeoutError:
            why = f"the switch at {self._path} did not answer in {self._answer_s:g} s"
            session.abort(why)
            raise Unavailable(why) from None

    def _current(self) -> Session:
        if self._session is None:
            raise Unavailable(f"there is no connection to the switch at {self._path}")
        return self._session
