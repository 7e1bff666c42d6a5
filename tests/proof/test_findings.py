# SPDX-License-Identifier: Apache-2.0
"""Where flows and reference are known to disagree: the smallest clouds that show it.

Each is what the policy asks for; a test here that passes has become part of the proof, and its
exception in `random_clouds` or `equivalence` can go.
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from isthmus.addresses import parse_mac
from isthmus.policy.rows import Port, Rule, RuleSet
from isthmus.policy.values import Action
from tests.proof.checker import Checker, Disagreement
from tests.proof.clouds import ROUTER_MAC, Deployment, allow, cloud, deny, port
from tests.proof.frames import answer
from tests.proof.probes import Probe, between
from tests.proof.random_clouds import PAIR_MAC

_HTTP = (6, 40000, 80)


def _checker(found: Deployment) -> Checker:
    return Checker(found.network(), found.reference())


def _between(one: Port, other: Port) -> Probe:
    (frame,) = between(one, other, _HTTP, ROUTER_MAC)
    return Probe(frame, port=one.id)


def _port(number: int, *rule_sets: str, **others: object) -> Port:
    return port("red/a", number, families="4", rule_sets=rule_sets, **others)


def _closed(name: str) -> RuleSet:
    return RuleSet(id=name, in_default=Action.DENY, out_default=Action.DENY)


def test_a_rule_may_name_groups_at_both_ends() -> None:
    """Both are bits of one register: twice in a match, it is refused (OFPBMC_DUP_FIELD)."""
    here, there = _port(4, "interface * s", groups=("g1",)), _port(5, groups=("g2",))
    named = deny("s", "out", 100, source_groups=("g1",), destination_groups=("g2",))
    found = cloud((here, there), (RuleSet(id="s"), named))
    assert _checker(found).compare(_between(here, there)) is None


@pytest.mark.parametrize("hosts", ["h1", "h1 h2"])
def test_an_address_that_is_looked_for_makes_nobody_a_member_of_a_group(hosts: str) -> None:
    """Both were once in the same register, and stateless rules looked at groups in it when a packet
    had been routed."""
    every_bit = "fd00::2:ffff:ffff:ffff:ffff"
    here, there = port("red/a", 4), port("red/b", 7, every_bit, rule_sets=("interface * s",))
    member = port("red/a", 5, groups=("g",))
    rules = _closed("s"), allow("s", "in", 100, source_groups=("g",), stateless=True)
    checker = _checker(cloud((here, there, member), rules, hosts.split()))
    for sender in (here, member):
        for frame in between(sender, there, _HTTP, ROUTER_MAC):
            assert checker.compare(Probe(frame, port=sender.id)) is None


def _compared(rules: tuple[RuleSet | Rule, ...], *ports: Port, hosts: str) -> Disagreement | None:
    found = cloud(ports, rules, hosts.split())
    return _checker(found).compare(_between(*ports))


@pytest.mark.parametrize("hosts", ["h1", "h1 h2"])
def test_what_a_stateless_rule_of_an_open_level_allows_brings_no_answer(hosts: str) -> None:
    """Outward all is allowed, by a stateless rule; inward nothing. The answer passes."""
    rules = RuleSet(id="s", in_default=Action.DENY), allow("s", "out", 100, stateless=True)
    assert _compared(rules, _port(4, "interface * s"), _port(5), hosts=hosts) is None


@pytest.mark.parametrize("hosts", ["h1", "h1 h2"])
def test_an_answer_with_stateless_and_other_rules_of_its_own_passes(hosts: str) -> None:
    """Stateless rules on the interface, others on the subnet; both allow both directions."""
    rules = (
        *(_closed("s"), allow("s", "out", 100, stateless=True)),
        *(allow("s", "in", 100, stateless=True), _closed("t")),
        *(allow("t", "in", 100), allow("t", "out", 100)),
    )
    here = _port(4, "interface * s", "subnet * t")
    assert _compared(rules, here, _port(5), hosts=hosts) is None


@pytest.mark.parametrize(
    "hosts",
    ["h1", "h1 h2"],
)
def test_an_answer_that_an_own_rule_allows_passes_wherever_the_ends_are(hosts: str) -> None:
    """Stateless outward, by connections inward: what passes between hosts must pass on one."""
    rules = (
        *(_closed("s"), allow("s", "out", 100, stateless=True), allow("s", "in", 100)),
        *(_closed("t"), allow("t", "in", 100)),
    )
    ends = _port(4, "interface * s"), _port(5, "interface * t")
    assert _compared(rules, *ends, hosts=hosts) is None


def test_address_pairs_of_two_segments_may_overlap() -> None:
    """What comes from the pair's addresses to another host finds two flows that differ."""
    wide = port("red/a", 4, families="4", pairs=(f"10.0.0.0/16 {PAIR_MAC}",))
    narrow = port("red/b", 5, families="4", pairs=(f"10.0.2.192/26 {PAIR_MAC}",))
    other = port("red/a", 6, families="4")
    found = cloud((wide, narrow, other), (), ("h1", "h1", "h2"))
    honest = _between(narrow, other).frame
    its = honest.tuple._replace(source=honest.tuple.source - 5 + 200)
    sent = honest._replace(eth_src=parse_mac(PAIR_MAC), tuple=its)
    assert _checker(found).compare(Probe(sent, port=narrow.id)) is None


