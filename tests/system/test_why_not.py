# SPDX-License-Identifier: Apache-2.0
"""Why a packet does not arrive, asked of a cloud that runs: what policy says and what the switches
say is one and the same."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

import pytest

from isthmus_lab.northbound import Resource
from tests.cli.conftest import run
from tests.system.cloud import FAMILIES, RunningCloud, address_of, rule, tag
from tests.system.questioned import (
    DENIED,
    ECHO,
    LISTS,
    NAMES,
    NOBODYS,
    SCTP,
    TAGS,
    TCP,
    UDP,
    a_list,
    isthmus,
    lists_shut,
    open_lists,
    questioned_cloud,
)
from tests.system.watching import OUTSIDE, url_of

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with questioned_cloud() as made:
        yield made


@pytest.fixture
def shut(cloud: RunningCloud) -> Iterator[None]:
    with lists_shut(cloud):
        yield


# -- two traces, one answer ------------------------------------------------------------------------

PROTOCOLS = {"TCP": TCP, "UDP": UDP, "132": SCTP, "All": TCP, "99": NOBODYS, "ICMPv4": ECHO}
"""Of rules; and a protocol that each speaks of."""


PREFIXES = {
    4: ("10.1.1.8/29", "10.1.0.0/16", "10.1.1.11", "10.1.2.0/24"),
    6: ("fd00:1:0:1::10/124", "fd00:1::/48", "fd00:1:0:1::11", "fd00:1:0:2::/64"),
}


class Asked(NamedTuple):
    """One question to both."""

    source: str
    destination: str
    protocol: int
    port: int
    source_port: int
    family: int

    @property
    def how(self) -> dict[str, str | int]:
        return {
            "protocol": self.protocol,
            "port": self.port,
            "sourcePort": self.source_port,
            "family": self.family,
        }


def random_rules(chance: random.Random) -> list[Resource]:
    found = []
    for _ in range(chance.randint(1, 5)):
        protocol = chance.choice([*PROTOCOLS, "ICMPv6"])
        has_ports = protocol in ("TCP", "UDP", "132")
        family = {"ICMPv4": 4, "ICMPv6": 6}.get(protocol) or chance.choice(FAMILIES)
        ends: dict[str, Any] = {}
        for end in ("source", "destination"):
            kind = chance.choice(["any", "any", "tag", "prefix", "word"])
            if kind == "tag":
                ends[f"{end}SecurityTags"] = [tag(chance.choice(TAGS))]
            elif kind == "prefix":
                ends[f"{end}AddressPrefix"] = chance.choice(PREFIXES[family])
            elif kind == "word":
                ends[f"{end}AddressPrefix"] = chance.choice(["VIRTUALNETWORK", "INTERNET"])
        if has_ports and chance.random() < 0.3:
            ends["sourcePortRange"] = chance.choice(["1024-50000", "49152", "50001-65535"])
        found.append(
            rule(
                protocol,
                random_ports(chance) if has_ports else "*",
                type=chance.choice(["Inbound", "Outbound"]),
                action=chance.choice(["Allow", "Allow", "Deny"]),
                priority=str(chance.randint(100, 110)),
                stateless=chance.random() < 0.2,
                **ends,
            )
        )
    return found


def random_ports(chance: random.Random) -> str:
    first = chance.choice([0, 1, 80, 443, 8000, 65535])
    last = min(65535, first + chance.choice([0, 1, 10, 1000]))
    return chance.choice(["*", f"{first}-{last}", str(first)])


def questions(chance: random.Random, lists: Sequence[Resource]) -> Iterator[Asked]:
    """Every ordered pair in both families, with a packet at the edge of a rule of `lists`; and
    what leads to no port."""
    edges = [edge for one in lists for edge in edges_of(one)]
    for (source, destination), family in product(permutations(NAMES, 2), FAMILIES):
        protocol, port, source_port = chance.choice(edges)
        yield Asked(source, destination, protocol, port, source_port, family)
    for family in FAMILIES:
        for place in (
            address_of("web", 1, family),  # its gateway
            address_of("db", 1, family),  # another gateway
            OUTSIDE[family],
            address_of("web", 99, family),
            address_of("db", 99, family),
            address_of("db", 15, family),
        ):
            protocol, port, source_port = chance.choice(edges)
            source = chance.choice(NAMES[:4])
            yield Asked(source, place, chance.choice([ECHO, protocol]), port, source_port, 0)


def edges_of(one: Resource) -> Iterator[tuple[int, int, int]]:
    yield ECHO, 0, 49152
    for entry in one["properties"]["aclRules"]:
        told = entry["properties"]
        protocol = PROTOCOLS.get(told["protocol"], ECHO)
        for port in at_edges(told["destinationPortRange"]):
            for source_port in at_edges(told["sourcePortRange"]):
                yield protocol, port, source_port


def at_edges(ports: str) -> set[int]:
    first, _, last = ("49152-49152" if ports == "*" else ports).partition("-")
    low, high = int(first), int(last or first)
    return {max(0, low - 1), low, high, min(65535, high + 1)}


def decided(told: Resource) -> str:
    """What policy's last step says, in the switches' words; empty where it was no rule."""
    last = told["steps"][-1]
    by_rule = re.search(r"denied by rule (\S+) \(.*\) of (\S+),", last["text"])
    if last["reason"] == "rule":
        assert by_rule is not None, last
        return f"{by_rule[2]}/{by_rule[1]}"
    by_default = re.search(r"denied by default of (.*), of its", last["text"])
    if last["reason"] == "default":
        assert by_default is not None, last
        return f"default of {by_default[1]}"
    return ""


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_policy_and_the_switches_never_differ(cloud: RunningCloud, seed: int) -> None:
    chance = random.Random(seed)
    made = [
        a_list(
            name,
            *random_rules(chance),
            inbound=chance.choice(["Permit", "Permit", "Deny"]),
            outbound=chance.choice(["Permit", "Permit", "Permit", "Deny"]),
        )
        for name in LISTS
    ]
    cloud.north.put_all(made)
    cloud.settle()
    try:
        verdicts: dict[str, int] = {}
        for asked in questions(chance, [body for _, body in made]):
            told = cloud.trace(asked.source, asked.destination, **asked.how)
            verdicts[told["verdict"]] = verdicts.get(told["verdict"], 0) + 1
            shown = asked, told["steps"], told["switches"]
            assert told["switches"]["verdict"] == told["verdict"], shown
            if decision := decided(told):
                assert told["switches"]["reason"] == decision, shown
        assert set(verdicts) == {"delivered", "dropped"}, verdicts
    finally:
        cloud.north.put_all(open_lists())
        cloud.settle()


def test_what_is_no_rule_s_doing_has_its_own_reason(cloud: RunningCloud) -> None:
    def last(source: str, destination: str, **how: str | int) -> tuple[str, str, object]:
        told: Mapping[str, Any] = cloud.trace(source, destination, **how)
        assert told["switches"]["verdict"] == told["verdict"], told
        return told["verdict"], told["steps"][-1]["reason"], told["switches"]["reason"]

    for family in FAMILIES:
        gateway = address_of("web", 1, family)
        nobody = address_of("web", 99, family)
        assert last("a1", gateway) == ("delivered", "", "")
        assert last("a1", gateway, protocol=TCP, port=80)[:2] == (
            *("dropped", "no port has that address"),
        )
        assert last("a1", OUTSIDE[family]) == ("dropped", "no route", "ROUTE")
        assert last("a1", nobody)[:2] == ("dropped", "no port has that address")
        assert last("d1", nobody) == ("dropped", "no port has that address", "NEIGHBOUR")
        assert last("a1", address_of("web", 13, family)) == ("delivered", "", "")


def test_a_trace_is_told_in_words_and_by_its_exit_status(cloud: RunningCloud, shut: None) -> None:
    code, out = isthmus(cloud, "trace", "a3", "a1", "--tcp", "80", "--switches")
    assert code == 0
    assert out.splitlines()[0] == "TCP 49152 → 80  10.1.1.14 → 10.1.1.11"
    assert "by NVGRE from 172.31.0.3 to 172.31.0.1 (h1)" in out
    assert "into the tunnel to 172.31.0.1" in out
    assert "Switches  delivered" in out
    assert out.splitlines()[-1] == "Verdict   delivered"
    code, out = isthmus(cloud, "trace", "b1", "a1", "--tcp", "81", "--ipv6", "--switches")
    assert code == 1
    assert "DROP a1: inbound: denied by default of one, of its interface" in out
    assert f"[{DENIED}]" in out
    assert "dropped at IN_INTERFACE by default of one" in out
    assert "Switches  dropped: default of one" in out
    code, out = isthmus(cloud, "trace", "b1", "a2", "--udp", "9", "--switches")
    assert code == 1
    assert "denied by rule rule1 (priority 200) of two" in out
    assert "[/accessControlLists/two/aclRules/rule1]" in out
    assert "Switches  dropped: two/rule1" in out
    code, out = isthmus(cloud, "trace", "b1", "a1", "--protocol", "1", "--switches")
    assert (code, "Switches  delivered" in out) == (0, True), out
    for wrong in (("nobody", "a1"), ("a1", "nobody"), ("a1", "10.1.1.300")):
        code, _, said = run(["trace", *wrong], url_of(cloud))
        assert (code, "no port is called" in said) == (1, True)
    assert isthmus(cloud, "trace", "a1", "b1", "--tcp", "1", "--udp", "1")[0] == 2
