# SPDX-License-Identifier: Apache-2.0
"""A security group of many members, in five rules: a further member, until all hosts that enforce
it have it; and what it costs a host.

Twice: three hosts with a switch and simulated ones that hold the members, as everywhere in these
benchmarks; and twenty hosts with a switch and an agent each, all on this one machine, whose cores
they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec

from bench import http
from bench.isthmus_rig import BATCH, LONGEST_S, rule
from bench.results import Figure, figure, median, p99
from isthmus.api.client import Client
from isthmus.policy.rows import Claim, Heartbeat, HostStatus, Port
from isthmus.policy.values import Preference
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire.encapsulations import ENCAPSULATIONS
from isthmus.wire.ovsdb import insert
from isthmus_lab import processes
from isthmus_lab.lab import Lab
from isthmus_lab.northbound import Northbound
from isthmus_lab.state import HostSpec

FEW, MANY = 3, 20
SIMULATED = tuple(f"s{n}" for n in range(MANY - FEW))
_ROOT = "/networking/v7.1"
RULE_TABLES = (Stage.SOURCE_GROUPS.value, Stage.IN_INTERFACE.value)


def group_figures(n_members: int, samples: int, many: int) -> list[Figure]:
    """`many`: the number of hosts with a switch of the second time; 0 for none."""
    with _rig(n_members, FEW) as (lab, _, hosts):
        told = lab.host("h1").switch.ofctl("dump-flows", "br-int")
        flows = sum(told.count(f"table={table}, ") for table in RULE_TABLES)
        taken = _samples(lab, n_members, samples, hosts)
    note = f"{FEW} hosts and {len(SIMULATED)} simulated; until hosts say that it is programmed"
    goal = f"≤ {n_members + 100:,}"
    figures = [
        figure("group_member_add_median", n_members, median(taken), "ms", note=note),
        figure(
            *("group_member_add_p99", n_members, p99(taken), "ms"),
            goal="≤ 20",
            note=f"{note}; OVN 23.03 elsewhere, on three hosts: 637 ms",
        ),
        figure(
            *("group_flows", n_members, float(flows), "flows"),
            goal=goal,
            note="of groups and inbound rules, IPv4; OVN 23.03 elsewhere: 2.44 million",
        ),
    ]
    if many:
        with _rig(n_members, many) as (lab, _, hosts):
            taken = _samples(lab, n_members, samples, hosts)
        figures.append(
            figure(
                *("group_member_add_20_switches", n_members, median(taken), "ms"),
                note=f"{many} agents and switches on the cores of this machine; p99"
                f" {p99(taken):.0f} ms",
            )
        )
    return figures


def _samples(lab: Lab, first: int, count: int, hosts: list[str]) -> list[float]:
    """Milliseconds of each further member; the first three are not counted."""
    return asyncio.run(_asked(processes.rest_socket(lab.run_directory), first, count, hosts))


async def _asked(socket: Path, first: int, count: int, hosts: list[str]) -> list[float]:
    async with http.Connection(socket) as connection:
        taken = [await _one(connection, first + number, hosts) for number in range(-3, count)]
    return taken[3:]


async def _one(connection: http.Connection, number: int, hosts: list[str]) -> float:
    """Simulated hosts answer no probe, so the last answer is that of the last of `hosts`."""
    started = time.perf_counter()
    await connection.ask("PUT", f"{_ROOT}/networkInterfaces/m{number}", _member(number))
    probe = msgspec.json.decode(await connection.ask("POST", f"{_ROOT}/isthmus/probes"))
    answered = f"answered={len(hosts) - 1}&waitSeconds=60"
    path = f"{_ROOT}/isthmus/probes/{probe['probe']}?{answered}"
    told = msgspec.json.decode(await connection.ask("GET", path))
    taken_s = time.perf_counter() - started
    done = {one["host"] for one in told["hosts"] if one["milliseconds"] is not None}
    if not done.issuperset(hosts):
        raise TimeoutError(f"hosts do not answer: {told}")
    return taken_s * 1e3


@contextmanager
def _rig(n_members: int, n_hosts: int) -> Iterator[tuple[Lab, Client, list[str]]]:
    hosts = [f"h{n}" for n in range(1, n_hosts + 1)]
    with Lab("benchgroup") as lab:
        lab.up([HostSpec(name, f"172.31.0.{n}") for n, name in enumerate(hosts, 1)])
        controller = lab.start_controller()
        socket = processes.rest_socket(lab.run_directory)
        with Northbound(socket) as north:
            north.wait_until_ready(controller)
        client = Client(f"unix:{socket}", timeout_s=LONGEST_S, version="v7.1")
        with closing(client):
            _furnish(client, hosts)
            for start in range(0, n_members, BATCH):
                part = range(start, min(n_members, start + BATCH))
                client.batch([_put(f"/networkInterfaces/m{n}", _member(n)) for n in part])
            south = processes.south_store(lab.run_directory)
            asyncio.run(_claim(south))
            for host in lab.hosts.values():
                lab.start_agent(host)
            _plug(lab, hosts)
            _settle(lab, client, hosts)
            yield lab, client, hosts


def _furnish(client: Client, hosts: list[str]) -> None:
    members, enforced = ({"resourceRef": f"/securityTags/{tag}"} for tag in ("members", "e"))
    rules = [
        rule(
            f"r{n}",
            protocol="TCP",
            destinationPortRange=str(8000 + n),
            sourceSecurityTags=[members],
        )
        for n in range(5)
    ]
    subnets = [{"resourceId": "s", "properties": {"addressPrefix": "10.1.0.0/17"}}]
    subnets.append({"resourceId": "e", "properties": {"addressPrefix": "10.1.128.0/24"}})
    client.batch(
        [
            _put("/logicalNetworks/underlay", _of(networkVirtualizationEnabled="True")),
            *(_put(f"/servers/{host}", _of()) for host in (*hosts, *SIMULATED)),
            _put("/securityTags/members", _of()),
            _put("/securityTags/e", _of()),
            _put(
                "/accessControlLists/e",
                _of(inboundDefaultAction="Deny", securityTags=[enforced], aclRules=rules),
            ),
            _put(
                "/virtualNetworks/n",
                _of(
                    addressSpace={"addressPrefixes": ["10.1.0.0/16"]},
                    logicalNetwork={"resourceRef": "/logicalNetworks/underlay"},
                    subnets=subnets,
                ),
            ),
            *(
                _put(
                    f"/networkInterfaces/e{n}",
                    _interface("e", f"10.1.128.{10 + n}", f"0601000000{n:02X}", "e"),
                )
                for n in range(len(hosts))
            ),
        ]
    )


def _member(number: int) -> dict[str, Any]:
    address = f"10.1.{number // 250}.{number % 250 + 4}"
    return _interface("s", address, f"0600{number:08X}", "members")


def _interface(subnet: str, address: str, mac: str, tag: str) -> dict[str, Any]:
    config = {
        "privateIPAddress": address,
        "subnet": {"resourceRef": f"/virtualNetworks/n/subnets/{subnet}"},
    }
    return _of(
        privateMacAddress=mac,
        securityTags=[{"resourceRef": f"/securityTags/{tag}"}],
        ipConfigurations=[{"resourceId": "c", "properties": config}],
    )


def _of(**properties: Any) -> dict[str, Any]:
    return {"properties": properties}


def _put(ref: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"method": "PUT", "resourceRef": ref, "body": body}


def _plug(lab: Lab, hosts: list[str]) -> None:
    for number, name in enumerate(hosts):
        switch, until = lab.host(name).switch, time.monotonic() + 60
        while "br-int" not in switch.vsctl("list-br"):
            if time.monotonic() > until:
                raise TimeoutError(f"{name} has no br-int")
            time.sleep(0.05)
        port = f"e{number}"
        switch.vsctl(
            *("add-port", "br-int", f"i{port}", "--", "set", "interface", f"i{port}"),
            *("type=internal", f"external_ids:iface-id={port}"),
        )


def _settle(lab: Lab, client: Client, hosts: list[str]) -> None:
    """Until every host has a port up, and has programmed all."""
    until = time.monotonic() + LONGEST_S
    while client.status()["ports"]["up"] < len(hosts):
        if time.monotonic() > until:
            raise TimeoutError(f"hosts are not ready: {client.status()}")
        time.sleep(0.5)
    _samples(lab, 30_000, 0, hosts)
    for number in range(29_997, 30_000):
        client.delete(f"/networkInterfaces/m{number}")


async def _claim(south: str) -> None:
    """The simulated hosts have all members between them."""
    connection = Connection([south], schema.SOUTH, (Port,), name="simulated hosts")
    await connection.start()
    await connection.loaded(LONGEST_S)
    for number, host in enumerate(SIMULATED, 1):
        status = HostStatus(
            host=host,
            provider_addresses=(IPv4Address(f"172.31.1.{number}"),),
            encapsulations=Preference(ENCAPSULATIONS),
        )
        beat = Heartbeat(host=host, at_s=int(time.time()))
        await connection.transact([insert(status.TABLE, status), insert(beat.TABLE, beat)])
    ports = [row for row in connection.table(Port).values() if row.id.startswith("m")]
    for start in range(0, len(ports), 100):
        number = start // 100 % len(SIMULATED)
        claims = [
            Claim(
                port=row.id,
                host=SIMULATED[number],
                segment=row.segment,
                provider_address=IPv4Address(f"172.31.1.{number + 1}"),
                sequence=1,
            )
            for row in ports[start : start + 100]
        ]
        await connection.transact([insert(claim.TABLE, claim) for claim in claims])
    await connection.stop()
