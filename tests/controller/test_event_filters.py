# SPDX-License-Identifier: Apache-2.0
"""Of which resources events tell, children included, and which of them a client hears."""

from __future__ import annotations

import asyncio

import pytest

from isthmus.api.http.streams import Message
from isthmus.api.interfaces import Wanted
from isthmus.controller import events
from isthmus.controller.asking import Asking
from isthmus.controller.events import Event, Events, is_wanted
from isthmus.controller.hearing import Hearing
from isthmus.controller.picture import Picture
from isthmus.controller.streams import Streams
from isthmus.intent.model import Json, Plan
from isthmus.intent.planning import plan_delete, plan_put
from isthmus.policy.rows import TABLES
from isthmus.store import schema
from isthmus.store.connection import Connection
from tests.controller.clocks import Clock
from tests.intent.cloud import child, founded, interface, network

V = "/virtualNetworks/v"


class Writing:
    """A cloud, and the streams of a controller that hears of what is written there."""

    def __init__(self) -> None:
        self.cloud = founded()
        picture = Picture(lambda: 0.0, Hearing(Clock()))
        nowhere = Connection(["unix:/nowhere"], schema.SOUTH, TABLES, name="test")
        asking = Asking(nowhere, picture.is_alive)
        self.streams = Streams(lambda: self.cloud.store, picture, asking)

    def put(self, path: str, properties: Json, author: str = "") -> None:
        body: Json = {"properties": properties}
        self._apply(plan_put(self.cloud.store, self.cloud.ids, path, body, author=author))

    def delete(self, path: str) -> None:
        self._apply(plan_delete(self.cloud.store, self.cloud.ids, path))

    def _apply(self, plan: Plan) -> None:
        rows = self.cloud.store.rows
        before = dict(rows)
        self.cloud.store.apply(plan)
        keys = [key for key in sorted({*before, *rows}) if before.get(key) != rows.get(key)]
        self.streams.north_changed((key, before.get(key), rows.get(key)) for key in keys)

    def heard(self, wanted: Wanted | None = None) -> list[Message]:
        """Of all that has happened; at last, that the stream is alive."""

        async def go() -> list[Message]:
            after = self.streams.happened.identifier(0)
            found: list[Message] = []
            async with asyncio.timeout(60):
                async for message in self.streams.events(after, wanted or Wanted()):
                    found.append(message)
                    if not message.kind:
                        break
            return found

        return asyncio.run(go())

    def changes(self, wanted: Wanted | None = None) -> list[tuple[str, str]]:
        """What has happened, and to which resource in lower case."""
        return [
            (str(one.data["change"]), str(one.data["resourceRef"]).lower())
            for one in self.heard(wanted)
            if one.kind == "resource"
        ]


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Writing:
    monkeypatch.setattr(events, "STILL_HERE_S", 0.01)  # then all has been told
    return Writing()


# -- what is told ----------------------------------------------------------------------------------


def test_a_child_that_is_written_alone_is_told_with_what_stands_above_it(
    writing: Writing,
) -> None:
    writing.put(f"{V}/subnets/t", {"addressPrefix": "10.0.2.0/24"})
    assert writing.changes() == [
        ("updated", "/virtualnetworks/v"),
        ("created", "/virtualnetworks/v/subnets/t"),
    ]
    writing.delete(f"{V}/subnets/t")
    assert writing.changes()[2:] == [
        ("updated", "/virtualnetworks/v"),
        ("deleted", "/virtualnetworks/v/subnets/t"),
    ]


def test_of_a_whole_that_is_written_anew_those_parts_are_told_that_change(
    writing: Writing,
) -> None:
    subnets = {"s": "10.0.1.0/24", "t": "10.0.2.0/24", "u": "10.0.3.0/24"}
    writing.put(V, network("10.0.0.0/16", subnets=subnets))
    assert writing.changes() == [
        ("updated", "/virtualnetworks/v"),
        ("created", "/virtualnetworks/v/subnets/t"),
        ("created", "/virtualnetworks/v/subnets/u"),
    ]
    found = network("10.0.0.0/16")
    found["subnets"] = [
        child("s", addressPrefix="10.0.1.0/24"),
        child("t", addressPrefix="10.0.2.0/24", isDefault=None) | {"tags": {"a": 1}},
    ]
    writing.put(V, found)
    assert writing.changes()[3:] == [
        ("updated", "/virtualnetworks/v"),
        ("updated", "/virtualnetworks/v/subnets/t"),
        ("deleted", "/virtualnetworks/v/subnets/u"),
    ]


