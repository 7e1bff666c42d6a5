# SPDX-License-Identifier: Apache-2.0
"""Policy → program of an Open vSwitch host: the units of its features (`features`), below those of
every host (`host.program`).

Inputs: the south rows of the segments that the host's own ports can reach and of the rule sets that
they are under, where ports are (`host.location`), `ThisBridge`, and `Assigned`: the numbers for
what the units say is `Wanted`. Outputs: `Programmed` (flows), `Meter`, and `Problem` (what is wrong
with a local port).
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.host.program import Program
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.features import FEATURES


def program_of(features: Sequence[Feature] = FEATURES) -> Program:
    """The program of a host that has these features."""
    return Program(
        tuple(one for feature in features for one in feature.units),
        tuple(one for feature in features for one in feature.indexes),
        tuple(one for feature in features for one in feature.tables),
    )
