# SPDX-License-Identifier: Apache-2.0
"""The compiled programs of several hosts, wired together: what comes out of one's tunnel goes into
the tunnel of the host whose provider address it is sent to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address
from typing import NamedTuple

from isthmus.derive.engine import Change, Engine
from isthmus.host.facts import THIS, LocalPort, ThisHost
from isthmus.policy.rows import Port, Row
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.declared import broken
from isthmus.switches.ovs.facts import DomainFacts, SegmentFacts, ThisBridge
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import KEPT, FlowKey, NotFollowed, Programmed
from isthmus.wire import oxm
from tests.proof.connections import Connections, Tuple
from tests.proof.frames import Frame, frame_of
from tests.proof.interpreter import Run, Sent, Watch
from tests.proof.program import Program, decoded
from tests.proof.slots import OF_TUPLE, compared, conditions
from tests.switches.policy_rows import new_engine, put

_LONGEST_WAY = 8
"""Hosts that a packet may pass; one more, and it goes in a circle."""


class Delivered(NamedTuple):
    """A guest got it: by its port's name."""

    port: str
    frame: Frame


class Host:
    """A host's engine, and its program as the interpreter has it. `begun` are the ports whose
    windows are there still; those of all others are over."""

    def __init__(
        self,
        name: str,
        rows: Iterable[Row],
        plugged: Mapping[str, int],
        begun: Collection[str] = (),
    ) -> None:
        self.name = name
        self._begun = begun
        self.engine: Engine = new_engine(name)
        self.numbers = Numbers()
        self.connections = Connections()
        self.program = Program()
        self.port_of: dict[int, str] = {}
        self.port_was: dict[int, str] = {}
        """Before ports were last plugged."""
        this, bridge = self.engine.rows(ThisHost)[THIS], self.engine.rows(ThisBridge)[THIS]
        self.provider_address = this.provider_address
        self.tunnel_ports = dict(bridge.tunnel_ports)
        put(self.engine, *rows)
        self.plug(plugged)
        self.settle()

    def put(self, row: Row, *, present: bool = True) -> None:
        self.engine.put(type(row), row.key, row if present else None)

    def plug(self, plugged: Mapping[str, int]) -> None:
        """These ports, and no others."""
        for port in self.port_of.values():
            if port not in plugged:
                self.engine.put(LocalPort, port, None)
        put(self.engine, *(LocalPort(port, ofport) for port, ofport in plugged.items()))
        self.port_was = self.port_of
        self.port_of = {ofport: port for port, ofport in plugged.items()}

    def settle(self) -> list[Change]:
        """Let the program follow the rows; gives the flows that changed."""
        self.numbers.follow(self.engine, release=True)
        self.numbers.programmed()
        assert not self.engine.failures, self.engine.failures
        changes = self.engine.changes(Programmed)
        for change in changes:
            key, new = change.key, change.new
            assert isinstance(key, FlowKey)
            assert new is None or isinstance(new, Programmed)
            assert new is None or not broken(key, new.instructions)
            is_over = new is not None and new.lasts_s and not self._is_begun(key)
            present = None if new is None or is_over else decoded(key, new.instructions)
            self.program.put(key, present)
        return changes

    def _is_begun(self, window: FlowKey) -> bool:
        ofports = {entry.value for entry in oxm.entries(window.match) if entry.field is oxm.IN_PORT}
        ofports.add(compared(conditions(window.match), reg.OUT) or 0)
        return any(self.port_of.get(ofport) in self._begun for ofport in ofports)


class Network:
    """`watches` are told of every lookup, by host."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self.hosts = {host.name: host for host in hosts}
        self._host_at = {host.provider_address: host for host in self.hosts.values()}
        self.watches: dict[str, Watch] = {}
        self.place_of: dict[str, tuple[str, int]] = {}
        self.plugged()

    def plugged(self) -> None:
        """Look where the ports are."""
        self.place_of = {
            port: (host.name, ofport)
            for host in self.hosts.values()
            for ofport, port in host.port_of.items()
        }

    def forget(self) -> None:
        """All connections."""
        for host in self.hosts.values():
            host.connections.clear()

    def plant(self, packet: Tuple, initiator: str, responder: str) -> None:
        """Make a connection known on the hosts of these ports; where an end has no name, no rules
        hold for it."""
        for name in filter(None, (initiator, responder)):
            where, _ = self.place_of[name]
            host = self.hosts[where]
            here = {port for port in (initiator, responder) if port in host.port_of.values()}
            mark = KEPT | (initiator not in here) * NotFollowed.INITIATOR
            mark |= (responder not in here) * NotFollowed.RESPONDER
            port = host.engine.rows(Port)[name]
            domain = host.engine.rows(SegmentFacts)[port.segment].domain_key
            host.connections.commit(host.engine.rows(DomainFacts)[domain].zone, packet, mark)

    def send(self, port: str, frame: Frame) -> tuple[Delivered, ...]:
        """Who gets what a guest sends, in order of names."""
        host, ofport = self.place_of[port]
        packet = {**frame.fields(), oxm.IN_PORT: ofport}
        return tuple(sorted(self._walk(self.hosts[host], packet, 0)))

    def inject(
        self, host: str, provider_address: str, key: int, frame: Frame, encapsulation: str
    ) -> tuple[Delivered, ...]:
        """Who gets what comes to a host in a tunnel, from any address."""
        at = self.hosts[host]
        packet = {
            **frame.fields(),
            oxm.IN_PORT: at.tunnel_ports[encapsulation],
            oxm.TUNNEL_ID: key,
            oxm.TUN_SRC: int(IPv4Address(provider_address)),
            oxm.TUN_DST: at.provider_address,
        }
        return tuple(sorted(self._walk(at, packet, 0)))

    def _walk(self, host: Host, packet: dict[oxm.Field, int], hops: int) -> Iterable[Delivered]:
        assert hops < _LONGEST_WAY, f"{packet} goes in a circle"
        run = Run(host.program, host.connections, self.watches.get(host.name))
        for sent in run.start(packet):
            if sent.punted is not None:
                continue
            port = host.port_of.get(sent.ofport)
            if port is not None:
                yield Delivered(port, frame_of(sent.packet))
            else:
                yield from self._tunnel(host, sent, hops)

    def _tunnel(self, host: Host, sent: Sent, hops: int) -> Iterable[Delivered]:
        used = {ofport: name for name, ofport in host.tunnel_ports.items()}.get(sent.ofport)
        there = self._host_at.get(sent.packet.get(oxm.TUN_DST, 0))
        ofport = there.tunnel_ports.get(used) if there is not None and used is not None else None
        if there is None or ofport is None:
            return
        packet = {field: value for field, value in sent.packet.items() if field not in _TRACKED}
        packet[oxm.IN_PORT] = ofport
        packet[oxm.TUN_SRC] = host.provider_address
        yield from self._walk(there, packet, hops + 1)


_TRACKED = frozenset((oxm.CT_STATE, oxm.CT_ZONE, *OF_TUPLE))
"""What stays on the host that tracked it."""
