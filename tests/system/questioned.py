# SPDX-License-Identifier: Apache-2.0
"""A cloud that is asked questions: six ports on three hosts, under lists that let all pass until a
test writes others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from isthmus_lab.northbound import Resource
from tests.cli.conftest import run
from tests.system import cloud as clouds
from tests.system.cloud import (
    LONGEST_S,
    Plan,
    RunningCloud,
    access_control_list,
    rule,
    tag,
    virtual_network,
)
from tests.system.watching import url_of

PLANS = (
    Plan("a1", "h1", ((11, "one"),), tags=("blue",)),
    Plan("b1", "h1", ((12, "two"),), tags=("green",)),
    Plan("a2", "h2", ((13, ""),), tags=("blue", "green")),
    Plan("a3", "h3", ((14, "two"),)),
    Plan("d1", "h1", ((15, ""),), subnet="db", tags=("green",)),
    Plan("d2", "h2", ((16, "one"),), subnet="db"),
)
NAMES = tuple(plan.name for plan in PLANS)

LISTS = ("one", "two", "of-db", "of-green")
TAGS = ("blue", "green")
ECHO, TCP, UDP, SCTP, NOBODYS = 0, 6, 17, 132, 99


@contextmanager
def questioned_cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(
            *((f"/securityTags/{name}", {"properties": {}}) for name in TAGS),
            *open_lists(),
            virtual_network("red", {"db": "of-db"}),
            plans=PLANS,
        )
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


def open_lists() -> list[tuple[str, Resource]]:
    return [a_list(name, inbound="Permit") for name in LISTS]


def a_list(name: str, *rules: Resource, **defaults: str) -> tuple[str, Resource]:
    """The list of that name, where it belongs."""
    reference, body = access_control_list(name, *rules, **defaults)
    if name == "of-green":
        body = {"properties": {**body["properties"], "securityTags": [tag("green")]}}
    return reference, body


def isthmus(cloud: RunningCloud, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a command, given again where a host was too busy to answer it."""
    end = time.monotonic() + LONGEST_S
    while True:
        code, out, _ = run(arguments, url_of(cloud))
        if BUSY not in out or time.monotonic() > end:
            return code, out


BUSY = "did not answer in"
"""What is said of a host that takes longer than a controller waits for it."""


@contextmanager
def lists_shut(cloud: RunningCloud) -> Iterator[None]:
    """`one` lets in TCP to 80, and echo requests of IPv4; `two` lets out nothing to 9."""
    one = a_list("one", rule("TCP", "80"), rule("ICMPv4"))
    two = a_list("two", rule("UDP", "9", type="Outbound", action="Deny"), inbound="Permit")
    cloud.north.put_all([one, two])
    cloud.settle()
    try:
        yield
    finally:
        cloud.north.put_all(open_lists())
        cloud.settle()


DENIED = "/accessControlLists/one"
