# SPDX-License-Identifier: Apache-2.0
"""Runs a scenario through the two derivations, and shows what comes of it as text.

`fixed.txt` are the flows that every host has whatever its policy; the flows of a scenario are what
each of its hosts has beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from isthmus.cli.tracing import traced
from isthmus.controller.tracing import shown
from isthmus.derive.engine import Engine
from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.host.facts import THIS, LocalPort, Problem, ThisHost
from isthmus.host.program import engine_of
from isthmus.policy.rows import (
    DESIRED,
    Claim,
    HostStatus,
    LearnedAddress,
    PhysicalNetwork,
    Port,
    Router,
    Row,
    Segment,
)
from isthmus.policy.values import Preference
from isthmus.reach.trace import Question, trace
from isthmus.reach.world import World
from isthmus.store.south_rows import shown as shown_row
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import ThisBridge
from isthmus.switches.ovs.filters import FILTER_NUMBERS
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import ISOLATED, FlowKey, Programmed
from isthmus.switches.ovs.profiles import PROFILE_NUMBERS
from isthmus.switches.ovs.program import program_of
from isthmus.wire.encapsulations import Encapsulation
from tests.golden.rendering import Names, rendered
from tests.intent.cloud import Cloud

HERE = Path(__file__).parent
FIXED = HERE / "fixed.txt"
TUNNEL_PORTS = {"vxlan": 101, "nvgre": 102}


class HostSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A host: its provider address, what it speaks, and the ports that are plugged there."""

    address: str
    speaks: tuple[Encapsulation, ...]
    ports: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    resourceRef: str  # noqa: N815  # as clients write it
    properties: dict[str, object] = {}


class Traced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A packet to follow: from a port to a port or an address; an echo request without a
    protocol. `verdict` is what must become of it, whatever the golden files say."""

    source: str = msgspec.field(name="from")
    to: str
    verdict: str
    protocol: int = 0
    port: int = 0


class Announced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An address of a pair that the guest of `port` has said to use."""

    address: str
    port: str


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: str
    requests: tuple[Request, ...]
    hosts: dict[str, HostSpec]
    moved: dict[str, str] = {}
    """Ports that two hosts have on their switches, and which of them claimed it last."""
    announced: tuple[Announced, ...] = ()
    traces: tuple[Traced, ...] = ()


def scenarios() -> list[Path]:
    """The folders that hold one."""
    return sorted(path.parent for path in HERE.glob("*/scenario.yaml"))


def outcome(folder: Path) -> dict[str, str]:
    """What a scenario comes to: the text of each golden file, by its name. Flows that every host
    has whatever its policy (`fixed`) are in the flows of none."""
    scenario = msgspec.yaml.decode((folder / "scenario.yaml").read_bytes(), type=Scenario)
    policy = _policy(scenario)
    texts = {"policy.txt": "".join(f"{_row_text(row)}\n" for row in policy)}
    everywhere = set(fixed())
    for host in sorted(scenario.hosts):
        lines = list(_flow_lines(*_program(scenario, host, policy), policy, scenario))
        assert everywhere <= set(lines), sorted(everywhere - set(lines))
        texts[f"flows-{host}.txt"] = "".join(
            f"{line}\n" for line in lines if line not in everywhere
        )
    if scenario.traces:
        world = World((*policy, *_observed(scenario, policy)))
        texts["traces.txt"] = "\n".join(_trace_text(world, asked) for asked in scenario.traces)
    return texts


def programs(folder: Path) -> Iterator[Engine]:
    """What each host of a scenario is programmed from."""
    scenario = msgspec.yaml.decode((folder / "scenario.yaml").read_bytes(), type=Scenario)
    policy = _policy(scenario)
    for host in sorted(scenario.hosts):
        yield _program(scenario, host, policy)[0]


def _trace_text(world: World, asked: Traced) -> str:
    """As `isthmus trace` shows it."""
    source_port = 49152 if asked.protocol else 0
    question = Question(asked.source, asked.to, asked.protocol, asked.port, source_port)
    found = trace(world, question)
    assert found.verdict == asked.verdict, (asked, found)
    return "".join(f"{line}\n" for line in traced(shown(found)))


def _policy(scenario: Scenario) -> list[Row]:
    cloud = Cloud()
    for host in scenario.hosts:
        cloud.put(f"/servers/{host}", {})
    for request in scenario.requests:
        cloud.put(request.resourceRef, request.properties)
    engine = new_engine(Underlay())
    for stored in cloud.store.rows.values():
        put(engine, None, stored)
    engine.settle()
    assert not engine.failures
    return [
        row
        for table in DESIRED
        for _, row in sorted(engine.rows(table).items(), key=lambda entry: str(entry[0]))
    ]


def fixed() -> list[str]:
    """The flows of a host that knows of no policy, has no port and reaches nobody."""
    alone = HostSpec(address="192.0.2.254", speaks=())
    nobody = Scenario(about="", requests=(), hosts={"alone": alone})
    return list(_flow_lines(*_program(nobody, "alone", []), [], nobody))


