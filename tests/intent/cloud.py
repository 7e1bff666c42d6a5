# SPDX-License-Identifier: Apache-2.0
"""A small cloud in memory to try requests on: what an API server does with plans, in one
process."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from isthmus.errors import IsthmusError
from isthmus.intent.model import Json, Plan, Stored
from isthmus.intent.paths import find, resolve
from isthmus.intent.planning import plan_delete, plan_put
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.render import render
from isthmus.intent.versions import LATEST, Version
from tests.intent.memory import CountingIds, MemoryStore

Answer = dict[str, "Tree"]
Tree = Answer | list["Tree"] | str | int | bool | None
"""A rendered resource, for tests to index into."""

SUBNET = "/virtualNetworks/v/subnets/s"
POOL = {"startMacAddress": "00-1D-D8-00-00-00", "endMacAddress": "00-1D-D8-00-FF-FF"}


class Cloud:
    """Requests, applied at once."""

    def __init__(self, registry: Registry = REGISTRY) -> None:
        self.registry = registry
        self.store = MemoryStore()
        self.ids = CountingIds()

    def plan(
        self,
        path: str,
        properties: Json = None,
        *,
        create_only: bool = False,
        expected_etag: str | None = None,
        version: Version = LATEST,
        **envelope: Json,
    ) -> Plan:
        """A PUT of `properties`, not applied."""
        body: Json = {**envelope, "properties": {} if properties is None else properties}
        return plan_put(
            self.store,
            self.ids,
            path,
            body,
            create_only=create_only,
            expected_etag=expected_etag,
            version=version,
            registry=self.registry,
        )

    def put(
        self,
        path: str,
        properties: Json = None,
        *,
        create_only: bool = False,
        expected_etag: str | None = None,
        version: Version = LATEST,
        **envelope: Json,
    ) -> Properties:
        """PUT `properties`; the rendered resource's properties."""
        plan = self.plan(
            path,
            properties,
            create_only=create_only,
            expected_etag=expected_etag,
            version=version,
            **envelope,
        )
        self.store.apply(plan)
        return Properties(self.get(path, version))

    def put_body(self, path: str, body: Json, version: Version = LATEST) -> Plan:
        """PUT a whole body."""
        plan = plan_put(self.store, self.ids, path, body, version=version, registry=self.registry)
        self.store.apply(plan)
        return plan

    def refused(self, path: str, properties: Json = None, **options: str | bool) -> IsthmusError:
        """The error of a PUT, which has changed nothing."""
        before = dict(self.store.rows)
        with pytest.raises(IsthmusError) as caught:
            self.put_body(path, {**options, "properties": properties})
        assert self.store.rows == before
        return caught.value

    def delete(self, path: str, expected_etag: str | None = None) -> int:
        """DELETE; the status."""
        plan = plan_delete(
            self.store, self.ids, path, expected_etag=expected_etag, registry=self.registry
        )
        self.store.apply(plan)
        return plan.status

    def delete_refused(self, path: str) -> IsthmusError:
        with pytest.raises(IsthmusError) as caught:
            self.delete(path)
        return caught.value

    def row(self, path: str) -> Stored:
        row = find(self.store, resolve(path, registry=self.registry))
        assert row is not None, path
        return row

    def get(self, path: str, version: Version = LATEST) -> Answer:
        """GET, as JSON says it."""
        rendered = render(self.row(path), self.store, version=version, registry=self.registry)
        # through JSON, so that tests see what clients see
        return msgspec.json.decode(msgspec.json.encode(rendered), type=dict)


class Properties:
    """Properties of a rendered resource: ``["a", 0, "b"]`` walks down, through ``properties`` of
    children."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def __getitem__(self, path: str | int | tuple[str | int, ...]) -> Tree:
        found: Tree = self.answer
        for part in path if isinstance(path, tuple) else (path,):
            if isinstance(part, int):
                found = cast("list[Tree]", found)[part]
                continue
            inner = cast("Answer", found)
            below = inner.get("properties")
            found = below[part] if isinstance(below, dict) and part in below else inner[part]
        return found

    def __contains__(self, name: str) -> bool:
        return name in cast("Answer", self.answer["properties"])


def network(*prefixes: str, subnets: dict[str, str] | None = None) -> dict[str, Json]:
    """Properties of a virtual network."""
    children: Json = [child(key, addressPrefix=prefix) for key, prefix in (subnets or {}).items()]
    return {
        "addressSpace": {"addressPrefixes": list(prefixes)},
        "logicalNetwork": ref("/logicalNetworks/HNVPA"),
        "subnets": children,
    }


def ref(path: str) -> dict[str, Json]:
    return {"resourceRef": path}


def child(resource_id: str, **properties: Json) -> dict[str, Json]:
    return {"resourceId": resource_id, "properties": properties}


def interface(subnet: str = SUBNET, **properties: Json) -> dict[str, Json]:
    """Properties of a network interface with one ipConfiguration, `properties` being the
    latter's."""
    return {"ipConfigurations": [child("ip", subnet=ref(subnet), **properties)]}


def founded() -> Cloud:
    """A cloud with a MAC pool, a logical network and a virtual network ``v`` with the subnet
    ``s``."""
    cloud = Cloud()
    cloud.put("/macPools/default", POOL)
    cloud.put("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": True})
    cloud.put("/virtualNetworks/v", network("10.0.0.0/16", subnets={"s": "10.0.1.0/24"}))
    return cloud
