# SPDX-License-Identifier: Apache-2.0
"""How what has a number on a host is called on its bridge, which keeps numbers by text.

A number must be found again by the next version of the agent, so these texts never change:

=========  ==========================================================================
zone       ``7``, a routing domain; ``7 9``, two that are peered
profile    ``7 in web db``, its domain, direction and rule sets; ``plain 7 in web``
filter     the texts of its four profiles, which hold no bar, with bars between them
group 7    ``source web``, an end of packets and a group of that domain
=========  ==========================================================================
"""

from __future__ import annotations

from isthmus.policy.joined import joined, parted
from isthmus.policy.values import Direction
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import Wanted
from isthmus.switches.ovs.filters import FILTER_NUMBERS, Filter
from isthmus.switches.ovs.groups import GroupEnd, GroupUse
from isthmus.switches.ovs.profiles import PROFILE_NUMBERS, ProfileKey


def text_of(wanted: Wanted) -> tuple[str, str]:
    """The kind and the name of what wants a number, as the bridge has them."""
    kind, name = wanted
    match name:
        case GroupUse():
            return f"{kind} {name.domain}", f"{name.end} {joined(name.group)}"
        case ProfileKey() | Filter():
            return kind, name.text
        case tuple():
            return kind, " ".join(map(str, name))
    return kind, str(name)


def wanted_of(kind: str, text: str) -> Wanted:
    """What these texts call. What is none of ours is called by its text: nobody wants it."""
    try:
        found = _read(kind, text)
    except (ValueError, IndexError):
        return Wanted(kind, text)
    return found if text_of(found) == (kind, text) else Wanted(kind, text)


def _read(kind: str, text: str) -> Wanted:
    """Raises ValueError, IndexError."""
    if kind == ZONES:
        return Wanted(kind, tuple(map(int, text.split(" "))))
    if kind == PROFILE_NUMBERS:
        return Wanted(kind, _profile(text))
    if kind == FILTER_NUMBERS:
        profiles = [_profile(one) if one else None for one in text.split("|")]
        out_interface, out_subnet, in_subnet, in_interface = profiles
        return Wanted(kind, Filter(out_interface, out_subnet, in_subnet, in_interface))
    word, domain = kind.split(" ")
    end, _, group = text.rpartition(" ")
    return Wanted(word, GroupUse(int(domain), GroupEnd(end), *parted(group)))


def _profile(text: str) -> ProfileKey:
    words = parted(text)
    plain = not words[0].isdecimal()
    domain, direction, *sets = words[plain:]
    return ProfileKey(int(domain), Direction(direction), tuple(sets), plain)
