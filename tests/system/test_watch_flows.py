# SPDX-License-Identifier: Apache-2.0
"""What is allowed and what is dropped, seen while somebody watches: on one host, by VXLAN, by NVGRE
and routed; by verdict, port and peer; and nothing of it in the flows afterwards."""

from __future__ import annotations

import re
import signal
import struct
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from isthmus_lab import packets
from isthmus_lab.northbound import Resource
from tests.system import cloud as clouds
from tests.system.cloud import (
    CARRIAGES,
    Plan,
    RunningCloud,
    access_control_list,
    rule,
    to,
    until,
    virtual_network,
)
from tests.system.watching import Sent, Watching, seen_while, watching

pytestmark = pytest.mark.system

PLANS = (
    Plan("b1", "h1", ((12, "two"),)),
    Plan("a1", "h1", ((11, "one"),)),
    Plan("a2", "h2", ((13, "one"),)),
    Plan("a3", "h3", ((14, "one"),)),
    # Routed, with a list at either level.
    Plan("d1", "h1", ((15, "one"),), subnet="db"),
    Plan("d2", "h2", ((16, "one"),), subnet="db"),
    Plan("s1", "h1", ((17, "alone"),)),
    Plan("f1", "h1", ((18, ""),)),
    Plan("f2", "h2", ((19, ""),)),
)
LISTS = (
    access_control_list("one", rule("UDP", "80"), rule("TCP", "80"), rule("ICMPv4")),
    access_control_list(
        "two",
        rule("UDP", "80-81", type="Outbound"),
        rule("TCP", "80-81", type="Outbound"),
        rule("ICMPv4", type="Outbound"),
        inbound="Permit",
        outbound="Deny",
    ),
    access_control_list("of-db", rule("TCP", "81", action="Deny"), inbound="Permit"),
    access_control_list("alone", rule("UDP", "86", stateless=True), rule("TCP", "86")),
)
_fresh = count(20_000)
"""Source ports and identifiers: a connection that is known is not told again."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(*LISTS, virtual_network("red", {"db": "of-db"}), plans=PLANS)
        yield made


def sent(
    cloud: RunningCloud,
    protocol: str,
    sender: str,
    receiver: str,
    port: int = 0,
    *,
    family: int = 4,
) -> Sent:
    """A packet that opens another connection each time."""
    ends = cloud[sender], cloud[receiver]
    addresses = ends[0].address(family), ends[1].address(family)

    def send() -> None:
        number = next(_fresh) % 40_000 + 20_000
        if protocol == "icmp":
            packet = packets.icmp(*addresses, 8, 0, struct.pack("!HH", number, 1) + b"isthmus")
        else:
            build = packets.udp if protocol == "udp" else packets.tcp
            packet = build(*addresses, (number, port), b"isthmus-watched")
        ends[0].send([to(*ends, packet)])

    return send


IsIt = Callable[[Resource], bool]


def is_flow(verdict: str, ends: str, *decided: str, **fields: object) -> IsIt:
    """`ends`: protocol and receiver's end of the packet; `decided`: direction, level, rule."""

    def is_it(told: Resource) -> bool:
        by = tuple(f"{d['direction']} {d['level']} {d['decision']}" for d in told["decisions"])
        protocol, _, destination = ends.partition(" ")
        return (
            told["verdict"] == verdict
            and told["packet"].startswith(protocol)
            and told["packet"].endswith(f"→ {destination}")
            and by == decided
            and fields.items() <= told.items()
        )

    return is_it


def programs(cloud: RunningCloud) -> dict[str, tuple[list[str], str]]:
    """Flows and meters of each host, without what they have counted."""
    found = {}
    for name, host in cloud.lab.hosts.items():
        flows = host.switch.ofctl("dump-flows", "br-int", "--no-stats").splitlines()
        meters = host.switch.ofctl("dump-meters", "br-int").partition("\n")[2]
        found[name] = sorted(flow.strip() for flow in flows), meters
    return found


def is_watched(cloud: RunningCloud) -> bool:
    """Whether any flow shows what it drops or allows, or notes it."""
    flows = [flow for found, _ in programs(cloud).values() for flow in found]
    return any(re.search("userdata=0[489]|METADATA", flow) for flow in flows)


