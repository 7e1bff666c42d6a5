# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a host's underlay, its tunnels, its interfaces or its switch is said where
people look, and an address pair whose announcement nobody heard is found all the same: packets and
what `isthmus status`, `doctor` and `explain` say of them."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from isthmus_lab import frames, namespaces, processes, resources
from isthmus_lab.guest import Guest
from isthmus_lab.host import Host
from isthmus_lab.lab import Lab
from isthmus_lab.northbound import Northbound
from isthmus_lab.pings import ping
from isthmus_lab.rawsocket import send_frames
from isthmus_lab.state import HostSpec
from tests.cli.conftest import run
from tests.lab.remains import remains_of, unique_name

pytestmark = pytest.mark.system

LONGEST_S = 60.0
FLOATING = "10.1.1.100"
PORTS = {"one": ("h1", "10.1.1.11"), "two": ("h2", "10.1.1.12"), "asks": ("h1", "10.1.1.13")}


class RunningCloud:
    """Two hosts that speak VXLAN, a port or two on each, and one that is on none."""

    def __init__(self, lab: Lab, agent_arguments: Sequence[str] = ()) -> None:
        self.lab = lab
        controller = lab.start_controller()
        self.url = f"unix:{processes.rest_socket(lab.run_directory)}"
        self.guests: dict[str, Guest] = {}
        specs = [host.spec for host in lab.hosts.values()]
        with Northbound(processes.rest_socket(lab.run_directory)) as north:
            north.wait_until_ready(controller)
            north.put_all(resources.fabric("172.31.0.0/24", specs))
            for host in lab.hosts.values():
                lab.start_agent(host, agent_arguments)
            north.put(
                "/virtualNetworks/red",
                resources.virtual_network("10.1.0.0/16", [("web", "10.1.1.0/24")]),
            )
            subnet = "/virtualNetworks/red/subnets/web"
            for name, (_, address) in {**PORTS, "none": ("", "10.1.1.14")}.items():
                body = resources.network_interface(subnet, address)
                if name in ("one", "two"):
                    body["properties"]["allowedAddressPairs"] = [{"ipAddress": FLOATING}]
                north.put(f"/networkInterfaces/{name}", body)
            for name, (place, address) in PORTS.items():
                mac = resources.mac_of(north.get(f"/networkInterfaces/{name}"))
                guest = self.guests[name] = lab.add_guest(name, mac, name)
                lab.plug(guest, lab.host(place))
                guest.set_address(address, 24)

    def doctor(self) -> dict[tuple[str, str], dict[str, str]]:
        """Findings by host or hosts, and code."""
        told = json.loads(run(["doctor", "--json"], self.url)[1])
        return {(one["subject"], one["code"]): one for one in told["findings"]}

    def problems(self) -> list[str]:
        found: list[str] = json.loads(run(["status", "--json"], self.url)[1])["problems"]
        return found

    def says(self, *words: str) -> bool:
        """Whether a problem of the status has all the words."""
        return any(all(word in one for word in words) for one in self.problems())

    def verdict(self, port: str) -> str:
        return str(json.loads(run(["explain", "port", port, "--json"], self.url)[1])["verdict"])

    def passes(self, address: str = PORTS["two"][1]) -> bool:
        """Whether each ping is answered, of one who has to ask first where the address is."""
        self.guests["asks"].run(["ip", "neigh", "flush", "all"])
        return ping(self.guests["asks"], address).lost == 0


@contextmanager
def cloud_of(*specs: HostSpec) -> Iterator[RunningCloud]:
    with Lab(unique_name()) as lab:
        lab.up(specs)
        yield RunningCloud(lab)
    assert remains_of(lab.name) == {}


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    specs = [HostSpec(f"h{n}", f"172.31.0.{n}", ("vxlan",)) for n in (1, 2)]
    with cloud_of(*specs) as made:
        until(made.passes)
        until(lambda: not made.problems())
        yield made


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def on(host: Host, *command: str) -> str:
    """A command in a host's namespace."""
    with namespaces.entered(host.namespace):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


# -- a machine that nobody has prepared for a userspace switch -------------------------------------


