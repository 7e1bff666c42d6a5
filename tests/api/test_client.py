# SPDX-License-Identifier: Apache-2.0
"""The client against the server over a real socket, and against what is no controller."""

from __future__ import annotations

import gc
import threading
from collections.abc import Collection, Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from isthmus.api.client import Client
from isthmus.api.http.access import EVERY_WAY, How
from isthmus.errors import (
    Broken,
    Conflict,
    Invalid,
    IsthmusError,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from tests.api.conftest import BODY, NIC, Api
from tests.api.serving import serving


@pytest.fixture
def client(furnished: Api) -> Iterator[Client]:
    with serving(furnished.app) as url, Client(url) as made:
        yield made


def test_resources_are_written_read_listed_and_deleted(client: Client) -> None:
    made = client.put(NIC, {"properties": BODY})
    assert client.get(NIC) == made
    assert client.get("networkinterfaces/N/") == made
    assert [one["resourceId"] for one in client.list("/networkInterfaces")] == ["n"]
    again = client.put(NIC, {"properties": BODY}, if_match=made["etag"])
    with pytest.raises(PreconditionFailed):
        client.put(NIC, {"properties": BODY}, if_match=made["etag"])
    with pytest.raises(PreconditionFailed):
        client.put(NIC, {"properties": BODY}, create_only=True)
    with pytest.raises(PreconditionFailed):
        client.delete(NIC, if_match=made["etag"])
    assert client.delete(NIC, if_match=again["etag"])
    assert not client.delete(NIC)
    with pytest.raises(NotFound):
        client.get(NIC)


def test_a_batch_is_answered_request_by_request(client: Client) -> None:
    found = client.batch(
        [
            {"method": "PUT", "resourceRef": NIC, "body": {"properties": BODY}},
            {"method": "DELETE", "resourceRef": "/networkInterfaces/none"},
        ]
    )
    assert [one["status"] for one in found] == [201, 204]
    with pytest.raises(Invalid) as caught:
        client.batch([{"resourceRef": NIC, "body": {"properties": {"isPrimary": "perhaps"}}}])
    assert caught.value.target == "[0].properties.isPrimary"


def test_an_id_with_odd_signs_arrives_as_it_is(client: Client) -> None:
    for name in ("{6B1D0A5C-3F7E}", "SDN Switch", "10.0.0.0_24", "a@b:c+(d)~e"):
        made = client.put(f"/logicalNetworks/{name}", {"properties": {}})
        assert made["resourceId"] == name
        assert client.get(f"/logicalNetworks/{name}") == made


def test_other_end_points_are_asked(client: Client) -> None:
    assert client.discovery()["properties"]["networkControllerVersion"] == "1.2.3"
    assert client.status() == {"software": "test"}
    assert client.explain_port("a b")["verdict"] == "a b"
    assert client.raise_probe()["probe"] == 1
    found = client.probe(7, answered=2, wait_s=0.5)
    assert (found["probe"], found["answered"], found["waited"]) == (7, 2, 0.5)


def test_errors_come_as_they_were_raised(client: Client) -> None:
    client.put(NIC, {"properties": BODY})
    with pytest.raises(Conflict) as in_use:
        client.delete("/virtualNetworks/v/subnets/s")
    assert in_use.value.code == "InUseSubnetCannotBeDeleted"
    assert in_use.value.target == "/virtualNetworks/v/subnets/s"
    assert NIC in in_use.value.message
    with pytest.raises(Invalid) as wrong:
        client.put(NIC, {"properties": {"isPrimary": "perhaps"}})
    assert wrong.value.target == "properties.isPrimary"
    with pytest.raises(NotFound, match="virtualNetworks"):
        client.get("/nothings")


def test_a_controller_without_its_store_is_unavailable(furnished: Api) -> None:
    furnished.north.connected = False
    with serving(furnished.app) as url, Client(url) as client:
        with pytest.raises(Unavailable, match="north store"):
            client.put(NIC, {"properties": BODY})
        assert client.get("/virtualNetworks/v")["resourceId"] == "v"


class Foreign(Starlette):
    """A server that is none of ours."""

    def ways(self, _scope: Scope) -> Collection[How]:
        return EVERY_WAY


def saying(status: int, content: bytes, **headers: str) -> Foreign:
    """A server that answers everything with that."""

    async def answer(_: Request) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(content, status, headers=named)

    return Foreign(routes=[Route("/{path:path}", answer, methods=["GET", "PUT"])])


@pytest.mark.parametrize(
    ("status", "content", "kind", "words"),
    [
        (500, b"<h1>Oops</h1>", Broken, "500 <h1>Oops"),
        (502, b"", Broken, "502"),
        (302, b"", Broken, "302"),
        (404, b"[]", NotFound, "404"),
        (400, b'{"error": "text"}', Invalid, "400"),
        (409, b'{"error": {"code": "X", "details": "text"}}', Conflict, "409"),
        (409, b'{"error": {"code": "X", "message": "why", "details": [1]}}', Conflict, "why"),
        (503, b'{"error": null}', Unavailable, "503"),
        (200, b"<html>", Unavailable, "no controller"),
    ],
)
def test_what_is_no_controller_is_an_error_with_what_it_said(
    status: int, content: bytes, kind: type[IsthmusError], words: str
) -> None:
    with (
        serving(saying(status, content)) as url,
        Client(url) as client,
        pytest.raises(kind) as caught,
    ):
        client.get(NIC)
    assert type(caught.value) is kind
    assert words in caught.value.message


def test_details_and_the_time_to_wait_are_kept() -> None:
    content = (
        b'{"error": {"code": "ServiceUnavailable", "message": "why", "target": "t",'
        b' "details": [{"code": "A", "message": "b", "target": "c"}]}}'
    )
    app = saying(503, content, Retry_After="7")
    with serving(app) as url, Client(url) as client, pytest.raises(Unavailable) as caught:
        client.get(NIC)
    error = caught.value
    assert (error.code, error.message, error.target) == ("ServiceUnavailable", "why", "t")
    assert error.retry_after_s == 7
    (detail,) = error.details
    assert (detail.code, detail.message, detail.target) == ("A", "b", "c")


# httpcore leaves the unix socket of a failed attempt to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("url", ["unix:/nowhere/at/all.sock", "http://127.0.0.1:1"])
def test_who_cannot_be_reached_is_named_with_what_to_check(url: str) -> None:
    with Client(url) as client, pytest.raises(Unavailable) as caught:
        client.discovery()
    assert url in caught.value.message
    assert "isthmus controller" in caught.value.message
    del client, caught
    gc.collect()


@pytest.mark.parametrize("url", ["http://[::", "http://host:port", "nonsense", "ftp://host", ".."])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="no address"):
        Client(url)


def test_a_server_that_falls_silent_is_given_up() -> None:
    started = threading.Event()

    async def answer(request: Request) -> Response:
        started.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return Response()

    app = Foreign(routes=[Route("/{path:path}", answer)])
    with (
        serving(app) as url,
        Client(url, timeout_s=1.0) as client,
        pytest.raises(Unavailable, match="no answer"),
    ):
        try:
            client.get(NIC)
        finally:
            started.wait(60)  # the client may give up before a busy server comes to its question
    assert started.is_set()
