# SPDX-License-Identifier: Apache-2.0
"""What features say of their units, packets and stages fits together."""

from __future__ import annotations

from collections import Counter

import pytest

from isthmus.switches.ovs.bands import BANDS
from isthmus.switches.ovs.declared import STAGES
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.features import FEATURES
from isthmus.switches.ovs.program import program_of
from isthmus.wire import oxm


def test_names_units_and_userdata_are_of_one_feature_each() -> None:
    for names in (
        [one.name for one in FEATURES],
        [unit.name for one in FEATURES for unit in one.units],
        [userdata for one in FEATURES for userdata in one.packets],
        [unit for one in FEATURES for unit in one.closes],
        [table for one in FEATURES for table in one.closes_disputed],
    ):
        assert names
        assert {name for name, times in Counter(names).items() if times > 1} == set()


@pytest.mark.parametrize("feature", FEATURES, ids=lambda one: one.name)
def test_a_feature_speaks_of_its_own_units_and_of_stages_as_they_are_declared(
    feature: Feature,
) -> None:
    units = {unit.name for unit in feature.units}
    assert {*feature.closes, *feature.port_units, *feature.shown_units} <= units
    assert set(feature.shown_units) <= feature.port_units
    for stage, priority in feature.blocks_at.items():
        assert priority in set(BANDS[stage])
        assert oxm.IN_PORT in STAGES[stage].matches


def test_a_program_has_the_units_of_its_features_in_their_order() -> None:
    assert [unit.name for unit in program_of(FEATURES[:3]).units] == [
        *("fixed_flows", "probe_flows", "tunnel"),
        *("router_domain", "segment_facts", "router_flows", "leg_flows"),
    ]
    assert program_of() == program_of(FEATURES)
    assert program_of(()) == ((), (), ())