def test_a_provider_address_outside_the_switch_is_said_and_the_agent_mends_it_when_it_may() -> None:
    specs = [HostSpec(f"h{n}", f"172.31.0.{n}", ("vxlan",), plain=True) for n in (1, 2)]
    with cloud_of(*specs) as cloud:
        hosts = list(cloud.lab.hosts.values())
        for host in hosts:
            on(host, "ip", "route", "add", "203.0.113.0/24", "via", "172.31.0.200")
        # Nothing crosses, and everybody says why and what to do.
        for host in hosts:
            until(partial(cloud.says, host.name, "172.31.0.", "eth0", "underlay_interface"))
            found = cloud.doctor()[host.name, "underlay-no-bridge"]
            assert 'underlay_interface = "eth0"' in found["repair"]
            log = cloud.lab.agent(host).log.read_text()
            assert "problem=underlay-no-bridge" in log
        assert not cloud.passes()

        for host in hosts:
            cloud.lab.agent(host).stop()
            cloud.lab.start_agent(host, ["--underlay-interface", "eth0"])
        until(cloud.passes)
        until(lambda: not cloud.problems())
        assert cloud.doctor() == {}
        for host in hosts:
            routes = on(host, "ip", "-4", "route")
            assert "eth0" not in routes
            assert "203.0.113.0/24 via 172.31.0.200 dev br-underlay" in routes
        # The hosts speak with each other as before, and each packet comes once.
        said = on(hosts[0], "ping", "-c", "5", "-i", "0.2", "172.31.0.2")
        assert " 5 received" in said, said
        assert "duplicates" not in said, said

        # A switch that starts again has lost the addresses; its agent gives them back.
        cloud.lab.host("h1").switch.restart_forwarding()
        until(cloud.passes)
        assert "br-underlay" in on(hosts[0], "ip", "-4", "route", "get", "203.0.113.9")
        # So does an agent that has started meanwhile.
        cloud.lab.agent(hosts[0]).stop()
        cloud.lab.host("h1").switch.restart_forwarding()
        cloud.lab.start_agent(hosts[0], ["--underlay-interface", "eth0"])
        until(cloud.passes)
        until(lambda: cloud.doctor() == {})


# -- tunnels ---------------------------------------------------------------------------------------


@contextmanager
def firewall(host: Host, match: str) -> Iterator[None]:
    """On the way between the uplink and the host."""
    flow = f"br-phy,priority=50000,in_port=eth0,{match}"
    host.switch.ofctl("add-flow", "br-phy", f"priority=50000,in_port=eth0,{match},actions=drop")
    try:
        yield
    finally:
        host.switch.ofctl("--strict", "del-flows", *flow.split(",", 1))


def test_a_tunnel_is_broken_where_no_tunnel_packet_passes_and_only_there(
    cloud: RunningCloud,
) -> None:
    h2 = cloud.lab.host("h2")
    assert cloud.doctor() == {}
    with firewall(h2, "udp,tp_dst=4789"):
        until(lambda: not cloud.passes())
        found = cloud.doctor()
        assert {("h1 h2", "unreachable-tunnel"), ("h2 h1", "unreachable-tunnel")} <= found.keys()
        until(partial(cloud.says, "h1", "no VXLAN packet comes back from h2"))
    until(lambda: cloud.doctor() == {})
    with firewall(h2, "icmp"):
        assert cloud.passes()
        assert cloud.doctor() == {}
    until(lambda: not cloud.problems())


