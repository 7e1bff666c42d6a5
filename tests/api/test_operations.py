# SPDX-License-Identifier: Apache-2.0
"""What operators ask: plan, trace, doctor, bundle, counters, streams, ConnectivityCheck. What is
asked arrives as it was meant, and what is no question is refused with its place."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from isthmus.api.client import Client
from isthmus.api.http import listening
from isthmus.api.http.streams import Message
from isthmus.api.interfaces import Check, Wanted, Watched
from isthmus.errors import Invalid, NotFound
from isthmus.intent.model import JsonObject
from isthmus.reach.trace import Question
from tests.api.conftest import BODY, NIC, Api
from tests.api.memory_north import SilentHosts
from tests.api.serving import serving

HERE = "/networking/v1/isthmus"
RED = {"resourceRef": "/virtualNetworks/red"}


def error_of(api: Api, method: str, path: str, body: object = None) -> tuple[int, str, str]:
    """Status, code and target."""
    reply = api.ask(method, path, body)
    told = reply.json()["error"]
    return reply.status_code, told["code"], told.get("target", "")


# -- trace -----------------------------------------------------------------------------------------


def test_a_question_arrives_as_it_was_asked(api: Api) -> None:
    told = api.get("/isthmus/trace?from=a&to=b")
    assert told["asked"] == Question("a", "b", source_port=49152)._asdict()
    assert told["switches"] is False
    told = api.get(
        "/Isthmus/Trace?from=a&to=fd00::1&protocol=6&port=443&sourcePort=0&family=6&switches=True"
    )
    assert told["asked"] == Question("a", "fd00::1", 6, 443, 0, 6)._asdict()
    assert told["switches"] is True


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", "from"),
        ("from=a", "to"),
        ("to=b", "from"),
        ("from=&to=b", "from"),
        ("from=a&to=b&protocol=256", "protocol"),
        ("from=a&to=b&protocol=tcp", "protocol"),
        ("from=a&to=b&protocol=-1", "protocol"),
        ("from=a&to=b&port=65536", "port"),
        ("from=a&to=b&port=1.5", "port"),
        ("from=a&to=b&port=1e3", "port"),
        ("from=a&to=b&sourcePort=nan", "sourcePort"),
        ("from=a&to=b&sourcePort=" + "9" * 5000, "sourcePort"),
        ("from=a&to=b&port=%D9%A3", "port"),  # a digit of another script
        ("from=a&to=b&family=5", "family"),
        ("from=a&to=b&family=7", "family"),
        ("from=a&to=b&switches=perhaps", "switches"),
    ],
)
def test_what_is_no_question_is_refused_with_its_place(api: Api, query: str, target: str) -> None:
    found = error_of(api, "GET", f"{HERE}/trace?{query}")
    assert found == (400, "InvalidParameterValue", target)


# -- plan ------------------------------------------------------------------------------------------


def test_a_plan_takes_what_a_batch_takes_and_stores_nothing(furnished: Api) -> None:
    entries = [
        {"resourceRef": NIC, "body": {"properties": BODY}},
        {"resourceRef": "/servers/s", "method": "DELETE"},
    ]
    reply = furnished.ask("POST", f"{HERE}/plan", {"requests": entries})
    assert (reply.status_code, reply.json()["requests"]) == (200, 2)
    assert furnished.get("/networkInterfaces")["value"] == []
    newer = furnished.ask("POST", "/networking/v7.1/isthmus/plan", {"requests": []})
    assert newer.json()["version"].lower() == "v7.1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"requests": 7},
        {"requests": [{}]},
        {"requests": [{"resourceRef": NIC, "method": "GET"}]},
        {"requests": [{"resourceRef": NIC}]},
    ],
)
def test_what_is_no_batch_has_no_plan(api: Api, body: object) -> None:
    assert error_of(api, "POST", f"{HERE}/plan", body)[0] == 400
    assert api.ask("POST", f"{HERE}/plan", content=b"{").status_code == 400


# -- the rest that ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("status", {"software": "test"}),
        ("doctor", {"hosts": 0, "findings": []}),
        ("bundle", {"north": [], "south": {}}),
        ("counters", {"hosts": []}),
    ],
)
def test_what_takes_no_question_is_answered_in_any_case_and_with_a_head(
    api: Api, place: str, found: object
) -> None:
    for spelled in (place, place.upper(), f"{place}/"):
        assert api.get(f"/isthmus/{spelled}") == found
    head = api.ask("HEAD", f"{HERE}/{place}")
    assert (head.status_code, head.content) == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        reply = api.ask(method, f"{HERE}/{place}", {})
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/nothing", "/status/more", "/trace/more?from=a&to=b", "/explain"),
        *("/explain/ports", "/explain/hosts/h", "/explain/ports/a/b", "/events/1", "/drops/1"),
        *("/flows/1",),
        *("/plan/1", "/doctor/h1", "/bundle/1", "/counters/1", "/probes/1/2"),
    ],
)
def test_what_is_nowhere_is_not_found_and_the_places_are_named(api: Api, path: str) -> None:
    reply = api.ask("GET", f"{HERE}{path}")
    assert reply.status_code == 404
    assert "below isthmus/ are status" in reply.json()["error"]["message"]


# -- streams ---------------------------------------------------------------------------------------

STREAMS = ("events", "drops", "flows")


class Tellers(SilentHosts):
    """Tell something every hundredth of a second, without an end; and know who listens."""

    def __init__(self) -> None:
        self.open = 0
        self.asked: list[tuple[str, ...]] = []

    async def _endless(self, *asked: str) -> AsyncIterator[Message]:
        self.asked.append(asked)
        self.open += 1
        try:
            number = 0
            while True:
                number += 1
                yield Message("told", {"number": number}, f"e-{number}")
                yield Message("", {})
                await asyncio.sleep(0.01)
        finally:
            self.open -= 1

    def events(self, after: str, wanted: Wanted) -> AsyncIterator[Message]:
        return self._endless("events", after, *filter(None, wanted))

    def flows(self, watched: Watched, kind: str) -> AsyncIterator[Message]:
        if watched.port == "nobody":
            raise NotFound("no port is called nobody", target="/networkInterfaces/nobody")
        return self._endless(kind, *watched)


class Quiet(Tellers):
    """Have nothing to tell after a first word."""

    async def _endless(self, *asked: str) -> AsyncIterator[Message]:
        self.open += 1
        try:
            yield Message("told", {}, "e-1")
            await asyncio.sleep(3600)
        finally:
            self.open -= 1


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("place", STREAMS)
def test_a_stream_has_a_head_and_no_other_method(place: str) -> None:
    hosts = Tellers()
    api = Api(hosts)
    head = api.ask("HEAD", f"{HERE}/{place}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")
    assert hosts.asked == []
    for method in ("POST", "PUT", "DELETE"):
        reply = api.ask(method, f"{HERE}/{place}", {})
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")


def test_a_stream_of_nobody_is_not_found() -> None:
    with serving(Api(Tellers()).app) as url, Client(url) as client:
        for stream in (client.drops("nobody"), client.flows(port="nobody")):
            with pytest.raises(NotFound) as caught:
                next(stream)
            assert caught.value.target == "/networkInterfaces/nobody"


def test_a_verdict_that_is_none_is_refused_with_those_that_are() -> None:
    hosts = Tellers()
    with (
        serving(Api(hosts).app) as url,
        Client(url) as client,
        pytest.raises(Invalid, match="allowed, dropped, all") as caught,
    ):
        next(client.flows("passed"))
    assert caught.value.target == "verdict"
    assert hosts.asked == []


def test_events_drops_and_flows_are_asked_for_as_meant() -> None:
    hosts = Tellers()
    with serving(Api(hosts).app) as url, Client(url) as client:
        streams = (
            *(client.events(), client.events("x-7"), client.drops("p", "h", "10.0.0.5")),
            *(client.flows(), client.flows("allowed", "p", "h", "q")),
        )
        for stream in streams:
            found = [next(stream) for _ in range(3)]
            assert [one.identifier for one in found] == ["e-1", "e-2", "e-3"]
            assert [one.data["number"] for one in found] == [1, 2, 3]
            assert {one.kind for one in found} == {"told"}
        # As browsers ask when they were cut off (HTML Living Standard section 9.2.3).
        path = f"{HERE}/events?after=x-7"
        answered = first_bytes(url, path, {"Last-Event-ID": "x-9"})
        assert b"event: told" in answered
    assert hosts.asked == [
        ("events", ""),
        ("events", "x-7"),
        ("drop", "dropped", "p", "10.0.0.5", "h"),
        ("flow", "all", "", "", ""),
        ("flow", "allowed", "p", "q", "h"),
        ("events", "x-9"),
    ]


def test_events_are_asked_for_by_what_they_are_of() -> None:
    hosts = Tellers()
    with serving(Api(hosts).app) as url, Client(url) as client:
        for asked in (
            {"event": "State"},
            {"kind": "virtualNetworks/subnets", "change": "DELETED"},
            {"resource": "virtualNetworks/Red/subnets/"},
            {"resource": "/networkInterfaces/a b"},
        ):
            next(client.events("x-7", **asked))
    assert hosts.asked == [
        ("events", "x-7", "state"),
        ("events", "x-7", "virtualnetworks/subnets", "deleted"),
        ("events", "x-7", "/virtualnetworks/red/subnets"),
        ("events", "x-7", "/networkinterfaces/a b"),
    ]


@pytest.mark.parametrize(
    ("query", "target", "words"),
    [
        ("event=drop", "event", "resource, state, host"),
        ("event=alive", "event", "resource, state, host"),
        ("kind=subnets", "kind", "virtualNetworks/subnets"),
        ("kind=virtualNetworks/none", "kind", "virtualNetworks/subnets"),
        ("change=written", "change", "created, updated, deleted"),
        ("resource=/nothing/red", "resource", "networkInterfaces"),
        ("resource=/virtualNetworks/red/none", "resource", "none"),
        ("event=state&change=x", "change", "created, updated, deleted"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_events_of_what_is_not_known_are_refused_by_its_name(
    api: Api, method: str, query: str, target: str, words: str
) -> None:
    reply = api.ask(method, f"{HERE}/events?{query}")
    assert reply.status_code == 400
    if method == "GET":
        error = reply.json()["error"]
        assert (error["target"], words in error["message"]) == (target, True)


def connected(url: str, path: str, headers: Mapping[str, str] | None = None) -> socket.socket:
    """After the request."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(60)
    made.connect(url.removeprefix("unix:"))
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        *(f"{k}: {v}" for k, v in (headers or {}).items()),
    ]
    made.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return made


