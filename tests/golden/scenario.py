# SPDX-License-Identifier: Apache-2.0
"""Runs a scenario through the two derivations, and shows what comes of it as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from isthmus.cli.tracing import traced
from isthmus.controller.tracing import shown
from isthmus.derive.engine import Engine
from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.policy.rows import DESIRED, Claim, HostStatus, PhysicalNetwork, Port, Row, Segment
from isthmus.reach.trace import Question, trace
from isthmus.reach.world import World
from isthmus.switches.ovs import program
from isthmus.switches.ovs.facts import THIS, LocalPort, Problem, ThisHost
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage, flow
from tests.flow_texts import named_flow
from tests.intent.cloud import Cloud

HERE = Path(__file__).parent
TUNNEL_PORTS = {"vxlan": 101, "nvgre": 102}


class HostSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A host: its provider address, what it speaks, and the ports that are plugged there."""

    address: str
    speaks: tuple[str, ...]
    ports: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    resourceRef: str  # noqa: N815  # as clients write it
    properties: dict[str, object] = {}


class Traced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A packet to follow: from a port to a port or an address; an echo request without a
    protocol."""

    source: str = msgspec.field(name="from")
    to: str = ""
    protocol: int = 0
    port: int = 0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: str
    requests: tuple[Request, ...]
    hosts: dict[str, HostSpec]
    traces: tuple[Traced, ...] = ()


def scenarios() -> list[Path]:
    """The folders that hold one."""
    return sorted(path.parent for path in HERE.glob("*/scenario.yaml"))


def outcome(folder: Path) -> dict[str, str]:
    """What a scenario comes to: the text of each golden file, by its name."""
    scenario = msgspec.yaml.decode((folder / "scenario.yaml").read_bytes(), type=Scenario)
    policy = _policy(scenario)
    segments = [row for row in policy if isinstance(row, Segment)]
    texts = {"policy.txt": "".join(f"{_row_text(row)}\n" for row in policy)}
    for host in sorted(scenario.hosts):
        lines = _flow_lines(_program(scenario, host, policy))
        texts[f"flows-{host}.txt"] = "".join(f"{_named(line, segments)}\n" for line in lines)
    if scenario.traces:
        world = World((*policy, *_observed(scenario, policy)))
        texts["traces.txt"] = "\n".join(_trace_text(world, asked) for asked in scenario.traces)
    return texts


def programs(folder: Path) -> Iterator[Engine]:
    """What each host of a scenario is programmed from."""
    scenario = msgspec.yaml.decode((folder / "scenario.yaml").read_bytes(), type=Scenario)
    policy = _policy(scenario)
    for host in sorted(scenario.hosts):
        yield _program(scenario, host, policy)


def _trace_text(world: World, asked: Traced) -> str:
    """As `isthmus trace` shows it."""
    source_port = 49152 if asked.protocol else 0
    question = Question(asked.source, asked.to, asked.protocol, asked.port, source_port)
    return "".join(f"{line}\n" for line in traced(shown(trace(world, question))))


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


def _program(scenario: Scenario, host: str, policy: list[Row]) -> Engine:
    spec = scenario.hosts[host]
    engine = Engine(program.UNITS, program.INDEXES, program.TABLES)
    tunnels = tuple(sorted((name, TUNNEL_PORTS[name]) for name in spec.speaks))
    this = ThisHost(host, int(IPv4Address(spec.address)), spec.speaks, tunnels)
    engine.put(ThisHost, THIS, this)
    for row in (*policy, *_observed(scenario, policy)):
        if isinstance(row, PhysicalNetwork):
            continue  # hosts do not read it
        engine.put(type(row), row.key, row)
    for number, port in enumerate(spec.ports, 1):
        engine.put(LocalPort, port, LocalPort(port, number))
    Numbers().follow(engine, release=True)
    assert not engine.failures
    return engine


def _observed(scenario: Scenario, policy: list[Row]) -> Iterator[Row]:
    segments = {row.id: row.segment for row in policy if isinstance(row, Port)}
    for host, spec in scenario.hosts.items():
        yield HostStatus(
            host=host, provider_addresses=(spec.address,), encapsulations=",".join(spec.speaks)
        )
        for port in spec.ports:
            yield Claim(
                port=port,
                host=host,
                segment=segments[port],
                provider_address=spec.address,
                sequence=1,
            )


def _flow_lines(engine: Engine) -> Iterator[str]:
    """By stage, then by priority from the top, then by text; problems last."""
    found = []
    for key, value in engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        text = named_flow(flow(key, value)).split(",", 1)[1]
        found.append((key.table, -key.priority, text))
    for table, _, text in sorted(found):
        yield f"{Stage(table).name} {text}"
    for problem in sorted(engine.rows(Problem).values()):
        yield f"problem of {problem.port}: {problem.code}: {problem.detail}"


def _row_text(row: Row) -> str:
    """One line a row; identifiers that are allocated are left out."""
    columns: Mapping[str, object] = msgspec.structs.asdict(row)
    allocated = {"vsid", "rdid", "profile_id", "revision"}
    shown = [
        f"{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in columns.items()
        if name not in allocated and value not in ("", (), None)
    ]
    return f"{row.TABLE} {' '.join(shown)}"


def _named(line: str, segments: list[Segment]) -> str:
    """Segments by name where flows have their VSIDs, also shifted into a GRE key."""
    for segment in segments:
        for number, name in ((segment.vsid, segment.id), (segment.vsid << 8, f"{segment.id}<<8")):
            line = re.sub(rf"\b{number:#x}\b", f"{{{name}}}", line)
    return line
