# SPDX-License-Identifier: Apache-2.0
"""Flows against reference, probe by probe: the first packet, its answer, and one more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.addresses import MULTICAST_BIT
from tests.proof.frames import answer
from tests.proof.network import Delivered, Network
from tests.proof.probes import Probe, answered_by
from tests.proof.program import Overlap
from tests.proof.reference import Reference
from tests.proof.verdicts import mac_number


class Disagreement(NamedTuple):
    """`step`: which packet of the exchange."""

    probe: Probe
    step: str
    flows: tuple[Delivered, ...] | str
    reference: tuple[Delivered, ...]


class Checker:
    """Compares one network with one reference."""

    def __init__(self, network: Network, reference: Reference) -> None:
        self.network = network
        self.reference = reference
        self.exchange: list[tuple[Probe, tuple[Delivered, ...]]] = []
        """Of the probe that was compared last: its packets, and who got each."""

    def disagreements(self, probes: Iterable[Probe]) -> Iterator[Disagreement]:
        for probe in probes:
            found = self.compare(probe)
            if found is not None:
                yield found

    def compare(self, probe: Probe) -> Disagreement | None:
        """An exchange from nothing; of its packets the first that is wrong. What goes to many, or
        comes from a host that lies, is not answered."""
        self.network.forget()
        self.reference.forget()
        self.exchange.clear()
        wrong = self.step("first", probe)
        if wrong is not None or not probe.port or probe.frame.eth_dst & MULTICAST_BIT:
            return wrong
        if self.reference.leads_nowhere(probe.port, probe.frame):
            # Nobody may take for an answer what answers nothing.
            back = answered_by(probe, self.reference.layout.tenant(probe.port))
            return self.step("uninvited", back) if back is not None else None
        for delivered in self.exchange[0][1]:
            back = self.answer(delivered)
            if back is not None:
                wrong = self.step("answer", back) or self.step("another", probe)
                if wrong is not None:
                    return wrong
        return None

    def compare_both(self, question: Probe, probe: Probe) -> Disagreement | None:
        """Two packets, one after the other, from nothing."""
        self.network.forget()
        self.reference.forget()
        self.exchange.clear()
        return self.step("question", question) or self.step("second", probe)

    def step(self, name: str, probe: Probe) -> Disagreement | None:
        """One packet, after all that was before."""
        expected = self._expected(probe)
        try:
            got = self.sent_by(self.network, probe)
        except Overlap as error:
            return Disagreement(probe, name, str(error), expected)
        self.exchange.append((probe, got))
        return None if got == expected else Disagreement(probe, name, got, expected)

    def plant(self, probe: Probe, back: Probe) -> tuple[str, str]:
        """Make a connection known at both ends, as if rules had allowed it before; gives the ends
        that are under rules, in the order of the connection."""
        self.network.forget()
        self.reference.forget()
        names = [
            one.port if self.reference.is_watched(one.port, one.frame) else ""
            for one in (probe, back)
        ]
        for name in filter(None, names):
            self.reference.remember(name, probe.frame.tuple)
        self.network.plant(probe.frame.tuple, names[0], names[1])
        return names[0], names[1]

    def got(self, probe: Probe) -> tuple[Delivered, ...]:
        """Who gets one packet, after all that was before; flows and reference must agree."""
        wrong = self.step("before", probe)
        assert wrong is None, wrong
        return self.exchange.pop()[1]

    def answer(self, delivered: Delivered) -> Probe | None:
        """What who got a packet sends back."""
        mac = mac_number(self.reference.ports[delivered.port].mac)
        back = answer(delivered.frame, mac)
        return None if back is None else Probe(back, port=delivered.port)

    @staticmethod
    def sent_by(network: Network, probe: Probe) -> tuple[Delivered, ...]:
        """Who gets one packet. Raises Overlap."""
        if probe.port:
            return network.send(probe.port, probe.frame)
        return network.inject(
            probe.host,
            probe.came_from,
            probe.vsid << 8 | probe.flow_id if probe.encapsulation == "nvgre" else probe.vsid,
            probe.frame,
            probe.encapsulation,
        )

    def _expected(self, probe: Probe) -> tuple[Delivered, ...]:
        if probe.port:
            return self.reference.send(probe.port, probe.frame)
        return self.reference.inject(probe.host, probe.came_from, probe.vsid, probe.frame)
