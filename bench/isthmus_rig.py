# SPDX-License-Identifier: Apache-2.0
"""Isthmus with N ports: a lab of three hosts, a controller, and simulated hosts that write the rows
that agents write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from bench import topology
from bench.probing import GUEST_ADDRESS, GUEST_MAC, PEER_ADDRESS, PEER_MAC, PEER_PORT, Pair
from bench.topology import HOSTS, Place
from isthmus.api.client import Client
from isthmus.policy.rows import Claim, Heartbeat, HostStatus, Port, PortStatus
from isthmus.policy.values import Preference
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.wire.encapsulations import ENCAPSULATIONS
from isthmus.wire.ovsdb import insert
from isthmus_lab import processes
from isthmus_lab.lab import Lab
from isthmus_lab.northbound import Northbound
from isthmus_lab.state import HostSpec

BATCH = 500
GROUP = "default"
LONGEST_S = 120.0


class Rig:
    """A lab with Isthmus on it."""

    def __init__(self, lab: Lab, *, rules: bool = False) -> None:
        """`rules`: every port is a member of a default security group, under its rules."""
        self.lab = lab
        self.rules = rules
        self.socket = processes.rest_socket(lab.run_directory)
        self.south = processes.south_store(lab.run_directory)
        self.client = Client(f"unix:{self.socket}", timeout_s=LONGEST_S, version="v7.1")

    def furnish(self, n_ports: int) -> None:
        """The fabric, and the networks; no ports yet."""
        resources: list[Mapping[str, Any]] = [
            _put("/logicalNetworks/underlay", {"networkVirtualizationEnabled": "True"}),
            _put(
                "/macPools/m",
                {"startMacAddress": "06-00-00-00-00-00", "endMacAddress": "06-00-00-FF-FF-FF"},
            ),
            *(_put(f"/servers/{host}", {}) for host in HOSTS),
            *(_put(f"/servers/s{n}", {}) for n in range(topology.SIMULATED_HOSTS)),
        ]
        resources += [_network(name) for name in topology.networks(n_ports)]
        resources += _default_group() if self.rules else []
        for part in _parts(resources):
            self.client.batch(part)

    def plug(self, places: Sequence[Place]) -> None:
        """Interfaces for the plugged ports: internal ones, without guests."""
        for host in HOSTS:
            mine = [place for place in places if place.plugged and place.host == host]
            for part in _parts(mine, 25):
                arguments: list[str] = []
                for place in part:
                    name = f"i{place.name}"
                    arguments += ["--", "add-port", "br-int", name, "--"]
                    arguments += ["set", "interface", name, "type=internal"]
                    arguments += [f"external_ids:iface-id={place.name}"]
                self.lab.host(host).switch.vsctl(*arguments[1:])

    def create(self, places: Sequence[Place]) -> None:
        """The ports, in batches."""
        for part in _parts(places):
            self.client.batch([self._interface(place) for place in part])

    def settle(self) -> float:
        """Wait until every real host has programmed all; seconds that took."""
        started = time.perf_counter()
        probe = self.client.raise_probe()
        done = 0
        while done < len(HOSTS):
            probe = self.client.probe(probe["probe"], answered=done, wait_s=30)
            real = [one for one in probe["hosts"] if one["host"] in HOSTS]
            done = sum(one["milliseconds"] is not None for one in real)
            if time.perf_counter() - started > LONGEST_S:
                raise TimeoutError(f"hosts do not answer: {probe}")
        return time.perf_counter() - started

    def claim(self, places: Sequence[Place]) -> None:
        """What the simulated hosts say."""
        asyncio.run(_claim(self.south, [place for place in places if not place.plugged]))

    def put_probe(self, name: str) -> None:
        """The port of the guest that is measured."""
        self.put_port(name, GUEST_ADDRESS, GUEST_MAC)

    def put_port(self, name: str, address: str, mac: str) -> None:
        """One more port of the first subnet."""
        self.client.put(f"/networkInterfaces/{name}", self._ruled(_body(address, mac)))

    def body_of(self, place: Place) -> Mapping[str, Any]:
        """What a PUT of the port says, with its rules."""
        return self._ruled(body_of(place))

    def _ruled(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.rules:
            return body
        tags = [{"resourceRef": f"/securityTags/{GROUP}"}]
        return {"properties": {**body["properties"], "securityTags": tags}}

    def _interface(self, place: Place) -> Mapping[str, Any]:
        ref = f"/networkInterfaces/{place.name}"
        return {"method": "PUT", "resourceRef": ref, "body": self.body_of(place)}

    def delete(self, name: str) -> None:
        self.client.delete(f"/networkInterfaces/{name}")

    def pair(self) -> Pair:
        self.put_port(PEER_PORT, PEER_ADDRESS, PEER_MAC)
        pair = Pair(self.lab)
        self.settle()
        return pair

    def pid(self, what: str) -> int:
        """Of ``controller``, ``north``, ``south``, or a host's agent."""
        directory = processes.controller_directory(self.lab.run_directory)
        if what == "controller":
            pid = self.lab.controller().pid
        elif what in ("north", "south"):
            pid = int((directory / f"{what}.pid").read_text())
        else:
            pid = self.lab.agent(self.lab.host(what)).pid
        assert pid is not None, what
        return pid


