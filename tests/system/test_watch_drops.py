# SPDX-License-Identifier: Apache-2.0
"""What is dropped, what happens and what is counted, seen in a cloud that runs."""

from __future__ import annotations

import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from isthmus_lab import links, namespaces
from isthmus_lab.northbound import Resource
from tests.cli.conftest import run
from tests.system import cloud as clouds
from tests.system.cloud import LONGEST_S, RunningCloud, rule, until
from tests.system.questioned import (
    DENIED,
    a_list,
    isthmus,
    lists_shut,
    open_lists,
    questioned_cloud,
)
from tests.system.watching import (
    Sent,
    Watching,
    datagram,
    is_drop,
    nowhere,
    seen_while,
    sent_up,
    url_of,
    watching,
)

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with questioned_cloud() as made:
        yield made


@pytest.fixture
def shut(cloud: RunningCloud) -> Iterator[None]:
    with lists_shut(cloud):
        yield


# -- what is dropped, while somebody looks ---------------------------------------------------------


def test_what_is_dropped_is_shown_with_what_dropped_it(cloud: RunningCloud, shut: None) -> None:
    before = {host.name: sent_up(cloud, host.name) for host in clouds.HOSTS}
    sends = (
        datagram(cloud, "b1", "a1", 82),
        datagram(cloud, "b1", "a2", 9),
        datagram(cloud, "a1", "a2", 7, source="10.1.1.77"),
        nowhere(cloud, "a1"),
        datagram(cloud, "a3", "a1", 83),
    )
    with watching(cloud, "drops") as everything, watching(cloud, "drops", "--port", "a2") as of_a2:
        seen_while(
            sends,
            everything,
            is_drop(
                host="h1",
                port="b1",
                stage="IN_INTERFACE",
                decision="default of one",
                origin=DENIED,
                packet="udp 10.1.1.12:4000 → 10.1.1.11:82",
            ),
            is_drop(
                host="h1",
                port="b1",
                stage="OUT_INTERFACE",
                decision="two/rule1",
                origin="/accessControlLists/two/aclRules/rule1",
                packet="udp 10.1.1.12:4000 → 10.1.1.13:9",
            ),
            is_drop(host="h1", port="a1", stage="ADMISSION", packet="10.1.1.77:4000"),
            is_drop(host="h1", port="a1", stage="ROUTE", reason="no route", packet="192.0.2.1:7"),
            # From another host: there it was let out, here it is not let in.
            is_drop(host="h1", port="a1", decision="default of one", packet="10.1.1.14:4000"),
        )
        # Its guest's own stack may have said something: of other ports there is nothing.
        assert {one["port"] for one in of_a2.said} <= {"a2"}
        assert sent_up(cloud, "h1") != before["h1"]
        everything.end()
        # The other one looks at h2 only, where a2 is.
        until(lambda: sent_up(cloud, "h1") == before["h1"])
        of_a2.end(signal.SIGKILL)
        killed_at = time.monotonic()
        until(lambda: {host: sent_up(cloud, host) for host in before} == before)
        print(f"as before after {time.monotonic() - killed_at:.1f} s")


def test_who_watches_one_host_hears_of_no_other(cloud: RunningCloud, shut: None) -> None:
    before = sent_up(cloud, "h1"), sent_up(cloud, "h2")
    sends = datagram(cloud, "b1", "a1", 82), nowhere(cloud, "a2")
    with watching(cloud, "drops", "--host", "h2") as watch:
        seen_while(sends, watch, is_drop(host="h2", port="a2", stage="ROUTE"))
        assert {told["host"] for told in watch.said} == {"h2"}
        assert sent_up(cloud, "h1") == before[0]
    until(lambda: sent_up(cloud, "h2") == before[1])
    for option in ("--port", "--host"):
        code, _, said = run(["watch", "drops", option, "nobody"], url_of(cloud))
        assert (code, "is called nobody" in said) == (1, True)


def test_a_list_that_is_written_while_somebody_watches_is_shown_too(cloud: RunningCloud) -> None:
    """What drops then is programmed to show it, and as ever afterwards."""
    with watching(cloud, "drops") as watch:
        seen_while([nowhere(cloud, "a1")], watch, is_drop(stage="ROUTE"))
        cloud.north.put_all([a_list("one", rule("UDP", "90", action="Deny"), inbound="Permit")])
        # A datagram that came while answers may be the first packets would be taken for one.
        cloud.settle()
        seen_while(
            [datagram(cloud, "b1", "a1", 90)], watch, is_drop(decision="one/rule1", port="b1")
        )
    cloud.north.put_all(open_lists())
    cloud.settle()


# -- what happens ----------------------------------------------------------------------------------


def test_events_are_told_as_they_happen_and_resumed_where_they_were_cut(
    cloud: RunningCloud,
) -> None:
    reference = "/securityTags/happening"
    with watching(cloud, "events") as first:

        def writes_are_seen() -> bool:
            cloud.north.put(reference, {"properties": {}})
            time.sleep(0.1)
            return len(told_of(first, reference)) >= 2

        until(writes_are_seen)
        cloud.lab.unplug(cloud["a3"].guest)
        until(lambda: any(is_state(one, "a3", located=False) for one in first.said))
        cloud.lab.plug(cloud["a3"].guest, cloud.lab.host("h3"))
        until(lambda: any(is_state(one, "a3", located=True) for one in first.said))
        # Events come in their order, and it is the last one that is looked at.
        etag = cloud.north.get(reference)["etag"]
        until(lambda: told_of(first, reference)[-1]["etag"] == etag)
    written = told_of(first, reference)
    assert {one["action"] for one in written} == {"written"}
    cut_at = written[0]["id"]
    cloud.north.delete(reference)
    known = [one["id"] for one in first.said]
    missed = known[known.index(cut_at) + 1 :]
    with watching(cloud, "events", "--after", cut_at) as second:
        until(lambda: any(one.get("action") == "deleted" for one in told_of(second, reference)))
    ids = [one["id"] for one in second.said]
    assert ids[: len(missed)] == missed
    assert "reset" not in [one["event"] for one in second.said]
    assert cut_at not in ids
    with watching(cloud, "events", "--after", "unknown-1") as third:
        until(lambda: third.said)
    assert third.said[0]["event"] == "reset"
    until(lambda: cloud.is_configured("a3"))