OUT = {"udp": "two/rule1", "tcp": "two/rule2", "icmp": "two/rule3"}
IN = {"udp": "one/rule1", "tcp": "one/rule2", "icmp": "one/rule3"}


def seen_of(cloud: RunningCloud, protocol: str, receiver: str) -> Iterator[tuple[Sent, list[IsIt]]]:
    """A packet that rules allow and, but for ICMP, one that they do not; what is told of each."""
    nic = cloud[receiver]
    at, host = nic.address(4), nic.plan.host
    # The list of the subnet decides first about what comes in.
    lan = ("in subnet default of of-db",) if nic.plan.subnet == "db" else ()
    out, into = f"out interface {OUT[protocol]}", f"in interface {IN[protocol]}"
    allowed = f"{protocol} {at}" + (":80" if protocol != "icmp" else "")
    if host == "h1":
        both = {"host": "h1", "port": "b1", "receiver": receiver, "begins": True}
        wanted = [is_flow("allowed", allowed, out, *lan, into, **both)]
    else:
        wanted = [
            is_flow("allowed", allowed, out, host="h1", port="b1", begins=True),
            is_flow("allowed", allowed, *lan, into, host=host, port=receiver, begins=True),
        ]
    yield sent(cloud, protocol, "b1", receiver, 80), wanted
    if protocol == "icmp":
        return
    by = "in interface default of one"
    if lan and protocol == "tcp":
        by = "in subnet of-db/rule1"
    yield (
        sent(cloud, protocol, "b1", receiver, 81),
        [is_flow("dropped", f"{protocol} {at}:81", by, host=host)],
    )


@pytest.mark.parametrize("receiver", ["a1", "a2", "a3", "d1", "d2"])
def test_what_begins_is_told_with_the_rules_of_each_level_and_what_is_dropped_too(
    cloud: RunningCloud, receiver: str
) -> None:
    sends: list[Sent] = []
    wanted: list[IsIt] = []
    for protocol in OUT:
        for send, told in seen_of(cloud, protocol, receiver):
            sends.append(send)
            wanted += told
    # What the sender's own rules drop is told where it is.
    sends.append(sent(cloud, "udp", "b1", receiver, 9))
    at = cloud[receiver].address(4)
    wanted.append(
        is_flow("dropped", f"udp {at}:9", "out interface default of two", host="h1", port="b1")
    )
    with watching(cloud, "flows", "--port", "b1", "--peer", receiver) as watch:
        seen_while(sends, watch, *wanted)
    print(CARRIAGES[cloud[receiver].plan.host], len(watch.said))


def test_ipv6_is_told_likewise(cloud: RunningCloud) -> None:
    with watching(cloud, "flows", "--verdict", "allowed") as watch:
        seen_while(
            [sent(cloud, "udp", "b1", "a2", 80, family=6)],
            watch,
            is_flow(
                "allowed",
                f"udp [{cloud['a2'].address(6)}]:80",
                "in interface one/rule1",
                host="h2",
                begins=True,
            ),
        )


def test_what_nobody_follows_is_told_packet_by_packet_but_of_tcp_what_begins(
    cloud: RunningCloud,
) -> None:
    f2, s1 = cloud["f2"], cloud["s1"]
    ends = cloud["f1"], f2
    addresses = ends[0].address(4), f2.address(4)

    def in_the_middle() -> None:
        """TCP that begins nothing."""
        packet = packets.tcp(*addresses, (next(_fresh), 7), b"isthmus", flags=0x10)
        ends[0].send([to(*ends, packet)])

    sends = (
        in_the_middle,
        sent(cloud, "udp", "f1", "f2", 7),
        sent(cloud, "tcp", "f1", "f2", 8),
        sent(cloud, "udp", "f1", "s1", 86),
        sent(cloud, "tcp", "f1", "s1", 86),
    )
    with watching(cloud, "flows", "--verdict", "allowed") as watch:
        seen_while(
            sends,
            watch,
            *(
                is_flow("allowed", f"udp {f2.address(4)}:7", host=host, begins=False)
                for host in ("h1", "h2")
            ),
            *(
                is_flow("allowed", f"tcp {f2.address(4)}:8", host=host, begins=True)
                for host in ("h1", "h2")
            ),
            is_flow(
                "allowed",
                f"udp {s1.address(4)}:86",
                "in interface alone/rule1",
                port="f1",
                receiver="s1",
                begins=False,
            ),
            is_flow("allowed", f"tcp {s1.address(4)}:86", "in interface alone/rule2", begins=True),
        )
        assert not any(
            told["packet"].startswith("tcp") and told["packet"].endswith(":7")
            for told in watch.said
        )


