# SPDX-License-Identifier: Apache-2.0
"""What is deleted leaves nothing behind, in anything that follows resources and rows: a controller
runs for years."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from isthmus.controller.hearing import Hearing
from isthmus.controller.picture import Picture
from isthmus.derive.engine import Engine
from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.intent.model import Stored
from isthmus.policy.rows import DESIRED, Claim, Heartbeat, HostStatus, Port, PortStatus, Row
from isthmus.store.north_rows import Resource
from isthmus.store.north_view import NorthView
from isthmus.wire.ovsdb import RowId
from tests.census import held_in, more_than
from tests.controller.clocks import Clock
from tests.intent.cloud import Cloud, network, ref


class Followers:
    """A controller's, without its stores."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.known: dict[str, Stored] = {}
        self.view = NorthView()
        self.engine: Engine = new_engine(Underlay(1500, ("vxlan",)))
        self.picture = Picture(lambda: 1e9, Hearing(Clock()))

    def follow(self) -> None:
        """Tell everybody of what has changed in the cloud."""
        now = dict(self.cloud.store.rows)
        gone = [row for key, row in self.known.items() if key not in now]
        for old in sorted(gone, key=lambda row: -len(row.key)):
            self.view.change(RowId(old.key), as_row(old), None)
            put(self.engine, old, None)
        for key, new in now.items():
            if new != self.known.get(key):
                before = self.known.get(key)
                self.view.change(RowId(key), None if before is None else as_row(before), new)
                put(self.engine, before, new)
        self.known = now
        self.engine.settle()
        for table in DESIRED:
            for change in self.engine.changes(table):
                self.picture.change(cast("Row | None", change.old), cast("Row | None", change.new))

    def held(self) -> Counter[str]:
        return held_in(view=self.view, engine=self.engine, picture=self.picture)


def as_row(stored: Stored) -> Resource:
    return Resource(
        key=stored.key,
        ref=stored.ref,
        kind=stored.kind,
        resource_id=stored.resource_id,
        instance_id=stored.instance_id,
        etag=stored.etag,
    )


def said(port: Port, host: str) -> list[Row]:
    """What a host says that has the port."""
    return [
        HostStatus(host=host, provider_addresses=("192.0.2.1",), encapsulations="vxlan"),
        Heartbeat(host=host, at_s=1),
        Claim(port=port.id, host=host, segment=port.segment, provider_address="192.0.2.1"),
        PortStatus(port=port.id, host=host, segment=port.segment, state="error", changed_us=5),
    ]


@pytest.fixture
def followers() -> Followers:
    made = Followers()
    made.cloud.put("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": "True"})
    made.cloud.put(
        "/macPools/m",
        {"startMacAddress": "02-00-00-00-00-00", "endMacAddress": "02-00-00-FF-FF-FF"},
    )
    made.cloud.put("/virtualNetworks/v", network("10.0.0.0/8", subnets={"s": "10.0.0.0/16"}))
    made.follow()
    return made


def test_ports_lists_hosts_and_networks_that_come_and_go_leave_nothing(
    followers: Followers,
) -> None:
    made, before = followers, followers.held()
    for turn in range(3):
        number, names = turn * 10, [f"n{turn * 10 + n}" for n in range(10)]
        rule = {
            "protocol": "TCP",
            "sourcePortRange": "*",
            "destinationPortRange": "80",
            "action": "Allow",
            "sourceAddressPrefix": "*",
            "destinationAddressPrefix": "*",
            "priority": "100",
            "type": "Inbound",
        }
        made.cloud.put(
            f"/accessControlLists/a{turn}",
            {"aclRules": [{"resourceId": "r", "properties": rule}]},
        )
        made.cloud.put(
            f"/virtualNetworks/w{turn}", network("10.0.0.0/8", subnets={"s": "10.0.0.0/16"})
        )
        made.cloud.put(f"/servers/h{turn}", {})
        for name in names:
            subnet = f"/virtualNetworks/w{turn}/subnets/s"
            config = {
                "subnet": ref(subnet),
                "accessControlList": ref(f"/accessControlLists/a{turn}"),
            }
            made.cloud.put(
                f"/networkInterfaces/{name}",
                {"ipConfigurations": [{"resourceId": "c", "properties": config}]},
            )
        made.follow()
        assert more_than(made.held(), before)
        ports = [*made.engine.rows(Port).values()]
        assert len(ports) == 10, number
        rows = [row for port in ports for row in said(port, f"h{turn}")]
        for row in rows:
            made.picture.change(None, row)
        for name in names:
            made.cloud.delete(f"/networkInterfaces/{name}")
        for path in (f"/accessControlLists/a{turn}", f"/virtualNetworks/w{turn}"):
            made.cloud.delete(path)
        made.cloud.delete(f"/servers/h{turn}")
        made.follow()
        for row in rows:
            made.picture.change(row, None)
    assert more_than(made.held(), before) == {}
