# SPDX-License-Identifier: Apache-2.0
"""Which rules hold for which local port: from rule sets to numbers that flows carry.

A *profile* is a list of rule sets in one direction within one routing domain; ports under the same
lists share it. A *filter* is the four profiles of one address: what its interface and its subnet
allow it to open, and to be opened. Profiles that let everything pass have the number 0, and so has
a filter of such: packets between two of these see no connection tracking.

Where any rule of a filter is stateless, its profiles are *plain*: they are looked at on the packet
itself as well (docs/design/0002-stateless-rules-are-looked-at-first.md).

Numbers are assigned by the agent and kept on the bridge (`Wanted`, `Assigned`). What has none yet,
or cannot be expressed, lets nothing pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from isthmus.derive.engine import Index, Item, Key, Read
from isthmus.host.facts import Plugged, Problem
from isthmus.policy import closed
from isthmus.policy.addresses import leading, of_family
from isthmus.policy.joined import joined
from isthmus.policy.rows import Port, Rule, RuleSet
from isthmus.policy.rules import CLOSED, Level, merged
from isthmus.policy.values import Action, Direction, RuleLevel
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.allowed import LEVELS
from isthmus.switches.ovs.bands import Filters
from isthmus.switches.ovs.domains import called
from isthmus.switches.ovs.facts import Assigned, DomainFacts, Refused, SegmentFacts, Wanted, Whole
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import MOST_GROUPS, Stage
from isthmus.switches.ovs.placing import Register
from isthmus.switches.ovs.rule_stages import FIRST_PLAIN
from isthmus.wire import oxm

PROFILE_NUMBERS = "profile"
FILTER_NUMBERS = "filter"
GROUPS = "group"
"""Each routing domain has such a space of its own."""
HIGHEST_NUMBER = 0xFFFE


class GroupEnd(StrEnum):
    """An end of packets whose groups rules look at: of those of a connection, or, for a plain
    profile, of each packet."""

    SOURCE = "source"
    DESTINATION = "destination"
    PLAIN_SOURCE = "plain source"
    PLAIN_DESTINATION = "plain destination"


ENDS = (GroupEnd.SOURCE, GroupEnd.DESTINATION)
PLAIN_ENDS = {
    GroupEnd.SOURCE: GroupEnd.PLAIN_SOURCE,
    GroupEnd.DESTINATION: GroupEnd.PLAIN_DESTINATION,
}

_PLAIN = "plain"
"""Before the text of a plain profile."""


class ProfileKey(NamedTuple):
    """Which profile: `sets` are names of rule sets; `plain`: a rule of a filter that it is in is
    stateless."""

    domain: int
    direction: Direction
    sets: tuple[str, ...]
    plain: bool

    @property
    def text(self) -> str:
        """For cookies, and for the bridge (`number_names`)."""
        words = (str(self.domain), self.direction, *self.sets)
        return joined(_PLAIN, *words) if self.plain else joined(*words)

    def __str__(self) -> str:
        return self.text


class Profile(NamedTuple):
    """A list of rule sets, and the routers of its domain, whose addresses rules call by words."""

    key: ProfileKey
    routers: tuple[str, ...]

    @property
    def domain(self) -> int:
        return self.key.domain

    @property
    def direction(self) -> Direction:
        return self.key.direction

    @property
    def sets(self) -> tuple[str, ...]:
        return self.key.sets

    @property
    def plain(self) -> bool:
        return self.key.plain


class Filter(NamedTuple):
    """Its profiles; None where no rule set is applied."""

    out_interface: ProfileKey | None
    out_subnet: ProfileKey | None
    in_subnet: ProfileKey | None
    in_interface: ProfileKey | None

    @property
    def text(self) -> str:
        """For cookies, and for the bridge. No bar is in that of a profile."""
        return "|".join("" if one is None else one.text for one in self)

    def __str__(self) -> str:
        return self.text


NO_FILTER = Filter(None, None, None, None)


class StatelessSet(NamedTuple):
    """That a rule set allows something without a connection."""

    name: str


class PortFilter(NamedTuple):
    """The filter of one address of a local port. Of each address family the first one `leads`: it
    stands for all that is not an address of the port (broadcasts, address pairs). Where the port
    has no address of a family, `address` is empty, and what holds for the whole port leads."""

    port: str
    address: str
    family: int
    leads: bool
    filter: Filter


class Compiled(NamedTuple):
    """A profile with its rules. `unknown` are rule sets that this host has not read; `number` is
    None until there is one, 0 if everything passes."""

    profile: Profile
    level: Level
    number: int | None
    unknown: tuple[str, ...]

    @property
    def speaks_of_groups(self) -> bool:
        return any(rule.source_groups or rule.destination_groups for rule in self.level.rules)


def enforced(compiled: Compiled, read: Read) -> Level:
    """What its flows say: where they cannot say what its rules do, nothing passes."""
    trouble = read.get(Inexpressible, compiled.profile.key)
    return compiled.level if trouble is None else CLOSED


class GroupUse(NamedTuple):
    """That rules on this host speak of a group's members, as an end of packets."""

    domain: int
    end: GroupEnd
    group: str

    @property
    def wanted(self) -> Wanted:
        return Wanted(GROUPS, self)


