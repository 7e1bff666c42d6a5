# SPDX-License-Identifier: Apache-2.0
"""What a person does with a lab, one function each; the CLI's commands are a thin skin over them.

They report what is wrong by the errors of `isthmus.errors`. Each finds the lab by its name, so that
they may run in different processes; those that change it wait for each other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from isthmus.errors import Invalid, NotFound
from isthmus_lab import namespaces, processes, resources
from isthmus_lab.daemon import marked_environment
from isthmus_lab.dhcp import Lease
from isthmus_lab.lab import Lab, end_abandoned
from isthmus_lab.northbound import Northbound
from isthmus_lab.pings import PingResult, ping
from isthmus_lab.state import HostSpec, locked
from isthmus_lab.switch import wait_until

DEFAULT_NAME = "lab"

_CONNECTED_S = 20.0


def start_lab(
    name: str = DEFAULT_NAME, hosts: int = 3, *, bare: bool = False, listen: str | None = None
) -> Lab:
    """A lab that stays up: `hosts` hosts, the last of several speaking NVGRE only.

    Unless `bare`, also a controller (on `listen`, ``127.0.0.1:port``, as well as on its socket),
    the resources of the fabric, and an agent on each host. Raises IsthmusError, and then nothing
    is left.
    """
    if not 1 <= hosts <= 100:
        raise Invalid(f"{hosts} hosts: a lab has 1 to 100")
    specs = [HostSpec(f"h{n}", f"172.31.0.{n}") for n in range(1, hosts + 1)]
    if hosts > 1:
        specs[-1] = HostSpec(f"h{hosts}", f"172.31.0.{hosts}", ("nvgre",))
    with Lab(name) as made:
        made.up(specs)
        if not bare:
            _start_isthmus(made, specs, listen)
        made.release()
    return made


def stop_lab(name: str = DEFAULT_NAME) -> None:
    """End the lab, and those whose owner was killed."""
    Lab(name).down()
    end_abandoned()


def describe_lab(name: str = DEFAULT_NAME) -> dict[str, object]:
    """What is in the lab and what of Isthmus runs, as JSON values."""
    found = Lab.opened(name)
    controller = found.controller()
    return {
        "name": name,
        "directory": str(found.run_directory),
        "rest": str(processes.rest_socket(found.run_directory)),
        "controller": controller.pid,
        "hosts": [
            {
                "name": host.name,
                "provider_address": host.spec.provider_address,
                "encapsulations": list(host.spec.encapsulations),
                "namespace": host.namespace,
                "agent": found.agent(host).pid,
            }
            for host in found.hosts.values()
        ],
        "guests": [
            {
                "name": guest.name,
                "port": guest.state.port,
                "mac": guest.state.mac,
                "host": guest.state.host,
                "addresses": guest.addresses(),
                "namespace": guest.namespace,
            }
            for guest in found.guests.values()
        ],
    }


def plug_guest(
    guest: str,
    host: str,
    *,
    port: str | None = None,
    mac: str | None = None,
    name: str = DEFAULT_NAME,
    dhcp: bool = True,
) -> Lease | None:
    """Plug a guest into a host, making it first if need be, and let it ask for an address.

    `port` is the networkInterface that it is, `guest` itself unless given; the MAC address is the
    interface's in the controller unless given.
    """
    found = Lab.opened(name)
    with locked(found.run_directory):
        found = Lab.opened(name)
        there = found.host(host)
        if guest not in found.guests:
            port = port or guest
            found.add_guest(guest, mac or _mac_of(found, port), port)
        found.plug(found.guest(guest), there)
    return found.guest(guest).dhcp() if dhcp else None


def unplug_guest(guest: str, *, name: str = DEFAULT_NAME) -> str | None:
    """Take a guest off its host's switch; the host, None where it was on none."""
    found = Lab.opened(name)
    with locked(found.run_directory):
        found = Lab.opened(name)
        host = found.guest(guest).state.host
        found.unplug(found.guest(guest))
        return host


def move_guest(guest: str, host: str, *, name: str = DEFAULT_NAME, live: bool = True) -> None:
    """Move a guest to another host, as `Lab.move`."""
    found = Lab.opened(name)
    with locked(found.run_directory):
        found = Lab.opened(name)
        found.move(found.guest(guest), found.host(host), live=live)


def ping_guest(guest: str, target: str, *, count: int = 3, name: str = DEFAULT_NAME) -> PingResult:
    """Ping `target`, an address or another guest, from a guest."""
    found = Lab.opened(name)
    address = target
    if target in found.guests:
        addresses = found.guest(target).addresses()
        if not addresses:
            raise NotFound(f"guest {target} has no address: isthmus lab plug {target} HOST")
        address = addresses[0]
    return ping(found.guest(guest), address, count=count, interval_s=0.2)


def run_in(node: str, command: Sequence[str], *, name: str = DEFAULT_NAME) -> None:
    """Become `command` in the namespace of a guest, a host, or ``underlay``. Returns only by
    raising.

    In a host, the Open vSwitch tools find the host's switch.
    """
    found = Lab.opened(name)
    extra = {}
    if node in found.hosts:
        switch = found.host(node).switch
        extra = {"OVS_RUNDIR": str(switch.directory)}
    environment = marked_environment(found.run_directory, extra)
    with namespaces.entered(found.namespace(node)):
        try:
            os.execvpe(command[0], list(command), environment)
        except FileNotFoundError as error:
            raise NotFound(f"there is no command {command[0]}") from error


def _start_isthmus(made: Lab, specs: Sequence[HostSpec], listen: str | None) -> None:
    controller = made.start_controller(tcp=listen)
    with Northbound(processes.rest_socket(made.run_directory)) as north:
        north.wait_until_ready(controller)
        for reference, body in resources.fabric("172.31.0.0/24", specs):
            north.put(reference, body)
        for host in made.hosts.values():
            made.start_agent(host)
        wait_until(
            lambda: all(
                resources.configuration_of(server).startswith("Success")
                for server in north.list("/servers")
            ),
            _CONNECTED_S,
            lambda: f"agents do not report to the controller: {made.agent(host).last_words()}",
        )


def _mac_of(found: Lab, port: str) -> str:
    with Northbound(processes.rest_socket(found.run_directory)) as north:
        return resources.mac_of(north.get(f"/networkInterfaces/{port}"))
