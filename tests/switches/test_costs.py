# SPDX-License-Identifier: Apache-2.0
"""How many flows a port costs on its own host and on others: what is written of it is counted."""

from __future__ import annotations

from pathlib import Path

import msgspec

from isthmus.host.facts import LocalPort
from isthmus.policy.rows import Port, Row, RuleSet
from isthmus.policy.values import Action
from isthmus.switches.ovs import ports
from isthmus.switches.ovs.pipeline import FlowKey, Programmed
from tests.switches.policy_rows import claim, compiled, host_rows, local, network_rows, port
from tests.texts import applied

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
FIRST, SECOND = port("red", "a", 4), port("red", "a", 5)
SHUT = RuleSet(id="shut", in_default=Action.DENY)


def here(of: Port, ofport: int) -> tuple[Row | LocalPort, ...]:
    return of, claim(of, "h1"), local(of, ofport)


def there(of: Port) -> tuple[Row, ...]:
    return of, claim(of, "h2")


def added(before: tuple[Row | LocalPort, ...], *more: Row | LocalPort) -> tuple[int, int]:
    """How many flows `more` adds for good and for a time, beside what the first port has."""
    without, with_it = (
        compiled("h1", [*host_rows(), *network_rows("red"), *rows]).rows(Programmed)
        for rows in (before, (*before, *more))
    )
    new = [value for key, value in with_it.items() if key not in without]
    assert all(isinstance(key, FlowKey) for key in with_it)
    return sum(not one.lasts_s for one in new), sum(bool(one.lasts_s) for one in new)


def ruled(of: Port) -> Port:
    return msgspec.structs.replace(of, rule_sets=applied("interface * shut"))


def further(of: Port) -> Port:
    return msgspec.structs.replace(of, addresses=(*of.addresses, "10.0.1.77"))


def test_what_is_written_of_the_cost_of_a_port_is_so() -> None:
    first = here(FIRST, 3)
    at_home, of_a_time = added(first, *here(SECOND, 4))
    at_peers, _ = added((*first, *there(port("red", "a", 6))), *there(SECOND))
    with_rules = added((SHUT, *here(ruled(FIRST), 3)), *here(ruled(SECOND), 4))
    address_at_home = added(first, *here(further(SECOND), 4))[0] - at_home
    peers = (*first, *there(port("red", "a", 6)))
    address_at_peers = added(peers, *there(further(SECOND)))[0] - at_peers
    assert of_a_time == 0
    told = " ".join((ports.__doc__ or "").split())
    assert f"A local port with one IPv4 address costs {at_home} flows, a peer {at_peers}" in told
    assert f"with rules a local port costs {with_rules[0] - at_home} more" in told
    assert f"for a time {with_rules[1]} beside these" in told
    assert (
        f"Each further address costs {address_at_home} on its own host and {address_at_peers}"
        " elsewhere"
    ) in told
    life = " ".join(ARCHITECTURE.read_text().split())
    assert f"into flows: {at_home} for the local port" in life
    assert f"{at_peers} for each peer that it can reach" in life
