# SPDX-License-Identifier: Apache-2.0
"""Policy for tests of the program: two tenants with the same addresses on three hosts.

``red`` and ``blue`` have two segments each, ``a`` (10.0.1.0/24) and ``b`` (10.0.2.0/24). Hosts h1
and h2 speak VXLAN and NVGRE, h3 NVGRE only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address

from isthmus.derive.engine import Engine
from isthmus.host.facts import THIS, LocalPort, ThisHost
from isthmus.host.program import engine_of
from isthmus.policy.rows import (
    Claim,
    Host,
    HostStatus,
    Port,
    Router,
    RouterPort,
    Row,
    Segment,
    Subnet,
)
from isthmus.policy.values import ClaimState, Preference
from isthmus.switches.ovs.facts import ThisBridge
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import Programmed, Stage, flow
from isthmus.switches.ovs.program import program_of
from isthmus.wire.encapsulations import ENCAPSULATIONS, Encapsulation
from tests.flow_texts import named_flow

ROUTER_MAC = "12:34:56:78:9a:bc"
BOTH, NVGRE = ENCAPSULATIONS, (Encapsulation.NVGRE,)
SPEAKS = {"h1": BOTH, "h2": BOTH, "h3": NVGRE}
TUNNEL_PORTS = {"vxlan": 101, "nvgre": 102}
NETWORKS = ("red", "blue")
SEGMENTS = ("a", "b")


def provider_address(host: str) -> str:
    return f"192.0.2.{host[1:]}"


def host_rows() -> Iterator[Row]:
    for host, speaks in SPEAKS.items():
        yield Host(id=host, certificate_name=host)
        yield HostStatus(
            host=host,
            provider_addresses=(IPv4Address(provider_address(host)),),
            encapsulations=Preference(speaks),
        )


def network_rows(network: str) -> Iterator[Row]:
    yield Router(id=network, rdid=NETWORKS.index(network) + 1, mac=ROUTER_MAC)
    for number, name in enumerate(SEGMENTS, 1):
        segment, prefix = f"{network}/{name}", f"10.0.{number}"
        vsid = 5000 + 10 * NETWORKS.index(network) + number
        yield Segment(id=segment, physical_network="underlay", vsid=vsid)
        yield Subnet(segment=segment, prefix=f"{prefix}.0/24", gateway=f"{prefix}.1")
        yield RouterPort(router=network, segment=segment, addresses=(f"{prefix}.1/24",))


def port(network: str, segment: str, number: int, hosts: tuple[str, ...] = ()) -> Port:
    """The port ``red-a-4`` of 10.0.1.4 and 02:00:01:01:00:04."""
    subnet = SEGMENTS.index(segment) + 1
    address = f"10.0.{subnet}.{number}"
    tenant = NETWORKS.index(network) + 1
    return Port(
        id=f"{network}-{segment}-{number}",
        segment=f"{network}/{segment}",
        mac=f"02:00:{tenant:02x}:{subnet:02x}:00:{number:02x}",
        addresses=(address,),
        dhcp_address=address,
        hosts=hosts,
    )


def claim(of: Port, host: str, state: str = "active", sequence: int = 1) -> Claim:
    return Claim(
        port=of.id,
        host=host,
        segment=of.segment,
        provider_address=IPv4Address(provider_address(host)),
        state=ClaimState(state),
        sequence=sequence,
    )


def this_host(host: str) -> ThisHost:
    return ThisHost(host, int(IPv4Address(provider_address(host))), SPEAKS[host])


def this_bridge(host: str) -> ThisBridge:
    return ThisBridge(tuple(sorted((name, TUNNEL_PORTS[name]) for name in SPEAKS[host])))


def local(of: Port, ofport: int) -> LocalPort:
    return LocalPort(of.id, ofport)


def new_engine(host: str = "h1") -> Engine:
    engine = engine_of(program_of())
    engine.put(ThisHost, THIS, this_host(host))
    engine.put(ThisBridge, THIS, this_bridge(host))
    return engine


def put(engine: Engine, *rows: Row | LocalPort) -> None:
    for row in rows:
        key = row.iface_id if isinstance(row, LocalPort) else row.key
        engine.put(type(row), key, row)


def compiled(host: str, rows: Iterable[Row | LocalPort], numbers: Numbers | None = None) -> Engine:
    """The program of a host, from nothing but its numbers."""
    engine, numbers = new_engine(host), numbers or Numbers()
    put(engine, *rows)
    numbers.load(engine)
    numbers.follow(engine, release=True)
    assert not engine.failures
    return engine


def flow_texts(engine: Engine) -> list[str]:
    """The flows as ovs-ofctl shows them, but for cookies and with names, sorted."""
    rows = engine.rows(Programmed)
    return sorted(named_flow(flow(key, value)) for key, value in rows.items())  # type: ignore[arg-type]


def at(stage: Stage) -> str:
    """How a flow of that stage begins in `flow_texts`."""
    return f"table={stage.name},"
