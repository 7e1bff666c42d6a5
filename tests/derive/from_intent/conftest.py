# SPDX-License-Identifier: Apache-2.0
"""A cloud with one tenant's network."""

from __future__ import annotations

import pytest

from tests.derive.from_intent.tenants import NETWORK
from tests.intent.cloud import Cloud


@pytest.fixture
def tenant() -> Cloud:
    cloud = Cloud()
    cloud.put("/logicalNetworks/Underlay", {"networkVirtualizationEnabled": "True"})
    cloud.put("/virtualNetworks/Shop", NETWORK)
    return cloud
