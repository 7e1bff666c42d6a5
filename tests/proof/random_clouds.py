# SPDX-License-Identifier: Apache-2.0
"""Clouds by chance, from a seed: a few ports under a few rule sets that speak of few things, so
that rules meet, and ports under several sets are many; in every second one, sets of connections and
of packets (stateless) stand on one port, and both kinds of rules in one set.

Ports, sets, rules and groups have names like those that resources may have, among them names that
are two others side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from msgspec.structs import replace

from isthmus.policy.rows import Port, Rule, RuleSet
from tests.names import some_names
from tests.proof.clouds import HOSTS, Deployment, Place, port

PLACES = (
    *(("red/a", number) for number in (4, 5, 6)),
    *(("red/b", number) for number in (4, 5)),
    *(("blue/a", number) for number in (4, 5)),
    *(("blue/b", number) for number in (4,)),
    *(("lone/a", number) for number in (4, 5)),
)
PAIR_MAC = "02:00:5e:00:00:01"
SETS, STATELESS_SET, MISSING_SET = ("s1", "s2", "s3"), "plain", "missing"
GROUPS = ("g1", "g2")

Values = dict[str, int | str]

_SERVICES: tuple[Values, ...] = (
    {"protocol": -1},
    {"protocol": 6},
    {"protocol": 6, "destination_ports": "80-80"},
    {"protocol": 6, "destination_ports": "1000-2001"},
    {"protocol": 17, "source_ports": "1024-65535"},
    {"protocol": 6, "source_ports": "0-1023", "destination_ports": "22-23"},
    {"protocol": 132, "destination_ports": "5000-5003"},
    {"protocol": 1, "family": 4},
    {"protocol": 1, "family": 4, "icmp_type": 8},
    {"protocol": 58, "family": 6, "icmp_type": 128, "icmp_code": 0},
    {"protocol": 47},
    {"protocol": -1, "destination_ports": "80-80"},
    {"protocol": -1, "source_ports": "1024-65535"},
)
_ENDS = (
    *("VIRTUALNETWORK", "INTERNET", "AZURELOADBALANCER", "10.0.1.0/24", "10.0.1.4/32"),
    *("10.0.0.0/9", "fd00:0:0:1::/64", "fd00:0:0:1::4/128", "fd00:0:0:1::4/126"),
)


def random_cloud(seed: int) -> Deployment:
    random = Random(seed)
    mixed = _often(random, 0.5)
    spoken: list[Values] = [*random.sample(_SERVICES, 3), {"protocol": -1}]
    ends = ["", "", "", *random.sample(_ENDS, 2)]
    sets = [_rule_set(random, name) for name in SETS]
    sets.append(RuleSet(id=STATELESS_SET, in_default="deny", out_default="deny"))
    rules = [
        _rule(random, number, random.choice(spoken), ends, mixed=mixed)
        for number in range(random.randint(2, 12))
    ]
    ports = [
        _port(random, *place, mixed=mixed) for place in random.sample(PLACES, random.randint(2, 6))
    ]
    places = tuple(
        Place(one.id, random.choice(HOSTS), number) for number, one in enumerate(ports, 1)
    )
    return _renamed(Deployment(tuple(ports), (*sets, *rules), places), Random(f"names {seed}"))


def _renamed(cloud: Deployment, random: Random) -> Deployment:
    """The same with names by chance. A set of a name that nothing has stays unknown."""
    sets = [row.id for row in cloud.rules if isinstance(row, RuleSet)] + [MISSING_SET]
    named = some_names(random, len(sets))
    random.shuffle(named)
    of_sets = dict(zip(sets, named, strict=True))
    of_groups = dict(zip(GROUPS, some_names(random, len(GROUPS)), strict=True))
    of_ports = dict(
        zip((one.id for one in cloud.ports), some_names(random, len(cloud.ports)), strict=True)
    )
    rules = tuple(_renamed_rule(row, of_sets, of_groups, random) for row in cloud.rules)
    ports = []
    for one in cloud.ports:
        entries = (entry.split(" ", 2) for entry in one.rule_sets)
        holding = sorted(f"{level} {where} {of_sets[name]}" for level, where, name in entries)
        groups = tuple(sorted(of_groups[group] for group in one.groups))
        ports.append(replace(one, id=of_ports[one.id], rule_sets=tuple(holding), groups=groups))
    places = tuple(place._replace(port=of_ports[place.port]) for place in cloud.places)
    return Deployment(tuple(ports), rules, places)


def _renamed_rule(
    row: RuleSet | Rule, of_sets: Mapping[str, str], of_groups: Mapping[str, str], random: Random
) -> RuleSet | Rule:
    if isinstance(row, RuleSet):
        return replace(row, id=of_sets[row.id])
    return replace(
        row,
        rule_set=of_sets[row.rule_set],
        # Numbered, so that no two of a set have one.
        id=f"{random.choice(some_names(random, 5))} {row.id}",
        source_groups=tuple(sorted(of_groups[group] for group in row.source_groups)),
        destination_groups=tuple(sorted(of_groups[group] for group in row.destination_groups)),
    )


def _often(random: Random, chance: float) -> bool:
    return random.random() < chance


def _rule_set(random: Random, name: str) -> RuleSet:
    defaults = ["deny" if _often(random, 0.6) else "allow" for _ in "io"]
    return RuleSet(id=name, in_default=defaults[0], out_default=defaults[1])


def _rule(random: Random, number: int, service: Values, ends: list[str], *, mixed: bool) -> Rule:
    source, destination = random.choice(ends), random.choice(ends)
    families = {6 if ":" in end else 4 for end in (source, destination) if "/" in end}
    families |= {int(service["family"])} if "family" in service else set()
    if len(families) > 1:
        source = destination = ""
        families = {int(service["family"])} if "family" in service else set()
    rule_set = random.choice((*SETS, *SETS, STATELESS_SET))
    values: dict[str, object] = {
        **service,
        "rule_set": rule_set,
        "id": f"r{number}",
        "direction": random.choice(("in", "out")),
        "priority": 100 + random.randint(0, 3),
        "action": "allow" if _often(random, 0.65) else "deny",
        "family": families.pop() if families else 0,
        "source": source,
        "destination": destination,
        "stateless": rule_set == STATELESS_SET or (mixed and _often(random, 0.3)),
    }
    for end in ("source", "destination"):
        if _often(random, 0.15):
            values[f"{end}_groups"] = _groups(random) or ("g1",)
    return Rule(**values)  # type: ignore[arg-type]  # columns by name


def _groups(random: Random) -> tuple[str, ...]:
    return tuple(group for group in GROUPS if _often(random, 0.5))


def _port(random: Random, segment: str, number: int, *, mixed: bool) -> Port:
    first = (segment[-1], number) == ("a", 4)
    more: tuple[str, ...] = ()
    if first:
        more = random.choice(((), ("10.0.1.40",), ("10.0.1.41", "fd00:0:0:1::40")))
    families = random.choice(("46", "46", "4", "6"))
    addresses = port(segment, number, *more, families=families).addresses
    names: tuple[str, ...] = (STATELESS_SET,) if _often(random, 0.2) else SETS
    if mixed:
        names = (*SETS, STATELESS_SET)
    if _often(random, 0.03):
        names = (MISSING_SET, "s1")
    entries = {
        f"{random.choice(('interface', 'subnet'))} {where} {random.choice(names)}"
        for where in ("*", "*", random.choice(addresses))
        if _often(random, 0.6)
    }
    guards = [guard for guard in ("dhcp-guard", "mac-spoofing") if _often(random, 0.15)]
    pairs: tuple[str, ...] = ()
    if _often(random, 0.2):
        wide = random.choice(("10.0.1.192/26", "10.0.0.0/16"))
        pairs = (f"{wide} {PAIR_MAC}", f"fd00:0:0:1::c8/128 {PAIR_MAC}")
    return port(
        segment,
        number,
        *more,
        families=families,
        rule_sets=tuple(sorted(entries)),
        groups=_groups(random),
        guards=tuple(guards),
        pairs=pairs,
    )