def _group_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, GroupUse)
    return ((row.domain, row.group),)


USES_BY_GROUP = Index(GroupUse, "group", _group_of)


class FilterNumber(NamedTuple):
    """The number that packets of an address carry; 0 if nothing need be looked at."""

    number: int
    stateless: str = ""
    """Another one when what stateless rules let pass, and nobody follows, may have become less."""


class Inexpressible(NamedTuple):
    """Why a profile cannot be enforced as it is; it lets nothing pass."""

    profile: ProfileKey
    detail: str


def _set_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, Rule)
    return (row.rule_set,)


RULES_BY_SET = Index(Rule, "rule_set", _set_of)


def stateless_set(found: RuleSet, read: Read) -> Iterator[Item]:
    """Over RuleSet: whether a rule of it, in either direction, is stateless."""
    rules = (read.get(Rule, key) for key in read.find(RULES_BY_SET, found.id))
    if any(rule.stateless and rule.action is Action.ALLOW for rule in rules if rule is not None):
        yield Item(StatelessSet, found.id, StatelessSet(found.id))


def port_filters(plugged: Plugged, read: Read) -> Iterator[Item]:
    """Over Plugged: the filters of a local port's addresses, and the profiles that they need."""
    port = read.get(Port, plugged.port)
    facts = read.get(SegmentFacts, port.segment) if port is not None else None
    domain = read.get(DomainFacts, facts.domain_key) if facts is not None else None
    if port is None or domain is None:
        return
    for family in (4, 6):
        for position, address in enumerate(of_family(port, family) or ("",)):
            found = Filter(*_profiles(port, domain.domain, address, read))
            for key in found:
                if key is not None:
                    yield Item(Profile, key, Profile(key, domain.routers))
            if found != NO_FILTER:
                yield Item(Filter, found, found)
            value = PortFilter(port.id, address, family, position == 0, found)
            yield Item(PortFilter, port_filter_key(port, address, family), value)


def port_filter_key(port: Port, address: str, family: int) -> Key:
    """Of the `PortFilter` of one of a port's addresses; of what holds for a family of which it has
    none if `address` is empty."""
    return port.id, family, address


def _profiles(port: Port, domain: int, address: str, read: Read) -> Iterator[ProfileKey | None]:
    sets: dict[RuleLevel, list[str]] = {level: [] for level in RuleLevel}
    for one in port.rule_sets:
        if one.holds_for(address):
            sets[one.level].append(one.rule_set)
    used = sorted({name for names in sets.values() for name in names})
    plain = any(read.get(StatelessSet, name) is not None for name in used)
    for direction, level in LEVELS:
        names = tuple(sorted(set(sets[level])))
        yield ProfileKey(domain, direction, names, plain) if names else None


