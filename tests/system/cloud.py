# SPDX-License-Identifier: Apache-2.0
"""Clouds for tests with packets: ports of both families on three hosts, and what arrives at them.

h1 and h2 speak VXLAN and NVGRE and prefer VXLAN, h3 NVGRE only: so a guest on h1 hears one on h1
by its own switch, one on h2 by VXLAN and one on h3 by NVGRE.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from isthmus.addresses import Mac, parse_mac
from isthmus.derive.from_intent.networks import ROUTER_MAC
from isthmus_lab import namespaces, packets, processes, resources
from isthmus_lab.guest import INTERFACE, Guest
from isthmus_lab.host import Host
from isthmus_lab.lab import Lab
from isthmus_lab.northbound import Northbound, Resource
from isthmus_lab.rawsocket import Capture, send_frames
from isthmus_lab.state import HostSpec
from tests.lab.remains import remains_of, unique_name

LONGEST_S = 60.0
"""What a machine under load may take; nothing here takes a second on an idle one."""

HOSTS = (
    HostSpec("h1", "172.31.0.1", ("vxlan", "nvgre")),
    HostSpec("h2", "172.31.0.2", ("vxlan", "nvgre")),
    HostSpec("h3", "172.31.0.3", ("nvgre",)),
)
CARRIAGES = {"h1": "on one host", "h2": "by VXLAN", "h3": "by NVGRE"}
"""How h1 hears each host."""

ROUTER = parse_mac(ROUTER_MAC)
REVALIDATION_MS = 100
"""How long a switch that has nothing to do waits before it looks through its data path again: the
shortest that Open vSwitch takes (500 by default). `RunningCloud.settle` waits for two such
rounds."""

SUBNETS = {"web": 1, "db": 2}
NUMBERS = {**SUBNETS, "store": 3}
"""With the subnet of a network that is peered with another."""
FAMILIES = (4, 6)

Frame = Callable[[bytes], bytes | tuple[bytes, ...]]
"""A frame that carries the mark that it is given, or several."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A port to be. `addresses` are numbers in its subnet, of both families each, and the access
    control lists that they are under; `properties` what else its networkInterface has."""

    name: str
    host: str
    addresses: tuple[tuple[int, str], ...]
    network: str = "red"
    subnet: str = "web"
    tags: tuple[str, ...] = ()
    properties: Resource = field(default_factory=dict)


class Nic:
    """A port that is, and its guest."""

    def __init__(self, plan: Plan, guest: Guest) -> None:
        self.plan = plan
        self.guest = guest

    @property
    def mac(self) -> Mac:
        return self.guest.mac

    def address(self, family: int, which: int = 0) -> str:
        return address_of(self.plan.subnet, self.plan.addresses[which][0], family)

    def send(self, frames: Iterable[bytes]) -> None:
        send_frames(self.guest.namespace, self.guest.nic, frames)

    def use_addresses(self) -> None:
        """Give its guest's own stack its addresses and a default route of each family."""
        for setting, value in (
            # A tentative address answers nothing, and what a guest says on its own disturbs.
            *(("accept_dad", "0"), ("dad_transmits", "0"), ("accept_ra", "0")),
            *(("router_solicitations", "0"), ("disable_ipv6", "0")),
        ):
            path = f"ipv6/conf/{INTERFACE}/{setting}"
            namespaces.set_sysctl(self.guest.namespace, path, value)
        for which in range(len(self.plan.addresses)):
            self.guest.set_address(self.address(4, which), 24)
            self.guest.set_address(self.address(6, which), 64)
        for family in FAMILIES:
            via = address_of(self.plan.subnet, 1, family)
            self.guest.run(["ip", f"-{family}", "route", "add", "default", "via", via])


