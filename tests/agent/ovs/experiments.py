# SPDX-License-Identifier: Apache-2.0
"""A feature of the data plane that is this file alone: guests may not use the IP protocols that are
reserved for experiments (RFC 3692). Of one it is dropped; of the other they are told that as well.

Nothing of `isthmus` names it. Whoever writes a feature may begin with a copy of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.derive.engine import Engine, Index, Item, Key, Read, unit
from isthmus.host.facts import Plugged, Problem
from isthmus.policy import closed
from isthmus.policy.values import Action, Direction, RuleLevel
from isthmus.switches.ovs.bands import Admission
from isthmus.switches.ovs.facts import Refused, Whole
from isthmus.switches.ovs.feature import Decided, Decision, Feature, Hands
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import Stage, unit_cookie
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow_packets import PacketIn

NAME = "experiments"
ASKED, DROPPED = 253, 254
"""RFC 3692 section 2.1."""

QUESTION = b"\xf0 experiments"
"""Userdata of its packet-ins."""

ANSWER = b"no"


class Guarded(NamedTuple):
    """A port whose guest is kept from experiments."""

    port: str
    ofport: int


def _ofport_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, Guarded)
    return (row.ofport,)


GUARDED_BY_OFPORT = Index(Guarded, "ofport", _ofport_of)


def guarded(local: Plugged, read: Read) -> Iterator[Item]:
    """Over Plugged: every port of this host."""
    yield Item(Guarded, local.port, Guarded(local.port, local.ofport))


def experiment_flows(found: Guarded, read: Read) -> Iterator[Item]:
    """Over Guarded: what its guest may not send."""
    refused = read.get(Refused, Whole(NAME, found.port))
    if refused is not None:
        problem = Problem(
            found.port, "PortBlocked", f"{NAME} are not kept from it: {refused.detail}", closed.PORT
        )
        yield Item(Problem, problem, problem)
        return
    flows = Flows("experiment_flows", found.port)
    sent = oxm.in_port(found.ofport), oxm.eth_type(0x0800)
    yield flows.add(
        Stage.ADMISSION,
        Admission.GUARD,
        oxm.match(*sent, oxm.ip_proto(ASKED)),
        apply=(act.controller(QUESTION, max_len=64),),
    )
    blocked = oxm.match(*sent, oxm.ip_proto(DROPPED))
    yield flows.drop(Stage.ADMISSION, Admission.GUARD, blocked, read)


def asked(packet: PacketIn, hands: Hands) -> bool:
    """Says to the guest of a guarded port that it may not."""
    if hands.engine.entry(GUARDED_BY_OFPORT, packet.in_port):
        hands.send(ANSWER, packet.in_port)
    return False


def decisions(engine: Engine) -> Iterator[Decided]:
    """What it drops is told under its name."""
    for port in engine.rows(Guarded):
        yield Decided(
            unit_cookie("experiment_flows", port),
            Decision("", NAME, Direction.OUT, RuleLevel.INTERFACE, Action.DENY, ""),
        )


def _closes(port: Key, _engine: Engine) -> Iterator[Whole]:
    yield Whole(NAME, port)


FEATURE = Feature(
    NAME,
    units=(unit(Plugged, guarded), unit(Guarded, experiment_flows)),
    indexes=(GUARDED_BY_OFPORT,),
    packets={QUESTION: asked},
    closes={"experiment_flows": _closes},
    port_units=frozenset(("experiment_flows",)),
    shown_units=("experiment_flows",),
    decisions=decisions,
    decides_at=(Stage.ADMISSION,),
)