@pytest.mark.parametrize("strict", ["10.0.1.4", "10.0.1.40"])
def test_an_own_address_keeps_its_rules_where_a_pair_holds_it(strict: str) -> None:
    """From the pair's MAC address as well, whether it is the port's first address or not."""
    here = port(
        *("red/a", 4, "10.0.1.40"),
        families="4",
        rule_sets=(f"interface {strict} s",),
        pairs=(f"10.0.1.0/24 {PAIR_MAC}",),
    )
    there = _port(5)
    checker = _checker(cloud((here, there), (_closed("s"),)))
    for honest in between(here, there, _HTTP, ROUTER_MAC):
        for eth_src in (honest.eth_src, parse_mac(PAIR_MAC)):
            sent = honest._replace(eth_src=eth_src)
            assert checker.compare(Probe(sent, port=here.id)) is None
            closed = honest.tuple.source == int(ip_address(strict))
            assert bool(checker.exchange[0][1]) is not closed


def test_an_answer_that_is_led_to_another_port_is_judged_by_that_port_s_inbound_rules() -> None:
    """Nothing may come in to the victim. Its neighbour, on its host, answers a connection of an
    accomplice, to the victim's MAC address: it is judged by the victim's outbound rules."""
    victim = _port(4, "interface * shut")
    neighbour, accomplice = _port(5, "interface * some"), _port(6)
    rules = (
        RuleSet(id="shut", in_default=Action.DENY),
        *(RuleSet(id="some"), deny("some", "out", 100, protocol=132)),
    )
    checker = _checker(cloud((victim, neighbour, accomplice), rules, ("h1", "h1", "h2")))
    opened = _between(accomplice, neighbour)
    assert checker.step("first", opened) is None
    back = answer(opened.frame, parse_mac(neighbour.mac))
    assert back is not None
    led = Probe(back._replace(eth_dst=parse_mac(victim.mac)), port=neighbour.id)
    assert checker.step("answer", led) is None


def test_what_a_guest_sends_to_itself_is_no_connection() -> None:
    """To its own MAC address, and for a neighbour on its host: the neighbour has not asked, and is
    not heard; what it sends by itself is a first packet, and passes by its outbound rules."""
    victim, neighbour = _port(4, "interface * shut"), _port(5, "interface * some")
    rules = (
        RuleSet(id="shut", in_default=Action.DENY),
        *(RuleSet(id="some"), deny("some", "out", 100, protocol=132)),
    )
    checker = _checker(cloud((victim, neighbour), rules, ("h1",)))
    question = _between(victim, neighbour)
    back = answer(question.frame, parse_mac(neighbour.mac))
    assert back is not None
    to_itself = Probe(back._replace(eth_dst=parse_mac(neighbour.mac)), port=neighbour.id)
    assert checker.step("to itself", to_itself) is None
    assert checker.step("question", question) is None
    assert checker.exchange[-1][1]


@pytest.mark.xfail(strict=True, reason="ports that share an address pair are one to whom asks")
def test_an_answer_for_an_address_that_ports_share_is_for_the_one_that_has_asked() -> None:
    """Both hold it, and its own inbound rules would stop it at the other."""
    pairs = (f"10.0.1.192/28 {PAIR_MAC}",)
    victim = port("red/a", 4, families="4", rule_sets=("interface * shut",), pairs=pairs)
    neighbour, asking = (
        _port(5, "interface * shut"),
        port("red/a", 6, families="4", pairs=pairs),
    )
    rules = (
        *(RuleSet(id="shut", in_default=Action.DENY), allow("shut", "in", 100, protocol=6)),
        deny("shut", "in", 90, source="10.0.1.5/32", family=4),
    )
    checker = _checker(cloud((victim, neighbour, asking), rules, ("h1", "h1", "h2")))
    asked = _between(asking, neighbour).frame
    its = asked.tuple._replace(source=asked.tuple.source - 6 + 192)
    question = Probe(asked._replace(eth_src=parse_mac(PAIR_MAC), tuple=its), port=asking.id)
    assert checker.step("first", question) is None
    back = answer(question.frame, parse_mac(neighbour.mac))
    assert back is not None
    led = Probe(back._replace(eth_dst=parse_mac(victim.mac)), port=neighbour.id)
    assert checker.step("answer", led) is None
