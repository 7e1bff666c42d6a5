# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.intent.cloud import Cloud, founded


@pytest.fixture
def cloud() -> Cloud:
    return founded()


@pytest.fixture
def tagged(cloud: Cloud) -> Cloud:
    """With the tags ``t`` and ``u``."""
    for name in "tu":
        cloud.put(f"/securityTags/{name}")
    return cloud