def compile_profile(profile: Profile, read: Read) -> Iterator[Item]:
    """Over Profile: its rules in order, its number, and the groups that they speak of."""
    sets, rules, unknown = [], [], []
    for name in profile.sets:
        found = read.get(RuleSet, name)
        if found is None:
            unknown.append(name)
            continue
        sets.append(found)
        for key in read.find(RULES_BY_SET, name):
            rule = read.get(Rule, key)
            if rule is not None:
                rules.append(rule)
    if unknown:
        level = CLOSED
        yield _inexpressible(profile, f"no rule set is called {', '.join(unknown)}")
    else:
        level = merged(sets, rules, profile.direction)
    refused = read.get(Refused, Whole("list", profile.key))
    if refused is not None:
        yield _inexpressible(profile, refused.detail)
    number: int | None = 0
    is_looked_at = not level.is_open or (profile.plain and level.has_stateless)
    if is_looked_at:
        wanted = Wanted(PROFILE_NUMBERS, profile.key)
        yield Item(Wanted, wanted, wanted)
        assigned = read.get(Assigned, wanted)
        number = None if assigned is None else assigned.number
        if assigned is not None and number is None:
            yield _inexpressible(
                profile,
                f"this host holds {HIGHEST_NUMBER} lists of rules, one for each direction of what"
                " applies to an interface or a subnet: let more of them share their access control"
                " lists, or move ports to other hosts",
            )
    for use in _uses(profile, level) if is_looked_at else ():
        yield Item(GroupUse, use, use)
        yield Item(Wanted, use.wanted, use.wanted)
        bit = read.get(Assigned, use.wanted)
        if bit is not None and bit.number is None:
            yield _inexpressible(
                profile,
                f"its rules speak of {use.group}, one group more than the {MOST_GROUPS} of"
                f" {called(profile.routers, 'its segment')} that rules on one host can speak of,"
                " each once as a source and once as a destination, and once more for stateless"
                " rules: let rules name fewer groups, or prefixes, or move ports to other hosts",
            )
    yield Item(Compiled, profile.key, Compiled(profile, level, number, tuple(unknown)))


def _inexpressible(profile: Profile, detail: str) -> Item:
    return Item(Inexpressible, profile.key, Inexpressible(profile.key, detail))


def _uses(profile: Profile, level: Level) -> Iterator[GroupUse]:
    for source, destination in (ENDS, PLAIN_ENDS.values()) if profile.plain else (ENDS,):
        for rule in level.rules:
            for group in rule.source_groups:
                yield GroupUse(profile.domain, source, group)
            for group in rule.destination_groups:
                yield GroupUse(profile.domain, destination, group)


def filter_flows(wanted: Filter, read: Read) -> Iterator[Item]:
    """Over Filter: its number, and what that number means for an initiator and a responder."""
    numbers: list[int] = []
    is_open, is_plain = True, False
    for key in wanted:
        found = read.get(Compiled, key) if key is not None else None
        if key is not None and (found is None or found.number is None):
            return
        numbers.append(found.number or 0 if found is not None else 0)
        if found is not None:
            is_open &= enforced(found, read).is_open
            is_plain |= found.profile.plain
    if is_open:
        yield Item(FilterNumber, wanted, FilterNumber(0))
        return
    need = Wanted(FILTER_NUMBERS, wanted)
    yield Item(Wanted, need, need)
    assigned = read.get(Assigned, need)
    if assigned is None or assigned.number is None:
        return
    unfollowed = repr([_to_last_stateless(read.get(Compiled, key)) for key in wanted if is_plain])
    stateless = blake2b(unfollowed.encode(), digest_size=8).hexdigest() if is_plain else ""
    yield Item(FilterNumber, wanted, FilterNumber(assigned.number, stateless))
    out_interface, out_subnet, in_subnet, in_interface = numbers
    flows = Flows("filter_flows", wanted.text)
    outward = out_interface << 16 | out_subnet
    inward = in_interface << 16 | in_subnet
    for stage, register, lists, numbered, following in (
        (Stage.INITIATOR, reg.INITIATOR, reg.OUT_LISTS, outward, Stage.OUT_INTERFACE),
        (Stage.RESPONDER, reg.RESPONDER, reg.IN_LISTS, inward, Stage.IN_SUBNET),
    ):
        here = oxm.match(end(register, assigned.number))
        load = lists.load(numbered)
        yield flows.add(stage, Filters.FILTER, here, apply=(load,), goto=following)
    if not is_plain:
        return
    for stage, lists, numbered, first in (
        (
            Stage.PLAIN_SENDER,
            reg.PLAIN_OUT_LISTS,
            outward,
            FIRST_PLAIN[Direction.OUT],
        ),
        (
            Stage.PLAIN_RECEIVER,
            reg.PLAIN_IN_LISTS,
            inward,
            FIRST_PLAIN[Direction.IN],
        ),
    ):
        alone = first.end.copy_to(first.allowed), first.allowed[reg.ALONE].load(1)
        here = oxm.match(end(first.end, assigned.number))
        apply = (lists.load(numbered), *alone)
        yield flows.add(stage, Filters.FILTER, here, apply=apply, goto=first.stage)