def told_of(watch: Watching, reference: str) -> list[dict[str, Any]]:
    return [one for one in watch.said if one.get("resourceRef", "").lower() == reference.lower()]


def is_state(told: Mapping[str, Any], port: str, *, located: bool) -> bool:
    return (
        told["event"] == "state"
        and told["resourceRef"].lower() == f"/networkinterfaces/{port}"
        and bool(told.get("server")) == located
    )


# -- what was counted ------------------------------------------------------------------------------


def of_rule(told: Resource, name: str, rule_name: str) -> int:
    """Packets that a rule of a list has decided, over all hosts."""
    return sum(
        one["packets"]
        for host in told["hosts"]
        for one in host["rules"]
        if (one["rule_set"], one["rule"]) == (name, rule_name)
    )


def counted(cloud: RunningCloud) -> Resource:
    """By all hosts."""
    end = time.monotonic() + LONGEST_S
    while True:
        told = cloud.north.counters()
        if not any("error" in host for host in told["hosts"]):
            return told
        assert time.monotonic() < end, told


def test_counters_count(cloud: RunningCloud, shut: None) -> None:
    before = counted(cloud)
    assert [host["host"] for host in before["hosts"]] == ["h1", "h2", "h3"]
    denied, refused = datagram(cloud, "b1", "a2", 9), datagram(cloud, "b1", "a1", 84)
    forged = datagram(cloud, "a2", "a1", 7, source="10.1.1.77")

    def has_gained(send: Sent, count: Callable[[Resource], int]) -> bool:
        """What one packet in a loop adds is lost by chance; what none adds never comes to 20."""
        send()
        return count(counted(cloud)) - count(before) >= 20

    until(partial(has_gained, denied, lambda told: of_rule(told, "two", "rule1")))
    until(partial(has_gained, refused, lambda told: of_rule(told, "one", "")))
    until(partial(has_gained, forged, lambda told: told["hosts"][1]["blocked"].get("a2", 0)))
    code, out = isthmus(cloud, "counters")
    assert code == 0
    assert re.search(r"^two/rule1\t.*\tout\tinterface\tdeny\t\d+$", out, re.MULTILINE), out
    assert re.search(r"^h2\tblocked port\ta2\t\d+$", out, re.MULTILINE), out


def test_what_stateless_rules_let_pass_and_drop_is_counted_and_seen(cloud: RunningCloud) -> None:
    """Out of b1 and into a1, one rule each lets a datagram pass alone; another is dropped."""
    of_b1 = "of-green, two"
    cloud.north.put_all(
        (
            a_list("one", rule("UDP", "86", stateless=True), inbound="Deny"),
            a_list("two", rule("UDP", "86-87", stateless=True, type="Outbound"), outbound="Deny"),
        )
    )
    cloud.settle()
    try:
        passing, dropped, kept = (datagram(cloud, "b1", "a1", port) for port in (86, 87, 88))
        with watching(cloud, "drops", "--port", "b1") as watch:
            seen_while(
                [dropped, kept],
                watch,
                is_drop(stage="IN_INTERFACE", decision="default of one", packet="11:87"),
                is_drop(stage="OUT_INTERFACE", decision=f"default of {of_b1}", packet="11:88"),
            )
        before = cloud.north.counters()
        for send in (passing, dropped, kept) * 20:
            send()

        def gains(name: str, rule_name: str, packets: int) -> None:
            def count(told: Resource) -> int:
                return of_rule(told, name, rule_name) - of_rule(before, name, rule_name)

            until(lambda: count(cloud.north.counters()) >= packets)

        gains("two", "rule1", 40)
        gains("one", "rule1", 20)
        gains("one", "", 20)
        gains(of_b1, "", 20)
    finally:
        cloud.north.put_all(open_lists())
        cloud.settle()


def test_an_agent_serves_its_counters_to_prometheus(cloud: RunningCloud, shut: None) -> None:
    host = cloud.lab.host("h1")
    with links.links_of(host.namespace) as here:
        here.set_up("lo")
    cloud.lab.agent(host).kill()
    cloud.lab.start_agent(host, ["--metrics", "127.0.0.1:9477"])
    try:
        cloud.settle()
        send = datagram(cloud, "b1", "a2", 9)

        def has_counted() -> bool:
            send()
            found = re.search(
                r'^isthmus_rule_packets_total\{action="deny",direction="out",level="interface",'
                r'rule="rule1",rule_set="two"\} ([\d.e+]+)$',
                scraped(host.namespace),
                re.MULTILINE,
            )
            return found is not None and float(found[1]) > 0

        until(has_counted)
        assert "isthmus_host_switch_up 1.0" in scraped(host.namespace)
    finally:
        cloud.lab.agent(host).kill()
        cloud.lab.start_agent(host)
        cloud.settle()


def scraped(namespace: str) -> str:
    """What the agent in that namespace tells; empty before it does."""
    with namespaces.entered(namespace):
        try:
            with urllib.request.urlopen("http://127.0.0.1:9477/metrics", timeout=10) as reply:
                text: str = reply.read().decode()
        except OSError:
            return ""
    return text