class RunningCloud:
    """A lab with controller and agents, and the ports of `plans`. Unless it `keeps_windows`, the
    time in which answers may be the first packets of connections (`switches/ovs/begun.py`) is over
    whenever it has settled."""

    def __init__(self, lab: Lab, *, keeps_windows: bool = False) -> None:
        self.lab = lab
        self.keeps_windows = keeps_windows
        controller = lab.start_controller()
        self.north = Northbound(processes.rest_socket(lab.run_directory))
        self.north.wait_until_ready(controller)
        self.north.put_all(resources.fabric("172.31.0.0/24", HOSTS))
        for host in lab.hosts.values():
            revalidation = f"other_config:max-revalidator={REVALIDATION_MS}"
            host.switch.vsctl("set", "Open_vSwitch", ".", revalidation)
            lab.start_agent(host)
        self.nics: dict[str, Nic] = {}

    def __getitem__(self, name: str) -> Nic:
        return self.nics[name]

    def furnish(self, *resources_of_it: tuple[str, Resource], plans: Sequence[Plan]) -> None:
        """Put the resources, then the ports, and wait until all hosts have them."""
        self.north.put_all(resources_of_it)
        self.north.put_all((f"/networkInterfaces/{plan.name}", interface(plan)) for plan in plans)
        for plan in plans:
            found = self.north.get(f"/networkInterfaces/{plan.name}")
            guest = self.lab.add_guest(plan.name, resources.mac_of(found), plan.name)
            self.lab.plug(guest, self.lab.host(plan.host))
            self.nics[plan.name] = Nic(plan, guest)
        for plan in plans:
            until(partial(self.is_configured, plan.name))
        self.settle()

    def is_configured(self, name: str) -> bool:
        found = self.north.get(f"/networkInterfaces/{name}")
        return resources.configuration_of(found).startswith("Success")

    def put(self, reference: str, body: Resource) -> None:
        """Put it, and wait until all hosts have it."""
        self.north.put(reference, body)
        self.settle()

    def delete(self, reference: str) -> None:
        self.north.delete(reference)
        self.settle()

    def settle(self) -> None:
        """Wait until all hosts forward by all that was put."""
        self._programmed()
        if not self.keeps_windows:
            self.end_windows()
        self._revalidated()

    def end_windows(self) -> None:
        """Do what switches do after their time."""
        for host in self.lab.hosts.values():
            found = []
            for line in windows(host):
                stage = line.partition("table=")[2].partition(",")[0]
                match = line.partition("priority=")[2].partition(" actions")[0]
                found.append(f"table={stage},priority={match}")
            if found:
                text = "\n".join(found)
                host.switch.ofctl("--strict", "del-flows", "br-int", "-", flows=text)

    def trace(self, source: str, destination: str, **how: str | int) -> Resource:
        """By policy and by the switches, asked again where a host was too busy to answer."""
        end = time.monotonic() + LONGEST_S
        while True:
            told = self.north.trace(source, destination, switches="true", **how)
            passages = told["switches"]["passages"]
            if not told.get("unknown") and not any("error" in one for one in passages):
                return told
            assert time.monotonic() < end, told

    def _programmed(self) -> None:
        """Until all hosts have said that their switches have the flows."""
        end = time.monotonic() + LONGEST_S
        probe = self.north.raise_probe()
        while True:
            done = [host for host in probe["hosts"] if host["milliseconds"] is not None]
            if len(done) == len(HOSTS):
                return
            assert time.monotonic() < end, probe
            probe = self.north.probe(probe["probe"], answered=len(done), wait_s=5.0)

    def _revalidated(self) -> None:
        """Until no switch forwards by what its data path has cached of older flows. A round may
        have begun before the flows changed: the second one has not."""
        switches = [host.switch for host in self.lab.hosts.values()]
        with ThreadPoolExecutor(len(switches)) as side_by_side:
            for _ in range(2):
                list(side_by_side.map(lambda one: one.appctl("revalidator/wait"), switches))


def windows(host: Host) -> list[str]:
    """The flows of a host that end by themselves."""
    text = host.switch.ofctl("dump-flows", "br-int")
    return [line.strip() for line in text.splitlines() if "hard_timeout=" in line]


@contextmanager
def running_cloud(*, keeps_windows: bool = False) -> Iterator[RunningCloud]:
    with Lab(unique_name()) as lab:
        lab.up(HOSTS)
        cloud = RunningCloud(lab, keeps_windows=keeps_windows)
        with cloud.north:
            yield cloud
    assert remains_of(lab.name) == {}


def address_of(subnet: str, number: int, family: int) -> str:
    if family == 4:
        return f"10.1.{NUMBERS[subnet]}.{number}"
    return f"fd00:1:0:{NUMBERS[subnet]}::{number}"


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# -- resources -------------------------------------------------------------------------------------


def virtual_network(name: str, rules: Mapping[str, str] | None = None) -> tuple[str, Resource]:
    """Of both families; `rules` are the access control lists of its subnets."""
    subnets = []
    for subnet, number in SUBNETS.items():
        own: dict[str, object] = {"addressPrefix": f"10.1.{number}.0/24"}
        pair: dict[str, object] = {
            "addressPrefix": f"fd00:1:0:{number}::/64",
            "dualStackSubnet": {"resourceRef": f"/virtualNetworks/{name}/subnets/{subnet}"},
        }
        if rules and subnet in rules:
            own["accessControlList"] = pair["accessControlList"] = _acl(rules[subnet])
        subnets.append({"resourceId": subnet, "properties": own})
        subnets.append({"resourceId": f"{subnet}6", "properties": pair})
    properties = {
        "addressSpace": {"addressPrefixes": ["10.1.0.0/16", "fd00:1::/48"]},
        "logicalNetwork": {"resourceRef": resources.PROVIDER_NETWORK},
        "subnets": subnets,
    }
    return f"/virtualNetworks/{name}", {"properties": properties}


