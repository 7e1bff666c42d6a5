# SPDX-License-Identifier: Apache-2.0
"""Why a packet does not arrive, asked of a cloud that runs: what policy says, what the switches
say, what real packets say, and what is seen when they are dropped, are one and the same."""

from __future__ import annotations

import base64
import gzip
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from isthmus.errors import IsthmusError
from isthmus_lab import links, namespaces
from isthmus_lab.northbound import Resource
from tests.cli.conftest import run
from tests.system import cloud as clouds
from tests.system.cloud import (
    FAMILIES,
    LONGEST_S,
    Cloud,
    Nic,
    Plan,
    access_control_list,
    address_of,
    rule,
    tag,
    until,
    virtual_network,
)
from tests.system.watching import (
    OUTSIDE,
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


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
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


# -- two traces, one answer ------------------------------------------------------------------------

PROTOCOLS = {"TCP": TCP, "UDP": UDP, "132": SCTP, "All": TCP, "99": NOBODYS, "ICMPv4": ECHO}
"""Of rules; and a protocol that each speaks of."""


PREFIXES = {
    4: ("10.1.1.8/29", "10.1.0.0/16", "10.1.1.11", "10.1.2.0/24"),
    6: ("fd00:1:0:1::10/124", "fd00:1::/48", "fd00:1:0:1::11", "fd00:1:0:2::/64"),
}


class Asked(NamedTuple):
    """One question to both."""

    source: str
    destination: str
    protocol: int
    port: int
    source_port: int
    family: int

    @property
    def how(self) -> dict[str, str | int]:
        return {
            "protocol": self.protocol,
            "port": self.port,
            "sourcePort": self.source_port,
            "family": self.family,
        }


def random_rules(chance: random.Random) -> list[Resource]:
    found = []
    for _ in range(chance.randint(1, 5)):
        protocol = chance.choice([*PROTOCOLS, "ICMPv6"])
        has_ports = protocol in ("TCP", "UDP", "132")
        family = {"ICMPv4": 4, "ICMPv6": 6}.get(protocol) or chance.choice(FAMILIES)
        ends: dict[str, Any] = {}
        for end in ("source", "destination"):
            kind = chance.choice(["any", "any", "tag", "prefix", "word"])
            if kind == "tag":
                ends[f"{end}SecurityTags"] = [tag(chance.choice(TAGS))]
            elif kind == "prefix":
                ends[f"{end}AddressPrefix"] = chance.choice(PREFIXES[family])
            elif kind == "word":
                ends[f"{end}AddressPrefix"] = chance.choice(["VIRTUALNETWORK", "INTERNET"])
        if has_ports and chance.random() < 0.3:
            ends["sourcePortRange"] = chance.choice(["1024-50000", "49152", "50001-65535"])
        found.append(
            rule(
                protocol,
                random_ports(chance) if has_ports else "*",
                type=chance.choice(["Inbound", "Outbound"]),
                action=chance.choice(["Allow", "Allow", "Deny"]),
                priority=str(chance.randint(100, 110)),
                stateless=chance.random() < 0.2,
                **ends,
            )
        )
    return found


def random_ports(chance: random.Random) -> str:
    first = chance.choice([0, 1, 80, 443, 8000, 65535])
    last = min(65535, first + chance.choice([0, 1, 10, 1000]))
    return chance.choice(["*", f"{first}-{last}", str(first)])


def questions(chance: random.Random, lists: Sequence[Resource]) -> Iterator[Asked]:
    """Every ordered pair in both families, with a packet at the edge of a rule of `lists`; and
    what leads to no port."""
    edges = [edge for one in lists for edge in edges_of(one)]
    for (source, destination), family in product(permutations(NAMES, 2), FAMILIES):
        protocol, port, source_port = chance.choice(edges)
        yield Asked(source, destination, protocol, port, source_port, family)
    for family in FAMILIES:
        for place in (
            address_of("web", 1, family),  # its gateway
            address_of("db", 1, family),  # another gateway
            OUTSIDE[family],
            address_of("web", 99, family),
            address_of("db", 99, family),
            address_of("db", 15, family),
        ):
            protocol, port, source_port = chance.choice(edges)
            source = chance.choice(NAMES[:4])
            yield Asked(source, place, chance.choice([ECHO, protocol]), port, source_port, 0)


def edges_of(one: Resource) -> Iterator[tuple[int, int, int]]:
    yield ECHO, 0, 49152
    for entry in one["properties"]["aclRules"]:
        told = entry["properties"]
        protocol = PROTOCOLS.get(told["protocol"], ECHO)
        for port in at_edges(told["destinationPortRange"]):
            for source_port in at_edges(told["sourcePortRange"]):
                yield protocol, port, source_port


def at_edges(ports: str) -> set[int]:
    first, _, last = ("49152-49152" if ports == "*" else ports).partition("-")
    low, high = int(first), int(last or first)
    return {max(0, low - 1), low, high, min(65535, high + 1)}


def decided(told: Resource) -> str:
    """What policy's last step says, in the switches' words; empty where it was no rule."""
    last = told["steps"][-1]
    by_rule = re.search(r"denied by rule (\S+) \(.*\) of (\S+),", last["text"])
    if last["reason"] == "rule":
        assert by_rule is not None, last
        return f"{by_rule[2]}/{by_rule[1]}"
    by_default = re.search(r"denied by default of (.*), of its", last["text"])
    if last["reason"] == "default":
        assert by_default is not None, last
        return f"default of {by_default[1]}"
    return ""


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_policy_and_the_switches_never_differ(cloud: Cloud, seed: int) -> None:
    chance = random.Random(seed)
    made = [
        a_list(
            name,
            *random_rules(chance),
            inbound=chance.choice(["Permit", "Permit", "Deny"]),
            outbound=chance.choice(["Permit", "Permit", "Permit", "Deny"]),
        )
        for name in LISTS
    ]
    cloud.north.put_all(made)
    cloud.settle()
    try:
        verdicts: dict[str, int] = {}
        for asked in questions(chance, [body for _, body in made]):
            told = cloud.trace(asked.source, asked.destination, **asked.how)
            verdicts[told["verdict"]] = verdicts.get(told["verdict"], 0) + 1
            shown = asked, told["steps"], told["switches"]
            assert told["switches"]["verdict"] == told["verdict"], shown
            if decision := decided(told):
                assert told["switches"]["reason"] == decision, shown
        assert set(verdicts) == {"delivered", "dropped"}, verdicts
    finally:
        cloud.north.put_all(open_lists())
        cloud.settle()


def test_what_is_no_rule_s_doing_has_its_own_reason(cloud: Cloud) -> None:
    def last(source: str, destination: str, **how: str | int) -> tuple[str, str, object]:
        told: Mapping[str, Any] = cloud.trace(source, destination, **how)
        assert told["switches"]["verdict"] == told["verdict"], told
        return told["verdict"], told["steps"][-1]["reason"], told["switches"]["reason"]

    for family in FAMILIES:
        gateway = address_of("web", 1, family)
        nobody = address_of("web", 99, family)
        assert last("a1", gateway) == ("delivered", "", "")
        assert last("a1", gateway, protocol=TCP, port=80)[:2] == (
            *("dropped", "no port has that address"),
        )
        assert last("a1", OUTSIDE[family]) == ("dropped", "no route", "ROUTE")
        assert last("a1", nobody)[:2] == ("dropped", "no port has that address")
        assert last("d1", nobody) == ("dropped", "no port has that address", "NEIGHBOUR")
        assert last("a1", address_of("web", 13, family)) == ("delivered", "", "")


# -- the same, as people ask it --------------------------------------------------------------------


def isthmus(cloud: Cloud, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a command, given again where a host was too busy to answer it."""
    end = time.monotonic() + LONGEST_S
    while True:
        code, out, _ = run(arguments, url_of(cloud))
        if BUSY not in out or time.monotonic() > end:
            return code, out


BUSY = "did not answer in"
"""What is said of a host that takes longer than a controller waits for it."""


@pytest.fixture
def shut(cloud: Cloud) -> Iterator[None]:
    """`one` lets in TCP to 80, and echo requests of IPv4; `two` lets out nothing to 9."""
    one = a_list("one", rule("TCP", "80"), rule("ICMPv4"))
    two = a_list("two", rule("UDP", "9", type="Outbound", action="Deny"), inbound="Permit")
    cloud.north.put_all([one, two])
    cloud.settle()
    yield
    cloud.north.put_all(open_lists())
    cloud.settle()


DENIED = "/accessControlLists/one"


def test_a_trace_is_told_in_words_and_by_its_exit_status(cloud: Cloud, shut: None) -> None:
    code, out = isthmus(cloud, "trace", "a3", "a1", "--tcp", "80", "--switches")
    assert code == 0
    assert out.splitlines()[0] == "TCP 49152 → 80  10.1.1.14 → 10.1.1.11"
    assert "by NVGRE from 172.31.0.3 to 172.31.0.1 (h1)" in out
    assert "into the tunnel to 172.31.0.1" in out
    assert "Switches  delivered" in out
    assert out.splitlines()[-1] == "Verdict   delivered"
    code, out = isthmus(cloud, "trace", "b1", "a1", "--tcp", "81", "--ipv6", "--switches")
    assert code == 1
    assert "DROP a1: inbound: denied by default of one, of its interface" in out
    assert f"[{DENIED}]" in out
    assert "dropped at IN_INTERFACE by default of one" in out
    assert "Switches  dropped: default of one" in out
    code, out = isthmus(cloud, "trace", "b1", "a2", "--udp", "9", "--switches")
    assert code == 1
    assert "denied by rule rule1 (priority 200) of two" in out
    assert "[/accessControlLists/two/aclRules/rule1]" in out
    assert "Switches  dropped: two/rule1" in out
    code, out = isthmus(cloud, "trace", "b1", "a1", "--protocol", "1", "--switches")
    assert (code, "Switches  delivered" in out) == (0, True), out
    for wrong in (("nobody", "a1"), ("a1", "nobody"), ("a1", "10.1.1.300")):
        code, _, said = run(["trace", *wrong], url_of(cloud))
        assert (code, "no port is called" in said) == (1, True)
    assert isthmus(cloud, "trace", "a1", "b1", "--tcp", "1", "--udp", "1")[0] == 2


# -- real packets ----------------------------------------------------------------------------------

RED = {"resourceRef": "/virtualNetworks/red"}


def check(cloud: Cloud, sender: str, receiver: str, **more: object) -> Mapping[str, Any]:
    """What a ConnectivityCheck finds, made again where a host was too busy."""
    end = time.monotonic() + LONGEST_S
    while True:
        found = _check(cloud, sender, receiver, more)
        if not was_busy(found) or time.monotonic() > end:
            return found


def was_busy(found: Mapping[str, Any]) -> bool:
    lines = [line for node in found["nodeOutput"] for line in node["traceOutput"]]
    return BUSY in found["errorMessage"] or any(line.endswith(": None") for line in lines)


def success(cloud: Cloud, sender: str, receiver: str, **more: object) -> Mapping[str, Any]:
    """What a check finds that succeeds, be it after some that were too early."""
    found: dict[str, Any] = {}

    def succeeds() -> bool:
        found.update(check(cloud, sender, receiver, **more))
        return bool(found["status"] == "Success")

    until(succeeds)
    return found


def _check(
    cloud: Cloud, sender: str, receiver: str, more: Mapping[str, object]
) -> Mapping[str, Any]:
    body = {
        "properties": {
            "senderIpAddress": sender,
            "receiverIpAddress": receiver,
            "senderVirtualNetwork": RED,
            "receiverVirtualNetwork": RED,
            **more,
        }
    }
    begun = cloud.north.put("/diagnostics/ConnectivityCheck", body)["properties"]
    reference = begun["connectivityCheckResult"]["resourceRef"]
    found: dict[str, Any] = {}

    def is_done() -> bool:
        shown = cloud.north.get(reference)["properties"]
        assert shown["operationId"] == begun["operationId"]
        assert {**body["properties"], "submitTime": begun["submitTime"]}.items() >= {
            name: shown[name]
            for name in ("senderIpAddress", "receiverVirtualNetwork", "submitTime")
        }.items()
        found.update(shown["result"])
        return str(found["status"]) != "InProgress"

    until(is_done)
    listed = cloud.north.list("/diagnostics/ConnectivityCheckResults")
    assert reference in [one["resourceRef"] for one in listed]
    return found


@contextmanager
def listening(nic: Nic, address: str, port: int) -> Iterator[None]:
    """Somebody accepts connections there."""
    program = (
        "import socket, sys; kind = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        "server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=kind)\n"
        "while True: server.accept()[0].close()"
    )
    process = nic.guest.start([sys.executable, "-c", program, address, str(port)])
    try:
        probe = ["ss", "-tlnH", f"sport = :{port}"]
        until(lambda: nic.guest.run(probe).strip())
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("receiver", ["b1", "a2"])
def test_a_check_may_be_longer_than_one_packet(cloud: Cloud, receiver: str, family: int) -> None:
    ends = cloud["a1"].address(family), cloud[receiver].address(family)
    found = success(cloud, *ends, icmpProtocolConfig={"length": 3000})
    assert found["roundTripTimeMSec"] > 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("receiver", ["b1", "a2", "a3", "d2"])
def test_a_check_finds_that_real_packets_are_answered(
    cloud: Cloud, receiver: str, family: int
) -> None:
    ends = cloud["a1"].address(family), cloud[receiver].address(family)
    # The first packet between two guests may wait for a neighbour.
    found = success(cloud, *ends)
    assert found["errorMessage"] == ""
    assert found["roundTripTimeMSec"] > 0
    kinds = [node["nodeType"] for node in found["nodeOutput"]]
    on_one_host = cloud[receiver].plan.host == "h1"
    assert kinds == (["Sender"] if on_one_host else ["Sender", "Receiver"])
    assert found["nodeOutput"][0]["traceOutput"][0].startswith("h1: CLASSIFY > ")
    assert success(cloud, *ends, disableTracing=True)["nodeOutput"] == []
    success(cloud, *ends, icmpProtocolConfig={"length": 1200, "sequenceNumber": 7})
    with listening(cloud[receiver], ends[1], 5001):
        found = success(cloud, *ends, protocol="Tcp", destinationPort=5001)
        assert found["roundTripTimeMSec"] > 0
    success(cloud, *ends, protocol="UDP", destinationPort=5001)


def test_checks_between_the_same_ends_do_not_disturb_each_other(cloud: Cloud) -> None:
    ends = cloud["a1"].address(4), cloud["a2"].address(4)

    def all_succeed() -> bool:
        with ThreadPoolExecutor(4) as several:
            found = list(several.map(lambda _: check(cloud, *ends), range(8)))
        return {one["status"] for one in found} == {"Success"}

    until(all_succeed)


def test_a_check_says_why_not(cloud: Cloud, shut: None) -> None:
    a1, b1, a2 = (cloud[name].address(4) for name in ("a1", "b1", "a2"))
    found = check(cloud, b1, a1, protocol="Tcp", destinationPort=81)
    assert found["status"] == "Failure"
    assert "denied by default of one" in found["errorMessage"]
    assert "IN_INTERFACE" in found["nodeOutput"][0]["traceOutput"][0]
    found = check(cloud, b1, a2, protocol="Udp", destinationPort=9)
    assert "denied by rule rule1" in found["errorMessage"]
    assert "no port has that address" in check(cloud, b1, "10.1.1.99")["errorMessage"]
    assert "no route" in check(cloud, b1, "192.0.2.1")["errorMessage"]
    success(cloud, b1, "10.1.1.1")  # the router
    device = "eth0"
    cloud["a2"].guest.run(["ip", "link", "set", device, "down"])
    try:
        found = check(cloud, b1, a2)
        assert found["status"] == "Failure"
        assert f"{a2} did not answer a real packet" in found["errorMessage"]
    finally:
        cloud["a2"].guest.run(["ip", "link", "set", device, "up"])
        for family in FAMILIES:
            number = cloud["a2"].plan.addresses[0][0]
            text = address_of("web", number, family)
            gateway = address_of("web", 1, family)
            length = "24" if family == 4 else "64"
            cloud["a2"].guest.run(["ip", "addr", "replace", f"{text}/{length}", "dev", device])
            cloud["a2"].guest.run(
                ["ip", f"-{family}", "route", "replace", "default", "via", gateway]
            )
    success(cloud, b1, a2)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"senderIpAddress": "10.1.1.99"}, "NotFound"),
        ({"senderIpAddress": "here"}, "InvalidIPAddress"),
        ({"protocol": "Sctp"}, "InvalidParameterValue"),
        ({"destinationPort": 0}, "InvalidParameterValue"),
        (
            {"receiverVirtualNetwork": {"resourceRef": "/virtualNetworks/blue"}},
            "VirtualNetworkMismatch",
        ),
        ({"receiverVirtualNetwork": None}, "RequiredParamMissing"),
        ({"receiverLogicalNetwork": {"resourceRef": "/logicalNetworks/u"}}, "NetworkMismatch"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(
    cloud: Cloud, changed: dict[str, object], code: str
) -> None:
    before = len(cloud.north.list("/diagnostics/ConnectivityCheckResults"))
    a1, b1 = cloud["a1"].address(4), cloud["b1"].address(4)
    with pytest.raises(IsthmusError) as caught:
        check(cloud, a1, b1, **changed)
    assert caught.value.code == code
    assert len(cloud.north.list("/diagnostics/ConnectivityCheckResults")) == before


# -- what is dropped, while somebody looks ---------------------------------------------------------


def test_what_is_dropped_is_shown_with_what_dropped_it(cloud: Cloud, shut: None) -> None:
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


def test_who_watches_one_host_hears_of_no_other(cloud: Cloud, shut: None) -> None:
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


def test_a_list_that_is_written_while_somebody_watches_is_shown_too(cloud: Cloud) -> None:
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


def test_events_are_told_as_they_happen_and_resumed_where_they_were_cut(cloud: Cloud) -> None:
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


def counted(cloud: Cloud) -> Resource:
    """By all hosts."""
    end = time.monotonic() + LONGEST_S
    while True:
        told = cloud.north.counters()
        if not any("error" in host for host in told["hosts"]):
            return told
        assert time.monotonic() < end, told


def test_counters_count(cloud: Cloud, shut: None) -> None:
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


def test_what_stateless_rules_let_pass_and_drop_is_counted_and_seen(cloud: Cloud) -> None:
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


def test_an_agent_serves_its_counters_to_prometheus(cloud: Cloud, shut: None) -> None:
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


# -- the whole cloud -------------------------------------------------------------------------------

PASSWORD = "correct-horse-battery-staple"


def test_a_bundle_has_what_support_needs_and_no_secret(
    cloud: Cloud, shut: None, tmp_path: Path
) -> None:
    cloud.put(
        "/credentials/secret",
        {"properties": {"type": "UsernamePassword", "userName": "u", "value": PASSWORD}},
    )
    file = tmp_path / "cloud.json.gz"
    (tmp_path / "cloud.json.gz.new").touch(mode=0o666)
    code, out = isthmus(cloud, "bundle", str(file))
    assert (code, out.startswith(f"{file}: ")) == (0, True)
    assert file.stat().st_mode & 0o777 == 0o600
    # What somebody else has put beside it, for others to read, was neither used nor touched.
    assert {path.name for path in tmp_path.iterdir()} == {"cloud.json.gz", "cloud.json.gz.new"}
    assert (tmp_path / "cloud.json.gz.new").read_bytes() == b""
    text = gzip.decompress(file.read_bytes()).decode()
    assert "/credentials/secret" in text
    assert PASSWORD not in text
    assert base64.b64encode(PASSWORD.encode()).decode() not in text
    for arguments in (
        ("a3", "a1", "--tcp", "80"),
        ("b1", "a1", "--tcp", "81", "--ipv6"),
        ("b1", "a2", "--udp", "9"),
        ("a1", "192.0.2.1"),
    ):
        live = isthmus(cloud, "trace", *arguments)
        assert isthmus(cloud, "trace", *arguments, "--bundle", str(file)) == live
    code, _, said = run(["trace", "a1", "b1", "--switches", "--bundle", str(file)])
    assert (code, "no switches" in said) == (1, True)
    live_lines = isthmus(cloud, "explain", "port", "a1")[1].splitlines()
    code, out = isthmus(cloud, "explain", "port", "a1", "--bundle", str(file))
    assert code == 0
    # All but what a switch says now.
    start, end = (
        next(number for number, line in enumerate(live_lines) if line.startswith(word))
        for word in ("Switch of ", "State ")
    )
    assert out.splitlines()[:-1] == [*live_lines[:start], *live_lines[end:-1]]
    assert out.splitlines()[-1].startswith("Verdict   works: h1 had it")
    for wrong in (tmp_path / "absent", Path("/etc/passwd")):
        assert run(["explain", "port", "a1", "--bundle", str(wrong)])[0] == 1


def found_by_doctor(cloud: Cloud) -> set[tuple[str, str]]:
    """Subjects and codes."""
    return {(one["subject"], one["code"]) for one in cloud.north.doctor()["findings"]}


def test_the_doctor_finds_what_is_broken_and_nothing_else(cloud: Cloud) -> None:
    until(lambda: isthmus(cloud, "doctor") == (0, ""))
    links_of_host = cloud.lab.host("h2").namespace
    with links.links_of(links_of_host) as here:
        here.set_mtu("br-phy", 1400)
    until(lambda: ("h2", "mtu") in found_by_doctor(cloud))

    def is_told() -> bool:
        code, out = isthmus(cloud, "doctor")
        assert code == 1
        found = "h2: br-phy has MTU 1400, the underlay is said to carry 1500 (mtu)" in out
        return found and "repair: on h2: ip link set br-phy mtu 1500" in out

    until(is_told)
    with links.links_of(links_of_host) as here:
        here.set_mtu("br-phy", 1500)
    until(lambda: isthmus(cloud, "doctor") == (0, ""))

    underlay = cloud.lab.underlay.namespace
    subprocess.run(["ip", "-n", underlay, "link", "set", "h3", "down"], check=True)
    cut = {(f"{one} {other}", "unreachable-tunnel") for one, other in permutations(("h1", "h3"), 2)}
    until(lambda: cut <= found_by_doctor(cloud))
    subprocess.run(["ip", "-n", underlay, "link", "set", "h3", "up"], check=True)
    until(lambda: isthmus(cloud, "doctor") == (0, ""))

    host = cloud.lab.host("h2")
    cloud.lab.agent(host).kill()
    try:
        until(lambda: {("h2", "no-answer")} == found_by_doctor(cloud))
    finally:
        cloud.lab.start_agent(host)
    until(lambda: isthmus(cloud, "doctor") == (0, ""))