def test_of_a_peer_that_answers_no_questions_it_is_said_that_nothing_is_known(
    cloud: RunningCloud,
) -> None:
    h2 = cloud.lab.host("h2")
    cloud.lab.agent(h2).stop()
    try:
        forgetting = [
            "Isthmus_South",
            {
                "op": "update",
                "table": "Host_Status",
                "where": [["host", "==", "h2"]],
                "row": {"capabilities": ["set", []]},
            },
        ]
        remote = processes.south_store(cloud.lab.run_directory)
        command = ["ovsdb-client", "transact", remote, json.dumps(forgetting)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        with firewall(h2, "udp,tp_dst=4789"):
            until(lambda: ("h1 h2", "tunnel-unknown") in cloud.doctor())
            found = cloud.doctor()
            assert found["h1 h2", "tunnel-unknown"]["severity"] == "warning"
            assert ("h1 h2", "unreachable-tunnel") not in found
            assert not cloud.says("comes back from h2")
    finally:
        cloud.lab.start_agent(h2)
    until(lambda: cloud.doctor() == {})
    until(lambda: not cloud.problems())


def test_a_second_address_of_the_uplink_is_not_where_tunnel_packets_come_from(
    cloud: RunningCloud,
) -> None:
    h1 = cloud.lab.host("h1")
    on(h1, "ip", "addr", "flush", "dev", "br-phy")
    for address in ("172.31.0.77", "172.31.0.1"):
        on(h1, "ip", "addr", "add", f"{address}/24", "dev", "br-phy")
    try:
        # The route's own choice of a source is the first address.
        until(lambda: "src 172.31.0.77" in on(h1, "ip", "route", "get", "172.31.0.2"))
        until(lambda: "SRC 172.31.0.77" in h1.switch.appctl("ovs/route/show"))
        until(cloud.passes)
        until(lambda: cloud.doctor() == {})
    finally:
        on(h1, "ip", "addr", "del", "172.31.0.77/24", "dev", "br-phy")
        on(h1, "ip", "addr", "replace", "172.31.0.1/24", "dev", "br-phy")
    until(cloud.passes)


# -- interfaces ------------------------------------------------------------------------------------


def test_interfaces_that_name_no_port_or_another_s_are_said(cloud: RunningCloud) -> None:
    h1 = cloud.lab.host("h1")
    own = cloud.guests["one"].host_interface

    def add(name: str, *ids: str) -> None:
        h1.switch.vsctl(
            *("add-port", "br-int", name, "--", "set", "interface", name, "type=internal", *ids)
        )

    add("wrong0", "external_ids:iface-id=nonne")
    add("bare0")
    add("twin0", "external_ids:iface-id=one")
    try:
        until(partial(cloud.says, "h1", "wrong0", "'nonne'", "iface-id"))
        until(partial(cloud.says, "h1", "bare0", "no external_ids:iface-id"))
        until(partial(cloud.says, "h1", "twin0", own, "used", "one"))
        codes = [code for subject, code in cloud.doctor() if subject == "h1"]
        assert set(codes) == {"interface-no-port", "interface-twice"}
        assert "twin0" in cloud.verdict("one")
        assert "wrong0" in cloud.verdict("none")
        code, _, said = run(["explain", "port", "nonne"], cloud.url)
        assert code != 0
        assert "wrong0" in said
    finally:
        for name in ("wrong0", "bare0", "twin0"):
            h1.switch.remove_port(name)
    until(lambda: not cloud.problems())
    until(lambda: cloud.verdict("one").startswith("works"))


# -- the switch ------------------------------------------------------------------------------------


def test_a_switch_that_hangs_is_said_and_comes_back(cloud: RunningCloud) -> None:
    h1 = cloud.lab.host("h1")
    h1.switch.signal_forwarding(signal.SIGSTOP)
    try:
        until(partial(cloud.says, "h1", "does not answer on its OpenFlow socket"))
        assert ("h1", "switch-silent") in cloud.doctor()
    finally:
        h1.switch.signal_forwarding(signal.SIGCONT)
    until(lambda: not cloud.problems())
    until(cloud.passes)


def test_an_agent_whose_memory_asks_for_what_no_store_has_starts_all_the_same(
    cloud: RunningCloud,
) -> None:
    h1 = cloud.lab.host("h1")
    agent = cloud.lab.agent(h1)
    agent.stop()
    memory = cloud.lab.run_directory / "h1" / "agent" / "scope.json"
    memory.write_text('{"Port": [["colour", "==", "red"]]}')
    assert "does not answer" in cloud.verdict("one")
    agent.start()
    until(lambda: cloud.verdict("one").startswith("works"))


# -- address pairs ---------------------------------------------------------------------------------


def test_an_address_pair_is_found_where_it_is_though_nobody_heard_it_announced(
    cloud: RunningCloud,
) -> None:
    one, two = cloud.guests["one"], cloud.guests["two"]
    hold(one)
    until(partial(cloud.passes, FLOATING))
    h2 = cloud.lab.host("h2")
    cloud.lab.agent(h2).stop()
    try:
        one.run(["ip", "addr", "del", f"{FLOATING}/32", "dev", "eth0"])
        hold(two)
        assert not cloud.passes(FLOATING)
    finally:
        cloud.lab.start_agent(h2)
    until(partial(cloud.passes, FLOATING))
    # And back at once, while all agents run, and nobody announces anything.
    two.run(["ip", "addr", "del", f"{FLOATING}/32", "dev", "eth0"])
    one.run(["ip", "addr", "add", f"{FLOATING}/32", "dev", "eth0"])
    until(partial(cloud.passes, FLOATING))


def hold(guest: Guest) -> None:
    """Take the floating address and say so, once."""
    guest.run(["ip", "addr", "add", f"{FLOATING}/32", "dev", "eth0"])
    send_frames(guest.namespace, guest.nic, [frames.gratuitous_arp(guest.mac, FLOATING)])
