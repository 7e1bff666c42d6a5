# SPDX-License-Identifier: Apache-2.0
"""What local ports cannot reach, told as their problems: hosts that speak no encapsulation of ours,
and peered networks for which no connection tracking zone is left.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import Problem, Reach
from isthmus.policy import closed
from isthmus.switches.ovs.facts import LocalMember, NoPeerZone, NotRouting, RemoteMember
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.routing import not_routing
from isthmus.switches.ovs.segments import LOCAL_BY_DOMAIN


def mismatch(member: RemoteMember, read: Read) -> Iterator[Item]:
    """Over RemoteMember: a host with members that our ports could reach, on their segment or by the
    router, and that we share no encapsulation with.
    """
    found = read.get(Reach, member.provider_address)
    if found is None or found.encapsulation:
        return
    for key in read.find(LOCAL_BY_DOMAIN, member.domain):
        local = read.get(LocalMember, key)
        if local is not None:
            problem = Problem(local.port, "PolicyConfigurationFailure", found.detail)
            yield Item(Problem, problem, problem)


def unpeered(no_zone: NoPeerZone, read: Read) -> Iterator[Item]:
    """Over NoPeerZone: the local ports that reach a peered network no more."""
    detail = f"{no_zone.detail}; until then nothing passes between these"
    word = closed.domain_word(no_zone.other)
    for key in read.find(LOCAL_BY_DOMAIN, no_zone.domain):
        local = read.get(LocalMember, key)
        if local is not None:
            problem = Problem(local.port, "PolicyConfigurationFailure", detail, word)
            yield Item(Problem, problem, problem)


FEATURE = Feature(
    "unreached peers",
    units=(
        unit(RemoteMember, mismatch),
        unit(NoPeerZone, unpeered),
        unit(NotRouting, not_routing),
    ),
    tables=(NotRouting,),
)