def _to_last_stateless(found: Compiled | None) -> Sequence[Rule]:
    """The rules that decide what a stateless one allows."""
    rules = found.level.rules if found is not None else ()
    last = max((n for n, rule in enumerate(rules, 1) if rule.stateless), default=0)
    return rules[:last]


def end(register: Register, number: int) -> bytes:
    """Matches an end that is under this filter."""
    return register[reg.FILTER].match(number)


def filter_problems(found: PortFilter, read: Read) -> Iterator[Item]:
    """Over PortFilter: what keeps its port from working as its rules say."""
    whole = closed.address_word(found.address, found.family), _nothing_by(found)
    details = []
    for key in filter(None, found.filter):
        trouble, compiled = read.get(Inexpressible, key), read.get(Compiled, key)
        if trouble is None or compiled is None:
            continue
        # Without a number there is no filter either: the address has no flows at all.
        ends = whole if compiled.number is None else _no_connection(compiled.profile)
        details.append((trouble.detail, *ends))
    assigned = read.get(Assigned, Wanted(FILTER_NUMBERS, found.filter))
    if assigned is not None and assigned.number is None:
        text = (
            f"this host holds {HIGHEST_NUMBER} combinations of lists of rules, one for each that"
            " applies to an address and its subnet: let more of them share their access control"
            " lists, or move ports to other hosts"
        )
        details.append((text, *whole))
    for detail, closes, passes in details:
        problem = Problem(
            found.port, "PolicyConfigurationFailure", f"{detail}; until then {passes}", closes
        )
        yield Item(Problem, problem, problem)


def _nothing_by(found: PortFilter) -> str:
    ends = f"from or to {found.address}" if found.address else f"by IPv{found.family}"
    return f"nothing passes {ends}"


def _no_connection(profile: Profile) -> tuple[str, str]:
    """What is closed of a list, and what that means."""
    way = "inbound" if profile.direction is Direction.IN else "outbound"
    passes = f"no {way} connection under {', '.join(profile.sets)} passes"
    return closed.list_word(profile.direction, profile.sets), passes


def filter_number(port: Port, address: str, family: int, read: Read) -> int | None:
    """The number that packets of one of its addresses carry, of what is none of them if `address`
    is empty; None until there is one."""
    found = _numbered(port, address, family, read)
    return None if found is None else found.number


def unfollowed_version(port: Port, address: str, family: int, read: Read) -> str | None:
    """What changes when connections of one of its addresses, which nobody has followed, are
    followed from now on; None while nothing need be looked at."""
    found = _numbered(port, address, family, read)
    return found.stateless if found is not None and found.number else None


def _numbered(port: Port, address: str, family: int, read: Read) -> FilterNumber | None:
    address = address or leading(port, family)
    found = read.get(PortFilter, port_filter_key(port, address, family))
    if found is None:
        return None
    if found.filter == NO_FILTER:
        return FilterNumber(0)
    return read.get(FilterNumber, found.filter)
