# SPDX-License-Identifier: Apache-2.0
"""Where lists of rules are looked at: a stage for each direction and level, on the original tuple
of a connection; and another one for lists that hold with a stateless rule, on the packet itself."""

from __future__ import annotations

from typing import NamedTuple

from isthmus.policy.values import Direction, RuleLevel
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.placing import Place, Register

INTERFACE, SUBNET = reg.INTERFACE, reg.SUBNET

OUT_INTERFACE = Direction.OUT, RuleLevel.INTERFACE
OUT_SUBNET = Direction.OUT, RuleLevel.SUBNET
IN_SUBNET = Direction.IN, RuleLevel.SUBNET
IN_INTERFACE = Direction.IN, RuleLevel.INTERFACE


class RuleStage(NamedTuple):
    """`number` is where a packet carries the number of its list; `following` where goes what a list
    lets pass."""

    stage: Stage
    number: Place
    following: Stage


class PlainStage(NamedTuple):
    """Likewise, on the packet itself. What a list denies goes to `denied`. `end` becomes `allowed`
    when the last level allows the packet."""

    stage: Stage
    number: Place
    following: Stage
    denied: Stage
    end: Register
    allowed: Register
    is_last: bool


STAGES = {
    OUT_INTERFACE: RuleStage(Stage.OUT_INTERFACE, reg.OUT_LISTS[INTERFACE], Stage.OUT_SUBNET),
    OUT_SUBNET: RuleStage(Stage.OUT_SUBNET, reg.OUT_LISTS[SUBNET], Stage.RESPONDER),
    IN_SUBNET: RuleStage(Stage.IN_SUBNET, reg.IN_LISTS[SUBNET], Stage.IN_INTERFACE),
    IN_INTERFACE: RuleStage(Stage.IN_INTERFACE, reg.IN_LISTS[INTERFACE], Stage.OPENING),
}
"""By direction and level, in the order in which a packet passes them."""

_OUT = Stage.PLAIN_RECEIVER, reg.SENDER, reg.PLAIN_SENDER
_IN = Stage.TRACK, reg.RECEIVER, reg.PLAIN_RECEIVER

PLAIN_STAGES = {
    OUT_INTERFACE: PlainStage(
        *(Stage.PLAIN_OUT_INTERFACE, reg.PLAIN_OUT_LISTS[INTERFACE], Stage.PLAIN_OUT_SUBNET),
        *_OUT,
        is_last=False,
    ),
    OUT_SUBNET: PlainStage(
        *(Stage.PLAIN_OUT_SUBNET, reg.PLAIN_OUT_LISTS[SUBNET], Stage.PLAIN_RECEIVER),
        *_OUT,
        is_last=True,
    ),
    IN_SUBNET: PlainStage(
        *(Stage.PLAIN_IN_SUBNET, reg.PLAIN_IN_LISTS[SUBNET], Stage.PLAIN_IN_INTERFACE),
        *_IN,
        is_last=False,
    ),
    IN_INTERFACE: PlainStage(
        *(Stage.PLAIN_IN_INTERFACE, reg.PLAIN_IN_LISTS[INTERFACE], Stage.TRACK),
        *_IN,
        is_last=True,
    ),
}

FIRST_PLAIN = {
    Direction.OUT: PLAIN_STAGES[OUT_INTERFACE],
    Direction.IN: PLAIN_STAGES[IN_SUBNET],
}
"""Where a packet comes first, by direction."""
