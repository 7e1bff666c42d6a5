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
from typing import Any

from bench.isthmus_rig import BATCH, LONGEST_S, rule
from bench.results import Figure, figure, median, p99
from isthmus.api.client import Client
from isthmus.policy.rows import Claim, Heartbeat, HostStatus, Port
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire.ovsdb import insert
from isthmus_lab import processes
from isthmus_lab.lab import Lab
from isthmus_lab.northbound import Northbound
from isthmus_lab.state import HostSpec

FEW, MANY = 3, 20
SIMULATED = tuple(f"s{n}" for n in range(MANY - FEW))
RULE_TABLES = (Stage.SOURCE_GROUPS.value, Stage.IN_INTERFACE.value)


def group_figures(n_members: int, samples: int, many: int) -> list[Figure]:
    """`many`: the number of hosts with a switch of the second time; 0 for none."""
    with _rig(n_members, FEW) as (lab, client, hosts):
        told = lab.host("h1").switch.ofctl("dump-flows", "br-int")
        flows = sum(told.count(f"table={table}, ") for table in RULE_TABLES)
        taken = [_one(client, n_members + number, hosts) for number in range(-3, samples)][3:]
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
        with _rig(n_members, many) as (_, client, hosts):
            taken = [_one(client, n_members + number, hosts) for number in range(-3, samples)][3:]
        figures.append(
            figure(
                *("group_member_add_20_switches", n_members, median(taken), "ms"),
                note=f"{many} agents and switches on the cores of this machine; p99"
                f" {p99(taken):.0f} ms",
            )
        )
    return figures


def _one(client: Client, number: int, hosts: list[str]) -> float:
    started = time.perf_counter()
    client.put(f"/networkInterfaces/m{number}", _member(number))
    probe = client.raise_probe()
    done = 0
    while done < len(hosts):
        probe = client.probe(probe["probe"], answered=done, wait_s=30)
        real = [one for one in probe["hosts"] if one["host"] in hosts]
        done = sum(one["milliseconds"] is not None for one in real)
    return (time.perf_counter() - started) * 1e3


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
            _settle(client, hosts)
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


def _settle(client: Client, hosts: list[str]) -> None:
    """Until every host has a port up, and has programmed all."""
    until = time.monotonic() + LONGEST_S
    while client.status()["ports"]["up"] < len(hosts):
        if time.monotonic() > until:
            raise TimeoutError(f"hosts are not ready: {client.status()}")
        time.sleep(0.5)
    _one(client, 30_000, hosts)
    client.delete("/networkInterfaces/m30000")


async def _claim(south: str) -> None:
    """The simulated hosts have all members between them."""
    connection = Connection([south], schema.SOUTH, (Port,), name="simulated hosts")
    await connection.start()
    await connection.loaded(LONGEST_S)
    for number, host in enumerate(SIMULATED, 1):
        status = HostStatus(
            host=host, provider_addresses=(f"172.31.1.{number}",), encapsulations="vxlan,nvgre"
        )
        beat = Heartbeat(host=host, at_s=int(time.time()) + 86400)
        await connection.transact([insert(status.TABLE, status), insert(beat.TABLE, beat)])
    ports = [row for row in connection.table(Port).values() if row.id.startswith("m")]
    for start in range(0, len(ports), 100):
        number = start // 100 % len(SIMULATED)
        claims = [
            Claim(
                port=row.id,
                host=SIMULATED[number],
                segment=row.segment,
                provider_address=f"172.31.1.{number + 1}",
                sequence=1,
            )
            for row in ports[start : start + 100]
        ]
        await connection.transact([insert(claim.TABLE, claim) for claim in claims])
    await connection.stop()
