# SPDX-License-Identifier: Apache-2.0
"""A guest: a namespace that stands for a virtual machine.

Its ``eth0`` is a bridge of its own with exactly one member, ``nic<n>``, the cable to the switch of
the host where it runs. A move exchanges the member, as a hypervisor exchanges the back end of a
virtual NIC: the guest's MAC address, IP addresses, routes, neighbours and connections never
notice. Frames are captured and forged on the member, where a bridge filters nothing.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from isthmus.addresses import Mac, parse_mac
from isthmus.errors import Unavailable
from isthmus_lab import dhcp, frames, links, namespaces
from isthmus_lab.daemon import marked_environment, start_process
from isthmus_lab.rawsocket import send_frames
from isthmus_lab.state import GuestState
from isthmus_lab.switch import Switch

INTERFACE = "eth0"

ANNOUNCEMENTS_S = (0.0, 0.05, 0.15, 0.3)
"""When a guest that arrives by live migration is announced; QEMU's defaults begin alike (50 ms,
then +100 ms).
"""


class Guest:
    """`state` says where it is; whoever plugs it writes it down (see `Lab`)."""

    def __init__(
        self, state: GuestState, namespace: str, directory: Path, run_directory: Path
    ) -> None:
        self.state = state
        self.namespace = namespace
        self.directory = directory
        self.run_directory = run_directory

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def mac(self) -> Mac:
        return parse_mac(self.state.mac)

    @property
    def nic(self) -> str:
        """The link that carries its frames now."""
        return self.state.link

    @property
    def host_interface(self) -> str:
        """The switch's end of that link, on the host."""
        return self.state.host_interface

    # -- life ------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make it, with its NIC up and nothing plugged in."""
        self.directory.mkdir(parents=True, exist_ok=True)
        namespaces.create(self.namespace)
        links.prepare(self.namespace)
        with links.links_of(self.namespace) as here:
            here.add_bridge(INTERFACE, self.mac)
            here.set_up(INTERFACE)

    def delete(self) -> None:
        namespaces.delete(self.namespace)

    # -- plugging --------------------------------------------------------------------------------

    def add_nic(self, switch: Switch) -> None:
        """A new cable (the one that `state` names) to `switch`, not in use yet; the switch sees
        the port.
        """
        with links.links_of(switch.namespace) as there:
            there.add_veth(self.host_interface, self.namespace, self.nic)
        switch.add_port(self.host_interface, self.state.port, self.state.mac)

    def use_nic(self, before: str | None = None) -> None:
        """Let the guest's traffic go through the current cable and no longer through `before`."""
        with links.links_of(self.namespace) as here:
            if before is not None:
                here.set_master(before, None)
            here.set_master(self.nic, INTERFACE)

    def announce(self) -> None:
        """Gratuitous ARP for all its addresses, as a hypervisor does for a guest that has moved in.

        Takes as long as the last of `ANNOUNCEMENTS_S`.
        """
        announcement = [frames.gratuitous_arp(self.mac, address) for address in self.addresses()]
        start = time.monotonic()
        for moment_s in ANNOUNCEMENTS_S:
            time.sleep(max(0.0, start + moment_s - time.monotonic()))
            send_frames(self.namespace, self.nic, announcement)

    # -- inside ----------------------------------------------------------------------------------

    def addresses(self) -> list[str]:
        with links.links_of(self.namespace) as here:
            return here.addresses(INTERFACE)

    def set_address(self, address: str, prefix_length: int, mtu_bytes: int = 1450) -> None:
        """By hand, for tests without a DHCP server; the MTU is what VXLAN leaves of 1500 bytes."""
        with links.links_of(self.namespace) as here:
            here.set_mtu(INTERFACE, mtu_bytes)
            here.add_address(INTERFACE, address, prefix_length)

    def start_dhcp(self, *, apply: bool = True) -> dhcp.Exchange:
        return dhcp.start_exchange(
            self.name, self.namespace, INTERFACE, self.directory, self.run_directory, apply=apply
        )

    def dhcp(self, *, apply: bool = True) -> dhcp.Lease:
        """Ask for an address and, if `apply`, take it. Raises Unavailable."""
        return self.start_dhcp(apply=apply).finish()

    def run(self, command: Sequence[str], *, timeout_s: float = 30.0) -> str:
        """Run a command in the guest to its end; its standard output. Raises Unavailable when it
        fails.
        """
        with namespaces.entered(self.namespace):
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=marked_environment(self.run_directory),
            )
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise Unavailable(
                f"{self.name}: {' '.join(command)} did not end in {timeout_s} s"
            ) from error
        if process.returncode != 0:
            raise Unavailable(
                f"{self.name}: {' '.join(command)} failed with {process.returncode}:"
                f" {errors.strip()}"
            )
        return output

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command in the guest; its output goes to ``<command>.log`` in the guest's
        directory.
        """
        return start_process(
            command,
            run_directory=self.run_directory,
            namespace=self.namespace,
            log=self.directory / f"{Path(command[0]).name}.log",
        )
