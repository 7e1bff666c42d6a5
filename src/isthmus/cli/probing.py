# SPDX-License-Identifier: Apache-2.0
"""``isthmus trace --live``: a real packet, sent by the switch of the source as its port would, and
its answer (the API's ConnectivityCheck)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isthmus.errors import Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from isthmus.api.client import Client

Told = Mapping[str, Any]

LONGEST_S = 30.0
PAUSE_S = 0.05
PROTOCOLS = {0: "Icmp", 1: "Icmp", 6: "Tcp", 17: "Udp", 58: "Icmp"}


def live(client: Client, source: str, traced: Told) -> Told:
    """The result of a check between the two addresses that a trace spoke of: `status`,
    `roundTripTimeMSec`, `errorMessage`. Raises Invalid, NotFound, Unavailable."""
    packet = traced["packet"]
    protocol = PROTOCOLS.get(packet["protocol"])
    if protocol is None:
        raise Invalid(
            f"protocol {packet['protocol']} cannot be tried with a real packet: ICMP, TCP and UDP"
            " can"
        )
    network = {"resourceRef": _network_of(client, source, packet["source"])}
    asked: dict[str, Any] = {
        "senderIpAddress": packet["source"],
        "receiverIpAddress": packet["destination"],
        "senderVirtualNetwork": network,
        "receiverVirtualNetwork": network,
        "protocol": protocol,
        "disableTracing": True,
    }
    if packet["destinationPort"]:
        asked["destinationPort"] = packet["destinationPort"]
    begun = client.check_connectivity(asked)["properties"]
    end = time.monotonic() + LONGEST_S
    while True:
        found: Told = client.get(begun["connectivityCheckResult"]["resourceRef"])
        result: Told = found["properties"]["result"]
        if result["status"] != "InProgress":
            return result
        if time.monotonic() > end:
            raise Unavailable(
                f"the check has not ended in {LONGEST_S:g} s: isthmus doctor says why"
            )
        time.sleep(PAUSE_S)


def live_line(result: Told) -> str:
    """The text of a result."""
    if result["status"] == "Success":
        took_ms = result["roundTripTimeMSec"]
        how = f"a real packet was answered in {took_ms} ms" if took_ms else "nothing stops it"
        return f"Live      delivered: {how}"
    return f"Live      not answered: {result['errorMessage']}"


def _network_of(client: Client, port: str, address: str) -> str:
    """The virtual network in which a port has an address."""
    interface = client.get(f"/networkInterfaces/{port}")
    for config in interface["properties"].get("ipConfigurations", ()):
        if config["properties"].get("privateIPAddress") == address:
            subnet = str(config["properties"]["subnet"]["resourceRef"])
            return subnet.partition("/subnets/")[0]
    raise NotFound(f"{port} has no address {address} in a virtual network", target=port)