def _program(scenario: Scenario, host: str, policy: list[Row]) -> tuple[Engine, Numbers]:
    spec = scenario.hosts[host]
    engine = engine_of(program_of())
    tunnels = tuple(sorted((name, TUNNEL_PORTS[name]) for name in spec.speaks))
    this = ThisHost(host, int(IPv4Address(spec.address)), spec.speaks)
    engine.put(ThisHost, THIS, this)
    engine.put(ThisBridge, THIS, ThisBridge(tunnels))
    for row in (*policy, *_observed(scenario, policy)):
        if isinstance(row, PhysicalNetwork):
            continue  # hosts do not read it
        engine.put(type(row), row.key, row)
    for number, port in enumerate(spec.ports, 1):
        engine.put(LocalPort, port, LocalPort(port, number))
    numbers = Numbers()
    numbers.follow(engine, release=True)
    assert not engine.failures
    return engine, numbers


def _observed(scenario: Scenario, policy: list[Row]) -> Iterator[Row]:
    segments = {row.id: row.segment for row in policy if isinstance(row, Port)}
    macs = {row.id: row.mac for row in policy if isinstance(row, Port)}
    for host, spec in scenario.hosts.items():
        yield HostStatus(
            host=host,
            provider_addresses=(IPv4Address(spec.address),),
            encapsulations=Preference(spec.speaks),
        )
        for port in spec.ports:
            yield Claim(
                port=port,
                host=host,
                segment=segments[port],
                provider_address=IPv4Address(spec.address),
                sequence=2 if scenario.moved.get(port) == host else 1,
            )
            for one in scenario.announced:
                if one.port == port:
                    yield LearnedAddress(
                        address=one.address,
                        port=port,
                        host=host,
                        segment=segments[port],
                        mac=macs[port],
                        sequence=1,
                    )


def _programmed(engine: Engine) -> list[tuple[FlowKey, Programmed]]:
    """By stage, and by priority from the top."""
    found = []
    for key, value in engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        found.append((key, value))
    return sorted(found, key=lambda one: (one[0].table, -one[0].priority))


def _flow_lines(
    engine: Engine, numbers: Numbers, policy: list[Row], scenario: Scenario
) -> Iterator[str]:
    """By stage, by priority from the top, then by text; problems last."""
    names = _names(engine, numbers, policy, scenario)
    found = [
        (key.table, -key.priority, rendered(key, value, names))
        for key, value in _programmed(engine)
    ]
    yield from (text for _, _, text in sorted(found))
    for problem in sorted(engine.rows(Problem).values()):
        yield f"problem of {problem.port}: {problem.code}: {problem.detail}"


def _names(engine: Engine, numbers: Numbers, policy: list[Row], scenario: Scenario) -> Names:
    """Whose numbers the flows of a host have."""
    ports = {row.ofport: row.iface_id for row in engine.rows(LocalPort).values()}
    ports |= {number: name for name, number in TUNNEL_PORTS.items()}
    hosts = {int(IPv4Address(spec.address)): name for name, spec in scenario.hosts.items()}
    segments = {row.vsid: row.id for row in policy if isinstance(row, Segment)}
    domains = {row.rdid: row.id for row in policy if isinstance(row, Router)}
    domains |= {ISOLATED | vsid: f"{segment} alone" for vsid, segment in segments.items()}

    def named(kind: str) -> Iterator[tuple[int, str]]:
        """Names of numbers without those of domains, which are numbers again."""
        for name, number in numbers.of(kind).items():
            profiles = (profile.split(" ") for profile in name.split("|"))
            yield number, "|".join(_without_domain(words) for words in profiles)

    zones = {
        number: " and ".join(domains[int(word)] for word in name.split(" "))
        for name, number in numbers.of(ZONES).items()
    }
    groups: dict[int, str] = {}
    for domain, name in domains.items():
        for group, number in numbers.of(f"group {domain}").items():
            found = f"{group} of {name}"
            groups[number] = f"{groups[number]} or {found}" if number in groups else found
    filters, profiles = dict(named(FILTER_NUMBERS)), dict(named(PROFILE_NUMBERS))
    return Names(ports, hosts, segments, domains, zones, filters, profiles, groups)


def _without_domain(words: list[str]) -> str:
    return " ".join(word for word in words if not word.isdecimal())


def _row_text(row: Row) -> str:
    """One line a row; identifiers that are allocated are left out."""
    columns = shown_row(row)
    allocated = {"vsid", "rdid", "profile_id", "revision"}
    shown = [
        f"{name}={','.join(value) if isinstance(value, list) else value}"
        for name, value in columns.items()
        if name not in allocated and value not in ("", [], None)
    ]
    return f"{row.TABLE} {' '.join(shown)}"
