# SPDX-License-Identifier: Apache-2.0
"""Which lists of rules hold for which address of a local port, and at which level.

A *filter* is the four profiles of one address: what its interface and its subnet allow it to open,
and to be opened. One whose profiles let everything pass has the number 0: packets between two of
these see no connection tracking. Numbers are assigned as those of `profiles` are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from isthmus.derive.engine import Item, Key, Read
from isthmus.host.facts import Plugged, Problem
from isthmus.policy import closed
from isthmus.policy.addresses import leading, of_family
from isthmus.policy.rows import Port, Rule
from isthmus.policy.values import Direction, RuleLevel
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.allowed import LEVELS
from isthmus.switches.ovs.bands import Filters
from isthmus.switches.ovs.facts import Assigned, DomainFacts, SegmentFacts, Wanted
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.placing import Register
from isthmus.switches.ovs.profiles import (
    HIGHEST_NUMBER,
    Compiled,
    Inexpressible,
    Profile,
    ProfileKey,
    StatelessSet,
    enforced,
)
from isthmus.switches.ovs.rule_stages import FIRST_PLAIN
from isthmus.wire import oxm

FILTER_NUMBERS = "filter"


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


class PortFilter(NamedTuple):
    """The filter of one address of a local port. Of each address family the first one `leads`: it
    stands for all that is not an address of the port (broadcasts, address pairs). Where the port
    has no address of a family, `address` is empty, and what holds for the whole port leads."""

    port: str
    address: str
    family: int
    leads: bool
    filter: Filter


class FilterNumber(NamedTuple):
    """The number that packets of an address carry; 0 if nothing need be looked at."""

    number: int
    stateless: str = ""
    """Another one when what stateless rules let pass, and nobody follows, may have become less."""


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
