# SPDX-License-Identifier: Apache-2.0
"""The order in which tests run."""

from __future__ import annotations

import pytest

LONG_ONES = ("tests/proof/", "tests/reach/", "tests/store/")
"""Whose tests take long, one by one. They run first: of two workers none ends with a long one while
the other has nothing left to do."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG_ONES))