@contextmanager
def isthmus_rig(
    n_ports: int, *, plugged: bool = True, created: bool = True, rules: bool = False
) -> Iterator[Rig]:
    """A rig with N ports, all claimed and programmed."""
    found = list(topology.places(n_ports))
    with Lab("bench") as lab:
        lab.up([HostSpec(name, f"172.31.0.{n}") for n, name in enumerate(HOSTS, 1)])
        controller = lab.start_controller()
        with Northbound(processes.rest_socket(lab.run_directory)) as north:
            north.wait_until_ready(controller)
        rig = Rig(lab, rules=rules)
        with closing(rig.client):
            rig.furnish(n_ports)
            for host in lab.hosts.values():
                lab.start_agent(host)
            _await_bridges(lab)
            if plugged:
                rig.plug(found)
            if created:
                rig.create(found)
                rig.settle()
                rig.claim(found)
            rig.settle()
            yield rig


def _await_bridges(lab: Lab) -> None:
    until = time.monotonic() + 20
    for host in lab.hosts.values():
        while "br-int" not in host.switch.vsctl("list-br"):
            if time.monotonic() > until:
                raise TimeoutError(f"{host.name} has no br-int: {lab.agent(host).last_words()}")
            time.sleep(0.05)


def rss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(pid)


async def _claim(south: str, places: Sequence[Place]) -> None:
    connection = Connection([south], schema.SOUTH, (Port,), name="simulated hosts")
    await connection.start()
    await connection.loaded(LONGEST_S)
    ports = {row.id: row for row in connection.table(Port).values()}
    now_s = int(time.time())
    for number in range(topology.SIMULATED_HOSTS):
        status = HostStatus(
            host=f"s{number}",
            provider_addresses=(IPv4Address(f"172.31.1.{number + 1}"),),
            encapsulations=Preference(ENCAPSULATIONS),
        )
        await connection.transact(
            [
                insert(status.TABLE, status),
                insert(Heartbeat.TABLE, Heartbeat(host=f"s{number}", at_s=now_s)),
            ]
        )
    for part in _parts(places, 100):
        operations = []
        for place in part:
            address = f"172.31.1.{int(place.host[1:]) + 1}"
            row = ports[place.name]
            claim = Claim(
                port=row.id,
                host=place.host,
                segment=row.segment,
                provider_address=IPv4Address(address),
                sequence=1,
            )
            said = PortStatus(
                port=row.id, host=place.host, segment=row.segment, revision=row.revision
            )
            operations += [insert(claim.TABLE, claim), insert(said.TABLE, said)]
        await connection.transact(operations)
    await connection.stop()


def _parts(items: Sequence[Any], size: int = BATCH) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _put(ref: str, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"method": "PUT", "resourceRef": ref, "body": {"properties": properties}}


def _network(name: str) -> Mapping[str, Any]:
    subnets = [
        {"resourceId": s, "properties": {"addressPrefix": topology.subnet_prefix(s)}}
        for s in ("s0", "s1")
    ]
    properties = {
        "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
        "logicalNetwork": {"resourceRef": "/logicalNetworks/underlay"},
        "subnets": subnets,
    }
    return _put(f"/virtualNetworks/{name}", properties)


def rule(name: str, **fields: Any) -> Mapping[str, Any]:
    """An aclRule that allows what `fields` say."""
    ends = {"sourceAddressPrefix": "*", "destinationAddressPrefix": "*"}
    if "sourceSecurityTags" in fields:
        del ends["sourceAddressPrefix"]
    properties = {
        **{"type": "Inbound", "action": "Allow", "protocol": "All", "priority": "200"},
        **{"sourcePortRange": "*", "destinationPortRange": "*", "logging": "Enabled"},
        **ends,
        **fields,
    }
    return {"resourceId": name, "properties": properties}


def _default_group() -> list[Mapping[str, Any]]:
    """What clouds give every port: in from the group itself, ping and one service; out to all."""
    tag = {"resourceRef": f"/securityTags/{GROUP}"}
    rules = [
        rule("group", sourceSecurityTags=[tag]),
        rule("ping", protocol="ICMPv4"),
        rule("ssh", protocol="TCP", destinationPortRange="22"),
        rule("service", protocol="TCP", destinationPortRange="5000-5999"),
        rule("service-udp", protocol="UDP", destinationPortRange="5000-5999"),
    ]
    acl = {"inboundDefaultAction": "Deny", "securityTags": [tag], "aclRules": rules}
    return [_put(f"/securityTags/{GROUP}", {}), _put(f"/accessControlLists/{GROUP}", acl)]


def body_of(place: Place) -> Mapping[str, Any]:
    """What a PUT of the port says, without rules."""
    return _body(place.address, place.mac, f"{place.network}/subnets/{place.subnet}")


def _body(address: str, mac: str, subnet: str = "net0/subnets/s0") -> Mapping[str, Any]:
    config = {
        "privateIPAddress": address,
        "privateIPAllocationMethod": "Static",
        "subnet": {"resourceRef": f"/virtualNetworks/{subnet}"},
    }
    return {
        "properties": {
            "privateMacAddress": mac.replace(":", ""),
            "ipConfigurations": [{"resourceId": "c", "properties": config}],
        }
    }
