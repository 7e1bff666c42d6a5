# SPDX-License-Identifier: Apache-2.0
"""Which ports a flow can matter to, read off the flow itself.

A flow that compares a segment, a routing domain, an input or output port, or the number of a filter
or of a list of rules, is about the ports behind these. What compares none of them is about all.
That is read from the flows and not from what was changed in the policy, so that a change that
reaches further than it should is looked at where it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.facts import SegmentFacts
from isthmus.switches.ovs.pipeline import Out, Stage
from isthmus.switches.ovs.placing import Place, Register
from isthmus.switches.ovs.rule_stages import PLAIN_STAGES, STAGES
from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.network import Host
from tests.proof.program import Flow
from tests.proof.slots import N_REGISTERS, ONES, SLOT, compared

Ports = frozenset[str]
"""Names."""

_FILTERS = (reg.SENDER, reg.RECEIVER, reg.INITIATOR, reg.RESPONDER)
_RULES = {
    **{one.stage: (way, one.number) for (way, _), one in STAGES.items()},
    **{one.stage: (way, one.number) for (way, _), one in PLAIN_STAGES.items()},
}
"""By stage: the direction of its lists, and where their numbers are."""


class Scope:
    """Of the flows of one host, as they are now; `ports` are the names of all, by segment."""

    def __init__(self, host: Host, ports: dict[str, Ports]) -> None:
        self._host, self._ports = host, ports
        self._port_of = {**host.port_was, **host.port_of}
        segments = list(host.engine.rows(SegmentFacts).values())
        self._of_vsid = {one.vsid: ports.get(one.segment, frozenset()) for one in segments}
        self._of_domain: dict[int, Ports] = {}
        for one in segments:
            found = self._of_domain.get(one.domain, frozenset())
            self._of_domain[one.domain] = found | ports.get(one.segment, frozenset())
        self._of_filter = self._filters()
        self._of_rules: dict[tuple[str, int], Ports] = {}
        for flow in host.program.of_tables(_FILTER_TABLES):
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
        known = _known(flow)
        table = flow.key.table
        ofport = known.get(SLOT[oxm.IN_PORT], known.get(reg.OUT))
        if ofport is not None and ofport in self._port_of:
            return frozenset((self._port_of[ofport],))
        if reg.VSID in known:
            return self._at(flow, self._of_vsid.get(known[reg.VSID], frozenset()))
        if SLOT[oxm.TUNNEL_ID] in known:
            return self._of_loaded(flow)
        if reg.DOMAIN in known and table > Stage.CLASSIFY:
            return self._of_domain.get(known[reg.DOMAIN], frozenset())
        for register in _FILTERS:
            if known.get(register, 0) and table in _FILTER_TABLES:
                return self._of_filter.get(known[register], frozenset())
        if table in _RULES:
            way, place = _RULES[Stage(table)]
            number = compared(flow.conditions, place)
            if number:
                return self._of_rules.get((way, number), frozenset())
        return None

    def _at(self, flow: Flow, ports: Ports) -> Ports:
        """Those of a segment; where one MAC address is compared or given, that port alone."""
        numbers = _loaded(flow, reg.OUT)
        local = frozenset(self._port_of[number] for number in numbers if number in self._port_of)
        is_for_one = flow.key.table == Stage.FORWARD and SLOT[oxm.ETH_DST] in _known(flow)
        return local if is_for_one and len(local) == 1 and local <= ports else ports | local

    def _of_loaded(self, flow: Flow) -> Ports:
        found: Ports = frozenset()
        for vsid in _loaded(flow, reg.VSID):
            found |= self._of_vsid.get(vsid, frozenset())
        return found

    def _filters(self) -> dict[int, Ports]:
        found: dict[int, Ports] = {}
        for flow in self._host.program.of_tables((Stage.ADMISSION, Stage.RECEIVER)):
            numbers = [
                number & reg.SENDER[reg.FILTER].ones
                for register in (reg.SENDER, reg.RECEIVER)
                for number in _loaded(flow, register)
            ]
            if not any(numbers):
                continue
            known = _known(flow)
            port = self._port_of.get(known.get(SLOT[oxm.IN_PORT], known.get(reg.OUT, 0)))
            for number in numbers:
                if port is not None and number:
                    found[number] = found.get(number, frozenset()) | {port}
        return found

    def _note_rules(self, flow: Flow) -> None:
        """By lists of rules, as flows compare them: in the upper half or the lower."""
        known = _known(flow)
        ports: Ports = frozenset()
        for register in _FILTERS:
            ports |= self._of_filter.get(known.get(register, 0), frozenset())
        for way, register in _LISTS:
            for number in _loaded(flow, register):
                for half in (number >> 16, number & 0xFFFF):
                    place = way, half
                    self._of_rules[place] = self._of_rules.get(place, frozenset()) | ports


_FILTER_TABLES = (Stage.INITIATOR, Stage.RESPONDER, Stage.PLAIN_SENDER, Stage.PLAIN_RECEIVER)


_LISTS = (
    *(("out", reg.OUT_LISTS), ("out", reg.PLAIN_OUT_LISTS)),
    *(("in", reg.IN_LISTS), ("in", reg.PLAIN_IN_LISTS)),
)


def _known(flow: Flow) -> dict[int | Register, int]:
    """What a flow compares as a whole, by the slot of a field or by register; of ends, the number
    of their filter."""
    found: dict[int | Register, int] = {
        slot: value
        for slot, value, mask in flow.conditions
        if slot >= N_REGISTERS and mask == ONES[slot]
    }
    for register in (reg.OUT, reg.VSID, reg.DOMAIN, *_FILTERS):
        place: Place = register[reg.FILTER] if register in _FILTERS else register
        value = compared(flow.conditions, place)
        if flow.key.table in register.alive and value is not None:
            found[register] = value
    return found


def _loaded(flow: Flow, register: Register) -> Iterator[int]:
    for one in flow.operations:
        if (
            isinstance(one, op.Load)
            and flow.key.table in register.occupied
            and (one.to.slots, one.to.offset) == ((register.number,), register.first_bit)
            and (register is not reg.OUT or one.value < Out.FLOOD)
        ):
            yield one.value
