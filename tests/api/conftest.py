# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from isthmus.api.app import create_app
from tests.api.memory_north import MemoryNorth, SilentHosts

NIC = "/networkInterfaces/n"
BODY = {
    "ipConfigurations": [
        {
            "resourceId": "c",
            "properties": {"subnet": {"resourceRef": "/virtualNetworks/v/subnets/s"}},
        }
    ]
}
"""The properties of an interface that is given an address of the virtual subnet."""


class Api:
    """The application over a north store in memory, asked request by request."""

    def __init__(self, hosts: SilentHosts | None = None) -> None:
        self.north = MemoryNorth()
        hosts = hosts or SilentHosts()
        self.app = create_app(
            self.north,
            states=hosts,
            operations=hosts,
            software_version="1.2.3",
            registry=CollectorRegistry(),
        )

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    ) -> httpx.Response:
        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                extra: dict[str, Any] = {}
                if content is not None:
                    extra["content"] = content
                    extra["headers"] = {"content-type": "application/json", **dict(headers or {})}
                elif body is not None:
                    extra["json"] = body
                return await client.request(method, path, **{"headers": headers} | extra)

        return asyncio.run(go())

    def get(self, ref: str, version: str = "v1") -> Any:
        reply = self.ask("GET", f"/networking/{version}{ref}")
        assert reply.status_code == 200, reply.text
        return reply.json()

    def put(
        self, ref: str, properties: object, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return self.ask("PUT", f"/networking/v1{ref}", {"properties": properties}, headers=headers)

    def furnish(self) -> None:
        """An underlay, a MAC pool, and the virtual subnet ``/virtualNetworks/v/subnets/s``."""
        for ref, properties in (
            ("/logicalNetworks/u", {"networkVirtualizationEnabled": "True"}),
            (
                "/macPools/m",
                {"startMacAddress": "02-00-00-00-00-00", "endMacAddress": "02-00-00-00-FF-FF"},
            ),
            (
                "/virtualNetworks/v",
                {
                    "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                    "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
                    "subnets": [
                        {"resourceId": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}
                    ],
                },
            ),
        ):
            assert self.put(ref, properties).status_code == 201


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def furnished(api: Api) -> Api:
    api.furnish()
    return api