def test_all_that_goes_with_what_is_deleted_is_told(writing: Writing) -> None:
    writing.put("/networkInterfaces/n", interface())
    writing.delete("/networkInterfaces/n")
    assert writing.changes() == [
        (change, f"/networkinterfaces/n{below}")
        for change in ("created", "deleted")
        for below in ("", "/ipconfigurations/ip")
    ]


def test_an_event_says_what_the_resource_is_now_and_who_made_it(writing: Writing) -> None:
    writing.put("/networkInterfaces/n", interface(), author="ann")
    row = writing.cloud.row("/networkInterfaces/n/ipConfigurations/ip")
    found = [one.data for one in writing.heard()][1]
    assert found == {
        **{"action": "written", "change": "created"},
        "resourceRef": "/networkInterfaces/n/ipConfigurations/ip",
        **{"instanceId": row.instance_id, "etag": f'W/"{row.etag}"', "owner": "ann"},
    }
    writing.delete("/networkInterfaces/n")
    assert writing.heard()[1].data == {
        **{"action": "deleted", "change": "created"},
        "resourceRef": "/networkinterfaces/n/ipconfigurations/ip",
    }


# -- what is heard ---------------------------------------------------------------------------------

WHOLE = Event(1, "resource", "/virtualnetworks/red", "created")
SUBNET = Event(2, "resource", "/virtualnetworks/red/subnets/web", "updated")
LIKE = Event(3, "resource", "/virtualnetworks/redder", "deleted")
PORT = Event(4, "state", "web")
HOST = Event(5, "host", "h1")
OF_THE_STREAM = (Event(6, "reset", ""), Event(7, "alive", ""))
ALL = (WHOLE, SUBNET, LIKE, PORT, HOST)


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        (Wanted(), ALL),
        (Wanted(event="state"), (PORT,)),
        (Wanted(event="resource"), (WHOLE, SUBNET, LIKE)),
        (Wanted(kind="virtualnetworks"), (WHOLE, LIKE)),
        (Wanted(kind="virtualnetworks/subnets"), (SUBNET,)),
        (Wanted(kind="networkinterfaces"), (PORT,)),
        (Wanted(kind="servers"), (HOST,)),
        (Wanted(resource="/virtualnetworks/red"), (WHOLE, SUBNET)),
        (Wanted(resource="/virtualnetworks/red/subnets"), (SUBNET,)),
        (Wanted(resource="/virtualnetworks"), (WHOLE, SUBNET, LIKE)),
        (Wanted(resource="/networkinterfaces/web"), (PORT,)),
        (Wanted(resource="/servers/h1"), (HOST,)),
        (Wanted(change="deleted"), (LIKE,)),
        (Wanted(change="created", kind="virtualnetworks/subnets"), ()),
        (Wanted(event="host", resource="/servers/h1"), (HOST,)),
    ],
)
def test_a_filter_lets_through_what_it_names_and_what_is_of_the_stream(
    wanted: Wanted, heard: tuple[Event, ...]
) -> None:
    assert tuple(one for one in ALL if is_wanted(one, wanted)) == heard
    assert all(is_wanted(one, wanted) for one in OF_THE_STREAM)


def test_whoever_is_told_little_still_learns_how_far_the_stream_has_come(
    writing: Writing,
) -> None:
    """Else it would be told to read anew when it comes back, for nothing that it wants."""
    writing.put("/networkInterfaces/n", interface())
    writing.put("/networkInterfaces/n", interface())
    (alive,) = writing.heard(Wanted(kind="servers"))
    assert (alive.kind, alive.identifier) == ("", writing.streams.happened.identifier(3))


def test_whoever_wants_nothing_of_much_that_happens_is_told_that_the_stream_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "STILL_HERE_S", 0.05)
    happened = Events()

    async def chatter() -> None:
        while True:
            happened.add("host", "h1")
            await asyncio.sleep(0.001)

    async def go() -> Event:
        talking = asyncio.create_task(chatter())
        following = happened.follow("", Wanted(event="state"))
        try:
            async with asyncio.timeout(60):
                return await anext(following)
        finally:
            talking.cancel()
            await following.aclose()

    assert asyncio.run(go()).kind == "alive"