def first_bytes(url: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """What arrives until the first event."""
    received = b""
    with connected(url, path, headers) as wire:
        while b"event: " not in received or not received.endswith(b"\r\n"):
            piece = wire.recv(65536)
            assert piece, received
            received += piece
    return received


@pytest.mark.parametrize("hosts", [Tellers(), Quiet()], ids=["busy", "quiet"])
@pytest.mark.parametrize("place", STREAMS)
def test_when_the_client_goes_away_nobody_tells_any_more(place: str, hosts: Tellers) -> None:
    with serving(Api(hosts).app) as url:
        assert b"id: e-1" in first_bytes(url, f"{HERE}/{place}")
        until(lambda: hosts.open == 0)
        wires = [connected(url, f"{HERE}/{place}") for _ in range(20)]
        until(lambda: hosts.open == 20)
        for number, wire in enumerate(wires):
            if number % 2:  # a reset, and not an end
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            wire.close()
        until(lambda: hosts.open == 0)
        with Client(url) as client:
            assert client.status() == {"software": "test"}


@pytest.mark.parametrize("hosts", [Tellers(), Quiet()], ids=["busy", "quiet"])
def test_a_server_that_stops_ends_its_streams(
    hosts: Tellers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than a busy machine takes.
    monkeypatch.setattr(listening, "STOP_S", 100)
    with ExitStack() as stack:
        with serving(Api(hosts).app) as url:
            wires = [stack.enter_context(connected(url, f"{HERE}/events")) for _ in range(3)]
            until(lambda: hosts.open == 3)
            stopped_at = time.monotonic()
        # At once: what is waited for is the end of answers that have one.
        assert time.monotonic() < stopped_at + 100
        assert hosts.open == 0
        for wire in wires:
            while wire.recv(65536):
                pass


# -- ConnectivityCheck -----------------------------------------------------------------------------

CHECK = "/networking/v1/diagnostics/ConnectivityCheck"
ENDS: dict[str, Any] = {
    "senderIpAddress": "10.0.0.4",
    "receiverIpAddress": "10.0.0.5",
    "senderVirtualNetwork": RED,
    "receiverVirtualNetwork": RED,
}


class Checking(SilentHosts):
    """Take down what is to be checked."""

    def __init__(self) -> None:
        self.checks: list[dict[str, object]] = []
        self.asked: JsonObject = {}

    async def check_connectivity(self, check: Check) -> str:
        self.asked = check.asked
        self.checks.append(
            {"network": check.network, "ends": (check.sender, check.receiver)}
            | {"protocol": check.protocol, "port": check.port}
            | {"length": check.length, "with_trace": check.with_trace}
        )
        return "id"

    def check_results(self) -> dict[str, JsonObject]:
        asked = {**ENDS, "protocol": "Icmp", "submitTime": "then"}
        return {
            "b": {"status": "InProgress", "atS": 1},
            "a": {"status": "Success", "atS": 1, "asked": asked},
        }


def test_a_check_is_begun_as_it_was_asked() -> None:
    hosts = Checking()
    api = Api(hosts)
    reply = api.ask("PUT", CHECK, {"properties": ENDS})
    assert reply.status_code == 200
    told: JsonObject = reply.json()["properties"]
    assert told["operationId"] == "id"
    assert told["connectivityCheckResult"] == {
        "resourceRef": "/diagnostics/ConnectivityCheckResults/id"
    }
    # What was asked, as the wire has it, with what was left out; the result shows it again.
    assert hosts.asked.items() <= told.items()
    assert {**ENDS, "protocol": "Icmp", "disableTracing": False}.items() <= hosts.asked.items()
    assert str(hosts.asked["submitTime"]).endswith("+00:00")
    more = {"protocol": "tcp", "destinationPort": 443, "disableTracing": "True"}
    assert api.ask("PUT", CHECK.lower(), {"properties": {**ENDS, **more}}).status_code == 200
    more = {"icmpProtocolConfig": {"length": 100}, "senderIPAddress": "10.0.0.6"}
    assert api.ask("PUT", CHECK, {"properties": {**ENDS, **more}}).status_code == 200
    ends = ("10.0.0.4", "10.0.0.5")
    assert hosts.checks == [
        {
            **{"network": "red", "ends": ends, "protocol": "Icmp"},
            **{"port": 0, "length": 32, "with_trace": True},
        },
        {
            **{"network": "red", "ends": ends, "protocol": "Tcp"},
            **{"port": 443, "length": 32, "with_trace": False},
        },
        {
            **{"network": "red", "ends": ("10.0.0.6", "10.0.0.5"), "protocol": "Icmp"},
            **{"port": 0, "length": 100, "with_trace": True},
        },
    ]


@pytest.mark.parametrize(
    ("changed", "code", "target"),
    [
        ({"senderIpAddress": None}, "RequiredParamMissing", "senderIpAddress"),
        ({"receiverIpAddress": None}, "RequiredParamMissing", "receiverIpAddress"),
        ({"receiverIpAddress": "10.0.0"}, "InvalidIPAddress", "receiverIpAddress"),
        ({"receiverIpAddress": "fd00::5"}, "InvalidIPAddress", "receiverIpAddress"),
        ({"senderVirtualNetwork": None}, "RequiredParamMissing", "senderVirtualNetwork"),
        ({"receiverVirtualNetwork": None}, "RequiredParamMissing", "senderVirtualNetwork"),
        ({"protocol": "Sctp"}, "InvalidParameterValue", "protocol"),
        ({"destinationPort": 65536}, "InvalidParameterValue", "destinationPort"),
        ({"destinationPort": 0}, "InvalidParameterValue", "destinationPort"),
        (
            {"icmpProtocolConfig": {"length": 9001}},
            *("InvalidParameterValue", "icmpProtocolConfig.length"),
        ),
        (
            {"receiverVirtualNetwork": {"resourceRef": "/virtualNetworks/blue"}},
            *("VirtualNetworkMismatch", "receiverVirtualNetwork"),
        ),
        (
            {"receiverLogicalNetwork": {"resourceRef": "/logicalNetworks/l"}},
            *("NetworkMismatch", "receiverLogicalNetwork"),
        ),
        (
            {
                "senderVirtualNetwork": None,
                "receiverVirtualNetwork": None,
                "senderLogicalNetwork": {"resourceRef": "/logicalNetworks/l"},
                "receiverLogicalNetwork": {"resourceRef": "/logicalNetworks/l"},
            },
            *("OperationNotSupported", "senderLogicalNetwork"),
        ),
    ],
)
def test_what_cannot_be_checked_is_refused_with_its_place(
    changed: dict[str, Any], code: str, target: str
) -> None:
    hosts = Checking()
    found = error_of(Api(hosts), "PUT", CHECK, {"properties": {**ENDS, **changed}})
    assert found == (400, code, f"properties.{target}")
    assert hosts.checks == []


@pytest.mark.parametrize("body", [None, [], {}, {"properties": 7}, "x"])
def test_what_is_no_check_is_refused(api: Api, body: object) -> None:
    assert error_of(api, "PUT", CHECK, body)[:2] == (400, "InvalidRequestFormat")


def test_results_are_listed_and_found_by_their_id() -> None:
    api = Api(Checking())
    listed = api.get("/diagnostics/ConnectivityCheckResults")["value"]
    assert [one["resourceId"] for one in listed] == ["a", "b"]
    assert {**ENDS, "protocol": "Icmp", "submitTime": "then"}.items() <= (
        listed[0]["properties"].items()
    )
    assert set(listed[0]["properties"]["result"]) == {
        *("status", "roundTripTimeMSec", "errorMessage", "nodeOutput")
    }
    found = api.get("/Diagnostics/connectivitycheckresults/b")
    assert found == listed[1]
    assert found["properties"]["result"] == {
        "status": "InProgress",
        "roundTripTimeMSec": 0,
        "errorMessage": "",
        "nodeOutput": [],
    }
    for path in ("ConnectivityCheckResults/none", "nothing", "ConnectivityCheck/more"):
        assert error_of(api, "GET", f"/networking/v1/diagnostics/{path}")[0] == 404
    for method, path, allowed in (
        ("GET", "ConnectivityCheck", "PUT"),
        ("DELETE", "ConnectivityCheckResults", "GET, HEAD"),
        ("PUT", "ConnectivityCheckResults/a", "GET, HEAD"),
    ):
        reply = api.ask(method, f"/networking/v1/diagnostics/{path}", {})
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
