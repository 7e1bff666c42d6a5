# SPDX-License-Identifier: Apache-2.0
"""Servers become hosts."""

from __future__ import annotations

from isthmus.policy.rows import Host
from tests.derive.from_intent.tenants import derived
from tests.intent.cloud import Cloud


def test_a_server_is_a_host_named_in_lower_case(tenant: Cloud) -> None:
    tenant.put("/servers/H1", {})
    assert list(derived(tenant).rows(Host).values()) == [
        Host(id="h1", certificate_name="h1", origin="/servers/H1")
    ]
