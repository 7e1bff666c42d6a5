# SPDX-License-Identifier: Apache-2.0
"""An Open vSwitch that tests may fill; each finds it without flows and meters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.switches.real_switch import BRIDGE, RealSwitch


@pytest.fixture(scope="module")
def running_switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSwitch]:
    with RealSwitch(tmp_path_factory.mktemp("ovs")) as switch:
        yield switch


@pytest.fixture
def switch(running_switch: RealSwitch) -> RealSwitch:
    running_switch.ofctl("del-flows", BRIDGE)
    running_switch.ofctl("del-meters", BRIDGE)
    return running_switch
