# SPDX-License-Identifier: Apache-2.0
"""What a ConnectivityCheck finds, of a cloud that runs: real packets are answered, or it says why
not."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from isthmus.errors import IsthmusError
from tests.system.cloud import FAMILIES, LONGEST_S, Nic, RunningCloud, address_of, until
from tests.system.questioned import BUSY, lists_shut, questioned_cloud

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with questioned_cloud() as made:
        yield made


@pytest.fixture
def shut(cloud: RunningCloud) -> Iterator[None]:
    with lists_shut(cloud):
        yield


# -- real packets ----------------------------------------------------------------------------------

RED = {"resourceRef": "/virtualNetworks/red"}


def check(cloud: RunningCloud, sender: str, receiver: str, **more: object) -> Mapping[str, Any]:
    """What a ConnectivityCheck finds, made again where a host was too busy."""
    end = time.monotonic() + LONGEST_S
    while True:
        found = _check(cloud, sender, receiver, more)
        if not was_busy(found) or time.monotonic() > end:
            return found


def was_busy(found: Mapping[str, Any]) -> bool:
    lines = [line for node in found["nodeOutput"] for line in node["traceOutput"]]
    return BUSY in found["errorMessage"] or any(line.endswith(": None") for line in lines)


def success(cloud: RunningCloud, sender: str, receiver: str, **more: object) -> Mapping[str, Any]:
    """What a check finds that succeeds, be it after some that were too early."""
    found: dict[str, Any] = {}

    def succeeds() -> bool:
        found.update(check(cloud, sender, receiver, **more))
        return bool(found["status"] == "Success")

    until(succeeds)
    return found


def _check(
    cloud: RunningCloud, sender: str, receiver: str, more: Mapping[str, object]
) -> Mapping[str, Any]:
    body = {
        "properties": {
            "senderIpAddress": sender,
            "receiverIpAddress": receiver,
            "senderVirtualNetwork": RED,
            "receiverVirtualNetwork": RED,
            **more,
        }
    }
    begun = cloud.north.put("/diagnostics/ConnectivityCheck", body)["properties"]
    reference = begun["connectivityCheckResult"]["resourceRef"]
    found: dict[str, Any] = {}

    def is_done() -> bool:
        shown = cloud.north.get(reference)["properties"]
        assert shown["operationId"] == begun["operationId"]
        assert {**body["properties"], "submitTime": begun["submitTime"]}.items() >= {
            name: shown[name]
            for name in ("senderIpAddress", "receiverVirtualNetwork", "submitTime")
        }.items()
        found.update(shown["result"])
        return str(found["status"]) != "InProgress"

    until(is_done)
    listed = cloud.north.list("/diagnostics/ConnectivityCheckResults")
    assert reference in [one["resourceRef"] for one in listed]
    return found


@contextmanager
def listening(nic: Nic, address: str, port: int) -> Iterator[None]:
    """Somebody accepts connections there."""
    program = (
        "import socket, sys; kind = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        "server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=kind)\n"
        "while True: server.accept()[0].close()"
    )
    process = nic.guest.start([sys.executable, "-c", program, address, str(port)])
    try:
        probe = ["ss", "-tlnH", f"sport = :{port}"]
        until(lambda: nic.guest.run(probe).strip())
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("receiver", ["b1", "a2"])
def test_a_check_may_be_longer_than_one_packet(
    cloud: RunningCloud, receiver: str, family: int
) -> None:
    ends = cloud["a1"].address(family), cloud[receiver].address(family)
    found = success(cloud, *ends, icmpProtocolConfig={"length": 3000})
    assert found["roundTripTimeMSec"] > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("receiver", ["b1", "a2", "a3", "d2"])
def test_a_check_finds_that_real_packets_are_answered(
    cloud: RunningCloud, receiver: str, family: int
) -> None:
    ends = cloud["a1"].address(family), cloud[receiver].address(family)
    # The first packet between two guests may wait for a neighbour.
    found = success(cloud, *ends)
    assert found["errorMessage"] == ""
    assert found["roundTripTimeMSec"] > 0
    kinds = [node["nodeType"] for node in found["nodeOutput"]]
    on_one_host = cloud[receiver].plan.host == "h1"
    assert kinds == (["Sender"] if on_one_host else ["Sender", "Receiver"])
    assert found["nodeOutput"][0]["traceOutput"][0].startswith("h1: CLASSIFY > ")
    assert success(cloud, *ends, disableTracing=True)["nodeOutput"] == []
    success(cloud, *ends, icmpProtocolConfig={"length": 1200, "sequenceNumber": 7})
    with listening(cloud[receiver], ends[1], 5001):
        found = success(cloud, *ends, protocol="Tcp", destinationPort=5001)
        assert found["roundTripTimeMSec"] > 0
    success(cloud, *ends, protocol="UDP", destinationPort=5001)


def test_checks_between_the_same_ends_do_not_disturb_each_other(cloud: RunningCloud) -> None:
    ends = cloud["a1"].address(4), cloud["a2"].address(4)

    def all_succeed() -> bool:
        with ThreadPoolExecutor(4) as several:
            found = list(several.map(lambda _: check(cloud, *ends), range(8)))
        return {one["status"] for one in found} == {"Success"}

    until(all_succeed)


def test_a_check_says_why_not(cloud: RunningCloud, shut: None) -> None:
    a1, b1, a2 = (cloud[name].address(4) for name in ("a1", "b1", "a2"))
    found = check(cloud, b1, a1, protocol="Tcp", destinationPort=81)
    assert found["status"] == "Failure"
    assert "denied by default of one" in found["errorMessage"]
    assert "IN_INTERFACE" in found["nodeOutput"][0]["traceOutput"][0]
    found = check(cloud, b1, a2, protocol="Udp", destinationPort=9)
    assert "denied by rule rule1" in found["errorMessage"]
    assert "no port has that address" in check(cloud, b1, "10.1.1.99")["errorMessage"]
    assert "no route" in check(cloud, b1, "192.0.2.1")["errorMessage"]
    success(cloud, b1, "10.1.1.1")  # the router
    device = "eth0"
    cloud["a2"].guest.run(["ip", "link", "set", device, "down"])
    try:
        found = check(cloud, b1, a2)
        assert found["status"] == "Failure"
        assert f"{a2} did not answer a real packet" in found["errorMessage"]
    finally:
        cloud["a2"].guest.run(["ip", "link", "set", device, "up"])
        for family in FAMILIES:
            number = cloud["a2"].plan.addresses[0][0]
            text = address_of("web", number, family)
            gateway = address_of("web", 1, family)
            length = "24" if family == 4 else "64"
            cloud["a2"].guest.run(["ip", "addr", "replace", f"{text}/{length}", "dev", device])
            cloud["a2"].guest.run(
                ["ip", f"-{family}", "route", "replace", "default", "via", gateway]
            )
    success(cloud, b1, a2)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"senderIpAddress": "10.1.1.99"}, "NotFound"),
        ({"senderIpAddress": "here"}, "InvalidIPAddress"),
        ({"protocol": "Sctp"}, "InvalidParameterValue"),
        ({"destinationPort": 0}, "InvalidParameterValue"),
        (
            {"receiverVirtualNetwork": {"resourceRef": "/virtualNetworks/blue"}},
            "VirtualNetworkMismatch",
        ),
        ({"receiverVirtualNetwork": None}, "RequiredParamMissing"),
        ({"receiverLogicalNetwork": {"resourceRef": "/logicalNetworks/u"}}, "NetworkMismatch"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(
    cloud: RunningCloud, changed: dict[str, object], code: str
) -> None:
    before = len(cloud.north.list("/diagnostics/ConnectivityCheckResults"))
    a1, b1 = cloud["a1"].address(4), cloud["b1"].address(4)
    with pytest.raises(IsthmusError) as caught:
        check(cloud, a1, b1, **changed)
    assert caught.value.code == code
    assert len(cloud.north.list("/diagnostics/ConnectivityCheckResults")) == before
