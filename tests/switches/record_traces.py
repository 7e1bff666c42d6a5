# SPDX-License-Identifier: Apache-2.0
"""Records what a real switch says to ``ofproto/trace`` in ``traces/``, for `test_traced`. As root:

.venv/bin/python -m tests.switches.record_traces
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from isthmus.switches.ovs import traced
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.registers import VSID
from isthmus_lab.switch import Switch
from tests.flow_texts import stage_name
from tests.system.cloud import (
    CARRIAGES,
    ROUTER,
    Plan,
    RunningCloud,
    access_control_list,
    address_of,
    rule,
    running_cloud,
    virtual_network,
)

HERE = Path(__file__).parent / "traces"
BRIDGE = "br-int"

PLANS = (
    Plan("here", "h1", ((11, ""),)),
    Plan("beside", "h1", ((12, ""),)),
    Plan("ruled", "h1", ((13, "some"),)),
    Plan("below", "h1", ((14, ""),), subnet="db"),
    Plan("vxlan", "h2", ((15, ""),)),
    Plan("nvgre", "h3", ((16, ""),)),
)


class Recorded(msgspec.Struct, frozen=True):
    """One question and what the switch said. `in_port` is where the packet came in."""

    in_port: str
    command: str
    arguments: list[str]
    said: list[str]
    """Its lines; tables of stages by name, in braces."""


_TABLE = re.compile(r"(^ *|goto_table:|resubmit\(,|\btable=|resumed at )(\d+)(?=[,).]|$)")


def with_names(line: str) -> str:
    """Stages by name, so that recordings stay true where tables get other numbers."""
    return _TABLE.sub(lambda found: f"{found[1]}{{{stage_name(int(found[2]))}}}", line)


def with_numbers(line: str) -> str:
    """What the switch said."""
    return re.sub(r"\{(\w+)\}", lambda found: str(_number(found[1])), line)


def _number(name: str) -> int:
    return int(name) if name.isdigit() else Stage[name].value


class Asked(NamedTuple):
    """A packet, as a guest sends it or as it comes out of a tunnel."""

    name: str
    host: str
    fields: dict[str, str]


def asked(cloud: RunningCloud) -> Iterator[Asked]:
    """Questions of all kinds, from ``here``."""
    here = cloud["here"]
    mine = {"in_port": _ofport(cloud, "h1", "here"), "eth_src": str_of(here.mac)}
    router = {"eth_dst": str_of(ROUTER)}

    def four(kind: str, to: str, **ports: str) -> dict[str, str]:
        return {kind: "", "nw_src": address_of("web", 11, 4), "nw_dst": to, **ports, "nw_ttl": "64"}

    def six(kind: str, to: str, **ports: str) -> dict[str, str]:
        ends = {"ipv6_src": address_of("web", 11, 6), "ipv6_dst": to}
        return {kind: "", **ends, **ports, "nw_ttl": "64"}

    def at(name: str) -> dict[str, str]:
        return {**mine, "eth_dst": str_of(cloud[name].mac)}

    http = {"tp_src": "40000", "tp_dst": "80"}
    for name in ("beside", "vxlan", "nvgre", "ruled"):
        yield Asked(f"to-{name}", "h1", {**at(name), **four("tcp", cloud[name].address(4), **http)})
    ruled = cloud["ruled"]
    echo = {"icmp_type": "128", "icmp_code": "0"}
    yield Asked("ipv6-to-ruled", "h1", {**at("ruled"), **six("icmp6", ruled.address(6), **echo)})
    refused = {"tp_src": "40000", "tp_dst": "81"}
    for kind in ("tcp", "sctp", "udp"):
        packet = {**at("ruled"), **four(kind, ruled.address(4), **refused)}
        yield Asked(f"{kind}-denied", "h1", packet)
    protocol = {**four("ip", ruled.address(4)), "nw_proto": "99"}
    yield Asked("protocol-denied", "h1", {**at("ruled"), **protocol})
    below = four("udp", cloud["below"].address(4), **http)
    yield Asked("routed", "h1", {**mine, **router, **below})
    ping = {"icmp_type": "8", "icmp_code": "0"}
    gateway = four("icmp", address_of("web", 1, 4), **ping)
    yield Asked("gateway", "h1", {**mine, **router, **gateway})
    gateway6 = six("icmp6", address_of("web", 1, 6), **echo)
    yield Asked("gateway-ipv6", "h1", {**mine, **router, **gateway6})
    everybody = {**mine, "eth_dst": "ff:ff:ff:ff:ff:ff"}
    arp = {"arp_op": "1", "arp_sha": str_of(here.mac), "arp_tha": "00:00:00:00:00:00"}
    ends = {"arp_spa": here.address(4), "arp_tpa": cloud["vxlan"].address(4)}
    yield Asked("arp", "h1", {**everybody, "arp": "", **arp, **ends})
    dhcp = {"udp": "", "nw_src": "0.0.0.0", "nw_dst": "255.255.255.255"}
    ports = {"tp_src": "68", "tp_dst": "67"}
    yield Asked("dhcp", "h1", {**everybody, **dhcp, **ports})
    yield Asked("broadcast", "h1", {**everybody, **four("udp", "255.255.255.255", **http)})
    forged = {**four("udp", cloud["beside"].address(4), **http), "nw_src": "10.1.1.77"}
    yield Asked("forged", "h1", {**at("beside"), **forged})
    yield Asked("no-route", "h1", {**mine, **router, **four("udp", "192.0.2.1", **http)})
    stranger = {**mine, "eth_dst": "02:00:00:00:00:fe"}
    yield Asked("no-port", "h1", {**stranger, **four("udp", "10.1.1.99", **http)})


def str_of(mac: int) -> str:
    return ":".join(f"{mac:012x}"[n : n + 2] for n in range(0, 12, 2))


def _ofport(cloud: RunningCloud, host: str, port: str) -> str:
    switch = cloud.lab.host(host).switch
    found = switch.vsctl(
        *("--bare", "--columns=ofport", "find", "interface", f"external_ids:iface-id={port}")
    )
    return found.strip()


def record(switch: Switch, name: str, fields: dict[str, str]) -> traced.Traced:
    """Ask, and ask on after connection tracking; each answer is a file."""
    command, arguments = traced.first_question(BRIDGE, fields)
    for number in range(1, 4):
        text = switch.appctl(command, *arguments)
        found = traced.read(text, fields["in_port"])
        suffix = "" if number == 1 else f"-{number}"
        lines = [with_names(line) for line in text.splitlines()]
        named = [with_names(argument) for argument in arguments]
        told = Recorded(fields["in_port"], command, named, lines)
        path = HERE / f"{name}{suffix}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
        print(path.name, found.outcome, found.port, found.peer, found.entries[-1].stage)
        if found.outcome != "tracked":
            break
        command, arguments = traced.second_question(BRIDGE, found.fields)
    return found


PROVIDER = {"h1": "172.31.0.1", "h2": "172.31.0.2", "h3": "172.31.0.3"}
OF_A_PACKET = ("eth_", "dl_", "nw_", "tp_", "tcp", "udp", "icmp")


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with running_cloud() as cloud:
        cloud.furnish(
            access_control_list("some", rule("TCP", "80"), rule("ICMPv6")),
            virtual_network("red"),
            plans=PLANS,
        )
        arrived = {}
        for one in asked(cloud):
            arrived[one.name] = record(cloud.lab.host(one.host).switch, one.name, one.fields)
        for name, host in (("vxlan", "h2"), ("nvgre", "h3")):
            fields = arrived[f"to-{name}"].fields
            switch = cloud.lab.host(host).switch
            vsid = traced.register(fields, VSID)
            tunnel = {
                "tun_id": hex(vsid << 8 if name == "nvgre" else vsid),
                "tun_src": PROVIDER["h1"],
                "tun_dst": PROVIDER[host],
                "in_port": switch.vsctl(
                    "get", "interface", _tunnel(switch, name), "ofport"
                ).strip(),
            }
            packet = {n: v for n, v in fields.items() if n.startswith(OF_A_PACKET)}
            record(switch, f"from-{name}", {**tunnel, **packet})
            assert CARRIAGES[host] == f"by {name.upper()}"


def _tunnel(switch: Switch, encapsulation: str) -> str:
    kind = {"vxlan": "vxlan", "nvgre": "gre"}[encapsulation]
    found = switch.vsctl("--bare", "--columns=name", "find", "interface", f"type={kind}")
    return found.split()[0]


if __name__ == "__main__":
    main()
