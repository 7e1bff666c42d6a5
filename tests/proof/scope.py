# SPDX-License-Identifier: Apache-2.0
"""Which ports a flow can matter to, read off the flow itself.

A flow that compares a segment, a routing domain, an input or output port, or the number of a filter
or of a list of rules, is about the ports behind these. What compares none of them is about all.
That is read from the flows and not from what was changed in the policy, so that a change that
reaches further than it should is looked at where it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isthmus.switches.ovs.facts import Ground
from isthmus.switches.ovs.pipeline import Out, Register, Stage
from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.network import Host
from tests.proof.program import Flow
from tests.proof.slots import SLOT

Ports = frozenset[str]
"""Names."""

_FILTERS = (Register.SENDER, Register.RECEIVER, Register.INITIATOR, Register.RESPONDER)
_OUT_TABLES = (
    *(Stage.OUT_INTERFACE, Stage.OUT_SUBNET),
    *(Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_OUT_SUBNET),
)
_IN_TABLES = (
    *(Stage.IN_SUBNET, Stage.IN_INTERFACE),
    *(Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE),
)


class Scope:
    """Of the flows of one host, as they are now; `ports` are the names of all, by segment."""

    def __init__(self, host: Host, ports: dict[str, Ports]) -> None:
        self._host, self._ports = host, ports
        self._port_of = {**host.port_was, **host.port_of}
        grounds = list(host.engine.rows(Ground).values())
        self._of_vsid = {one.vsid: ports.get(one.segment, frozenset()) for one in grounds}
        self._of_domain: dict[int, Ports] = {}
        for one in grounds:
            found = self._of_domain.get(one.domain, frozenset())
            self._of_domain[one.domain] = found | ports.get(one.segment, frozenset())
        self._of_filter = self._filters()
        self._of_rules: dict[tuple[Register, int], Ports] = {}
        for flow in host.program.flows.values():
            self._note_rules(flow)

    def of(self, flows: Iterable[Flow]) -> Ports | None:
        """The ports that changed flows can matter to; None for all."""
        found: set[str] = set()
        for flow in flows:
            its = self._of(flow)
            if its is None:
                return None
            found |= its
        return frozenset(found)

    def _of(self, flow: Flow) -> Ports | None:
        known = {slot: value for slot, value, _ in flow.conditions}
        table = flow.key.table
        ofport = known.get(SLOT[oxm.IN_PORT], known.get(Register.OUT))
        if ofport is not None and ofport in self._port_of:
            return frozenset((self._port_of[ofport],))
        if Register.VSID in known:
            return self._at(flow, self._of_vsid.get(known[Register.VSID], frozenset()))
        if SLOT[oxm.TUNNEL_ID] in known:
            return self._of_loaded(flow)
        if Register.DOMAIN in known and table > Stage.CLASSIFY:
            return self._of_domain.get(known[Register.DOMAIN], frozenset())
        for register in _FILTERS:
            if known.get(register, 0) and table in _FILTER_TABLES:
                return self._of_filter.get(known[register], frozenset())
        for tables, register in (
            (_OUT_TABLES, Register.OUT_RULES),
            (_IN_TABLES, Register.IN_RULES),
        ):
            number = known.get(register, 0)
            if number and table in tables:
                return self._of_rules.get((register, number), frozenset())
        return None

    def _at(self, flow: Flow, ports: Ports) -> Ports:
        """Those of a segment; where one MAC address is compared or given, that port alone."""
        known = {slot: value for slot, value, _ in flow.conditions}
        mac = known.get(SLOT[oxm.ETH_DST])
        local = {self._port_of.get(number) for number in _loaded(flow, Register.OUT)} - {None}
        if flow.key.table == Stage.FORWARD and mac is not None and len(local) == 1:
            return frozenset(name for name in local if name is not None)
        return ports

    def _of_loaded(self, flow: Flow) -> Ports:
        found: Ports = frozenset()
        for vsid in _loaded(flow, Register.VSID):
            found |= self._of_vsid.get(vsid, frozenset())
        return found

    def _filters(self) -> dict[int, Ports]:
        found: dict[int, Ports] = {}
        for flow in self._host.program.flows.values():
            for register in (Register.SENDER, Register.RECEIVER):
                if flow.key.table not in (Stage.ADMISSION, Stage.RECEIVER):
                    continue
                known = {slot: value for slot, value, _ in flow.conditions}
                ofport = known.get(SLOT[oxm.IN_PORT], known.get(Register.OUT))
                port = self._port_of.get(ofport or 0)
                for number in _loaded(flow, register):
                    if port is not None and number:
                        found[number] = found.get(number, frozenset()) | {port}
        return found

    def _note_rules(self, flow: Flow) -> None:
        """By lists of rules, as flows compare them: in the upper half or the lower."""
        known = {slot: value for slot, value, _ in flow.conditions}
        if flow.key.table not in _FILTER_TABLES:
            return
        ports: Ports = frozenset()
        for register in _FILTERS:
            ports |= self._of_filter.get(known.get(register, 0), frozenset())
        for register in (Register.OUT_RULES, Register.IN_RULES):
            for number in _loaded(flow, register):
                for half in (number & 0xFFFF0000, number & 0xFFFF):
                    place = register, half
                    self._of_rules[place] = self._of_rules.get(place, frozenset()) | ports


_FILTER_TABLES = (Stage.INITIATOR, Stage.RESPONDER, Stage.PLAIN_SENDER, Stage.PLAIN_RECEIVER)


def _loaded(flow: Flow, register: Register) -> Iterator[int]:
    for one in flow.operations:
        if isinstance(one, op.Load) and one.to.slots == (register,) and one.value < Out.FLOOD:
            yield one.value