def interface(plan: Plan, *, tags: Sequence[str] | None = None) -> Resource:
    """The networkInterface of a plan, with other `tags` if given."""
    subnet = f"/virtualNetworks/{plan.network}/subnets/{plan.subnet}"
    configurations = []
    for number, rules in plan.addresses:
        for family, suffix in ((4, ""), (6, "6")):
            properties: dict[str, object] = {
                "subnet": {"resourceRef": f"{subnet}{suffix}"},
                "privateIPAddress": address_of(plan.subnet, number, family),
            }
            if rules:
                properties["accessControlList"] = _acl(rules)
            name = f"{number}-{family}"
            configurations.append({"resourceId": name, "properties": properties})
    members = plan.tags if tags is None else tags
    return {
        "properties": {
            "ipConfigurations": configurations,
            "securityTags": [{"resourceRef": f"/securityTags/{tag}"} for tag in members],
            **plan.properties,
        }
    }


def access_control_list(
    name: str, *rules: Resource, inbound: str = "Deny", outbound: str = "Permit"
) -> tuple[str, Resource]:
    properties = {
        "aclRules": [
            {"resourceId": f"rule{number}", **rule} for number, rule in enumerate(rules, start=1)
        ],
        "inboundDefaultAction": inbound,
        "outboundDefaultAction": outbound,
    }
    return f"/accessControlLists/{name}", {"properties": properties}


def rule(protocol: str, ports: str = "*", **further: Any) -> Resource:
    """Lets in what goes to `ports`, unless `further` says otherwise."""
    properties = {
        "protocol": protocol,
        "sourcePortRange": "*",
        "destinationPortRange": ports,
        "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "*",
        "type": "Inbound",
        "action": "Allow",
        "priority": "200",
        "logging": "Enabled",
        **further,
    }
    for end in ("source", "destination"):
        if f"{end}SecurityTags" in properties:
            del properties[f"{end}AddressPrefix"]
    return {"properties": properties}


def tag(name: str) -> dict[str, str]:
    return {"resourceRef": f"/securityTags/{name}"}


def _acl(name: str) -> dict[str, str]:
    return {"resourceRef": f"/accessControlLists/{name}"}


# -- what arrives ----------------------------------------------------------------------------------


def arrivals(
    sender: Nic, receiver: Nic, sent: Mapping[str, Frame], awaited: Collection[str]
) -> set[str]:
    """The names of those frames of `sent` that arrive. All go out in their order, and again, until
    those `awaited` have arrived: what is forbidden belongs before them."""
    found = arrivals_at({receiver: awaited}, sender.send, sent)
    return found[receiver.plan.name]


def arrivals_at(
    awaited: Mapping[Nic, Collection[str]],
    send: Callable[[list[bytes]], None],
    sent: Mapping[str, Frame],
    *,
    rounds: int = 2,
) -> dict[str, set[str]]:
    """The same for several receivers, by name; each with what is to arrive there. There are
    `rounds` at least: what was lost by chance would prove nothing."""
    series = b"isthmus-" + secrets.token_hex(4).encode()
    marks = {name: b"%s-%03d." % (series, number) for number, name in enumerate(sent)}
    frames: list[bytes] = []
    for name, build in sent.items():
        built = build(marks[name])
        frames += [built] if isinstance(built, bytes) else built
    with ExitStack() as stack:
        captures = {
            nic: stack.enter_context(
                Capture(nic.guest.namespace, nic.guest.nic, lambda frame: series in frame)
            )
            for nic in awaited
        }

        def seen(nic: Nic) -> set[str]:
            arrived = captures[nic].frames
            return {name for name, mark in marks.items() if any(mark in one for one in arrived)}

        end = time.monotonic() + LONGEST_S
        while True:
            for _ in range(rounds):
                send(frames)
            for nic, names in awaited.items():
                for name in names:
                    captures[nic].wait_for(partial(carries, marks[name]), 1.0)
            missing = any(set(names) - seen(nic) for nic, names in awaited.items())
            if not missing or time.monotonic() > end:
                return {nic.plan.name: seen(nic) for nic in awaited}


def carries(mark: bytes, frame: bytes) -> bool:
    return mark in frame


def to(sender: Nic, receiver: Nic, packet: bytes, *, destination: Mac | None = None) -> bytes:
    """The frame of a packet, to the receiver or, where it is in another subnet, to the router."""
    near = sender.plan.subnet == receiver.plan.subnet
    return packets.ethernet(destination or (receiver.mac if near else ROUTER), sender.mac, packet)
