# SPDX-License-Identifier: Apache-2.0
"""Whether tunnel packets come to each peer and back: asked through the tunnel itself.

A firewall may let ICMP pass and VXLAN not, or the other way round, so only a tunnel packet can
tell. The peer's switch answers, whether its agent runs or not (`switches.ovs.tunnels`). A peer that
does not say that its switch answers such questions (`ANSWERS` among its capabilities) is no host
of ours or an older one: of its tunnel nothing is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple

from isthmus.agent.ovs.host import OvsHost
from isthmus.errors import Unavailable
from isthmus.host.facts import THIS, Reach
from isthmus.policy.host_problems import TUNNEL, TUNNEL_SOURCE, TUNNELS, HostProblem
from isthmus.policy.rows import HostStatus
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.facts import ThisBridge
from isthmus.switches.ovs.tunnels import sent_through
from isthmus.wire import tunnel_probes
from isthmus.wire.encapsulations import firewall_text
from isthmus.wire.openflow_packets import PacketIn

log = logging.getLogger(__name__)

ANSWERS = "tunnel-probe"
"""The capability (`HostStatus.capabilities`) of a host whose switch answers."""

WAIT_S, ATTEMPTS = 0.5, 3
"""The userspace datapath loses the first packet to a neighbour that it does not know."""

LATE_S = 0.25
"""How much later than it should the waiting may end."""

MOST_NAMED = 10
"""Peers of which a host says that nothing comes back; of more it says how many."""

FULL_BURST = 50
"""Questions of full size that are sent without a pause."""


class Busy(Unavailable):
    """We have not heard, and it may be our own fault."""


class Peer(NamedTuple):
    """Another host that we share an encapsulation with."""

    host: str
    address: int
    encapsulation: str
    ofport: int
    answers: bool
    """Whether its switch answers questions."""

    @property
    def text(self) -> str:
        return f"{self.host} ({IPv4Address(self.address)})"


class _Asking:
    """Questions to some peers, by address; `complete` when all have answered."""

    def __init__(self, addresses: set[int]) -> None:
        self.answered: dict[int, IPv4Address] = {}
        self.complete = asyncio.Event()
        self._missing = addresses

    def take(self, address: int, seen: IPv4Address) -> None:
        self.answered[address] = seen
        self._missing.discard(address)
        if not self._missing:
            self.complete.set()


class TunnelProbing:
    """The questions of one host that are on their way, and what the last round has shown."""

    def __init__(self, state: OvsHost, connection: Connection, *, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self.problems: tuple[HostProblem, ...] = ()
        self._state = state
        self._connection = connection
        self._asked: dict[bytes, tuple[int, _Asking]] = {}
        """By nonce: whom, and for what."""

    @property
    def provider_address(self) -> IPv4Address:
        return self._state.identity.provider_address

    def peers(self) -> list[Peer]:
        """By name."""
        engine = self._state.engine
        this = engine.rows(ThisBridge).get(THIS)
        ports = dict(this.tunnel_ports) if this is not None else {}
        statuses = engine.rows(HostStatus)
        found = []
        for reach in engine.rows(Reach).values():
            status, ofport = statuses.get(reach.host), ports.get(reach.encapsulation)
            if ofport is not None and status is not None:
                answers = ANSWERS in status.capabilities
                found.append(Peer(*reach[:3], ofport, answers))
        return sorted(found)

    def take(self, packet: PacketIn) -> None:
        """What may be an answer. Raises Malformed."""
        found = tunnel_probes.answer(packet.packet)
        asked = self._asked.pop(found.nonce, None)
        if asked is not None:
            address, asking = asked
            asking.take(address, found.seen)

    async def ask(self, peers: Iterable[Peer], outer_bytes: int = 0) -> dict[int, IPv4Address]:
        """By address, of those who have answered: the outer source address that they have seen.
        Raises Unavailable while the switch is away, Busy when nobody can tell.

        An attempt in which this process did something else until it was over counts for nothing:
        answers may have come and not been looked at."""
        wanted, nonces = list(peers), list[bytes]()
        asking = _Asking({peer.address for peer in wanted})
        answered = asking.answered
        try:
            attempts, late = 0, 0
            while attempts < ATTEMPTS:
                missing = [peer for peer in wanted if peer.address not in answered]
                if not missing:
                    break
                for number, peer in enumerate(missing, 1):
                    nonce = secrets.token_bytes(tunnel_probes.NONCE_BYTES)
                    nonces.append(nonce)
                    self._asked[nonce] = peer.address, asking
                    frame = tunnel_probes.question(nonce, peer.encapsulation, outer_bytes)
                    way = sent_through(peer.encapsulation, peer.ofport, peer.address)
                    self._connection.send_packet_out(frame, way)
                    if number % FULL_BURST == 0:
                        await asyncio.sleep(0)
                until_s = time.monotonic() + self._wait_s
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._wait_s):
                        await asking.complete.wait()
                if time.monotonic() - until_s <= LATE_S:
                    attempts += 1
                elif late < ATTEMPTS:
                    late += 1
                elif not asking.complete.is_set():
                    raise Busy("this agent was too busy to hear what comes back")
        finally:
            for nonce in nonces:
                self._asked.pop(nonce, None)
        return answered

    async def round(self) -> None:
        """Ask every peer that answers, and note what is wrong."""
        peers = [peer for peer in self.peers() if peer.answers]
        try:
            answered = await self.ask(peers)
        except Busy as error:
            log.warning("tunnels=unknown reason=%s", error)
            return  # what was known stays
        except Unavailable:
            self.problems = ()  # that the switch is away is said as such
            return
        self.problems = tuple(self._judged(peers, answered))

    def _judged(self, peers: list[Peer], answered: dict[int, IPv4Address]) -> Iterator[HostProblem]:
        ours = self._state.identity.provider_address
        broken = [peer for peer in peers if peer.address not in answered]
        for peer in broken[:MOST_NAMED]:
            yield HostProblem(
                *(TUNNEL, peer.host),
                f"no {peer.encapsulation.upper()} packet comes back from {peer.text}",
                f"let {firewall_text(peer.encapsulation)} pass between {ours} and"
                f" {IPv4Address(peer.address)}, both ways",
            )
        if len(broken) > MOST_NAMED:
            yield HostProblem(
                *(TUNNELS, ""),
                f"nor does one come back from {len(broken) - MOST_NAMED} further hosts",
                "look at this host's uplink and at firewalls",
            )
        for peer in peers:
            seen = answered.get(peer.address)
            if seen is not None and seen != ours:
                yield HostProblem(
                    *(TUNNEL_SOURCE, peer.host),
                    f"{peer.text} sees our tunnel packets come from {seen} and not from {ours},"
                    " and drops those of ports",
                    "no address translation may be between hosts; see the routes on this host",
                )


class Heard(NamedTuple):
    """What has come back of peers, by provider address. Of those in `unknown` nothing is known;
    `seen_as`: under which address some see us, where it is another than ours."""

    unreachable: tuple[str, ...]
    too_small: tuple[str, ...]
    unknown: tuple[str, ...]
    seen_as: Mapping[str, str]


async def asked_through(probing: TunnelProbing, addresses: Iterable[str], mtu_bytes: int) -> Heard:
    """For the doctor: of these provider addresses, who does not answer through the tunnel, who
    does not to packets of full size, of whom nothing is known, and who sees us come from another
    address. Raises Unavailable."""
    wanted = {int(IPv4Address(text)) for text in addresses}
    peers = [peer for peer in probing.peers() if peer.address in wanted]
    asked = [peer for peer in peers if peer.answers]
    small = await probing.ask(asked)
    full = await probing.ask([peer for peer in asked if peer.address in small], mtu_bytes)
    ours = probing.provider_address
    return Heard(
        _texts({peer.address for peer in asked} - small.keys()),
        _texts(small.keys() - full.keys()),
        _texts({peer.address for peer in peers} - {peer.address for peer in asked}),
        {str(IPv4Address(address)): str(seen) for address, seen in small.items() if seen != ours},
    )


def _texts(addresses: Iterable[int]) -> tuple[str, ...]:
    return tuple(str(IPv4Address(address)) for address in sorted(addresses))
