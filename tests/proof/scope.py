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
from isthmus.switches.ovs.pipeline import FILTER_BITS, Out, Register, Stage
from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.network import Host
from tests.proof.program import Flow
from tests.proof.slots import ONES, SLOT

Ports = frozenset[str]
"""Names."""

_FILTERS = (Register.SENDER, Register.RECEIVER, Register.INITIATOR, Register.RESPONDER)
NUMBER = (1 << FILTER_BITS) - 1
"""The bits of an end that are the number of its filter."""
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
        numbers = _loaded(flow, Register.OUT)
        local = frozenset(self._port_of[number] for number in numbers if number in self._port_of)
        is_for_one = flow.key.table == Stage.FORWARD and SLOT[oxm.ETH_DST] in _known(flow)
        return local if is_for_one and len(local) == 1 and local <= ports else ports | local

    def _of_loaded(self, flow: Flow) -> Ports:
        found: Ports = frozenset()
        for vsid in _loaded(flow, Register.VSID):
            found |= self._of_vsid.get(vsid, frozenset())
        return found

    def _filters(self) -> dict[int, Ports]:
        found: dict[int, Ports] = {}
        for flow in self._host.program.of_tables((Stage.ADMISSION, Stage.RECEIVER)):
            numbers = [
                number & NUMBER
                for register in (Register.SENDER, Register.RECEIVER)
                for number in _loaded(flow, register)
            ]
            if not any(numbers):
                continue
            known = _known(flow)
            port = self._port_of.get(known.get(SLOT[oxm.IN_PORT], known.get(Register.OUT, 0)))
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
        for register in _LISTS:
            for number in _loaded(flow, register):
                for half in (number & 0xFFFF0000, number & 0xFFFF):
                    place = register, half
                    self._of_rules[place] = self._of_rules.get(place, frozenset()) | ports


_FILTER_TABLES = (Stage.INITIATOR, Stage.RESPONDER, Stage.PLAIN_SENDER, Stage.PLAIN_RECEIVER)


_LISTS = (Register.OUT_RULES, Register.IN_RULES)


def _known(flow: Flow) -> dict[int, int]:
    """What a flow compares as a whole, by slot; of lists of rules, either half, of ends the number
    of their filter."""
    return {
        slot: value
        for slot, value, mask in flow.conditions
        if mask == ONES[slot] or slot in _LISTS or (slot in _FILTERS and mask == NUMBER)
    }


def _loaded(flow: Flow, register: Register) -> Iterator[int]:
    for one in flow.operations:
        if isinstance(one, op.Load) and one.to.slots == (register,) and one.value < Out.FLOOD:
            yield one.value