def test_a_watch_is_told_of_its_verdict_its_port_and_its_peer_alone(cloud: RunningCloud) -> None:
    sends = (
        sent(cloud, "udp", "b1", "a1", 80),
        sent(cloud, "udp", "b1", "a1", 81),
        sent(cloud, "udp", "b1", "a2", 80),
        sent(cloud, "udp", "f1", "a2", 80),
        sent(cloud, "udp", "f1", "f2", 7),
    )
    a1, a2, b1 = (cloud[name].address(4) for name in ("a1", "a2", "b1"))
    to_a1 = is_flow("allowed", f"udp {a1}:80", "out interface two/rule1", "in interface one/rule1")
    lost = is_flow("dropped", f"udp {a1}:81", "in interface default of one")
    from_b1 = is_flow("allowed", f"udp {a2}:80", "in interface one/rule1", source=b1)

    def ends_of(watch: Watching) -> set[tuple[str, str, str]]:
        # What guests say of themselves is none of ours.
        mine = [told for told in watch.said if told["protocol"] == 17]
        return {(told["verdict"], told["source"], told["destination"]) for told in mine}

    with (
        watching(cloud, "flows", "--verdict", "allowed", "--port", "a1") as allowed,
        watching(cloud, "flows", "--verdict", "dropped", "--peer", b1) as dropped,
        watching(cloud, "drops", "--port", "a1", "--peer", "b1") as drops,
        watching(cloud, "flows", "--port", "a2", "--peer", "b1") as between,
        watching(cloud, "flows", "--peer", "f1", "--host", "h2") as on_h2,
    ):
        for watch, wanted in (
            (allowed, to_a1),
            (dropped, lost),
            (drops, lost),
            (between, from_b1),
            (on_h2, is_flow("allowed", f"udp {a2}:80", "in interface one/rule1", host="h2")),
        ):
            seen_while(sends, watch, wanted)
        assert ends_of(allowed) == {("allowed", b1, a1)}
        assert ends_of(dropped) == {("dropped", b1, a1)}
        assert ends_of(drops) == {("dropped", b1, a1)}
        assert ends_of(between) == {("allowed", b1, a2)}
        assert {told["host"] for told in between.said} == {"h1", "h2"}
        assert {told["host"] for told in on_h2.said} == {"h2"}


def test_of_more_than_a_sample_it_is_told_how_much_is_not_shown(cloud: RunningCloud) -> None:
    flood = [sent(cloud, "udp", "b1", "a1", 80)] * 100
    with watching(cloud, "flows", "--verdict", "allowed", "--host", "h1") as watch:

        def is_told() -> bool:
            for send in flood:
                send()
            return "packets more of this host are not shown" in watch.text

        until(is_told)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_who_goes_away_leaves_no_flow_behind(cloud: RunningCloud, number: signal.Signals) -> None:
    until(lambda: not is_watched(cloud))  # by a test before this one, which was killed too
    before = programs(cloud)
    with watching(cloud, "flows") as watch:
        seen_while(
            [sent(cloud, "udp", "b1", "a2", 80), sent(cloud, "udp", "b1", "a3", 81)],
            watch,
            is_flow("allowed", f"udp {cloud['a2'].address(4)}:80", "out interface two/rule1"),
            is_flow("dropped", f"udp {cloud['a3'].address(4)}:81", "in interface default of one"),
        )
        during = programs(cloud)
        assert all(during[name] != before[name] for name in before)
        assert is_watched(cloud)
        watch.end(number)
        until(lambda: programs(cloud) == before)
        assert watch.process.returncode == (130 if number is signal.SIGINT else -number)
