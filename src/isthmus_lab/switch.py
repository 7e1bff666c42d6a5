# SPDX-License-Identifier: Apache-2.0
"""One host's Open vSwitch: its own ovsdb-server and ovs-vswitchd, userspace, in the host's
namespace.

The underlay NIC is a port of ``br-phy`` whose internal port carries the provider address: that is
how a userspace switch finds the route of its tunnels. (A plain host has no such bridge, until its
agent makes one.) ``br-int`` is not made here but by the host's agent.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from isthmus.addresses import Mac, mac_text
from isthmus.errors import Unavailable
from isthmus_lab.daemon import Daemon, marked_environment, start_process
from isthmus_lab.links import links_of

PHYSICAL_BRIDGE = "br-phy"
INTEGRATION_BRIDGE = "br-int"
UNDERLAY_NIC = "eth0"

_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_START_S = 30.0
_NEIGHBOUR_AGING_S = 3600
"""The longest that OVS accepts. A neighbour that is used is kept; the first packet to a forgotten
one is lost.
"""


class Switch:
    """Open vSwitch in `namespace`, with all its files in `directory` (``OVS_RUNDIR``)."""

    def __init__(self, directory: Path, run_directory: Path, namespace: str) -> None:
        self.directory = directory
        self.run_directory = run_directory
        self.namespace = namespace
        self.database_socket = directory / "db.sock"
        self.control_socket = directory / "vswitchd.ctl"
        self.bridge_wait_s = 30.0
        """How long an agent may take to make its bridge."""

    # -- start, in steps: every step but the waits returns at once, so that hosts start side by side

    def start_database(self) -> subprocess.Popen[bytes]:
        """Begin to start ovsdb-server on a new data base; it serves once the returned process has
        ended.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        database = self.directory / "conf.db"
        database.unlink(missing_ok=True)
        self.run(["ovsdb-tool", "create", str(database), _SCHEMA])
        return self._start(self._database_daemon())

    def start_configuration(self, provider_mac: Mac) -> subprocess.Popen[bytes]:
        """Begin to write ``br-phy`` into the data base, in one transaction."""
        return self._spawn(
            [
                *self._vsctl("--no-wait"),
                *("init", "--", "add-br", PHYSICAL_BRIDGE),
                *("--", "set", "bridge", PHYSICAL_BRIDGE, "datapath_type=netdev"),
                f'other-config:hwaddr="{mac_text(provider_mac)}"',
                *("--", "add-port", PHYSICAL_BRIDGE, UNDERLAY_NIC),
                *("--", "set", "Open_vSwitch", ".", f"ovs_version={_version()}"),
            ]
        )

    def start_unconfigured(self) -> subprocess.Popen[bytes]:
        """Begin to make the data base that of a switch without bridges."""
        return self._spawn([*self._vsctl("--no-wait"), "init"])

    def start_forwarding(self) -> subprocess.Popen[bytes]:
        """Begin to start ovs-vswitchd; ``br-phy`` exists once the returned process has ended."""
        return self._start(self._forwarding_daemon())

    def stop_forwarding(self) -> None:
        """Stop ovs-vswitchd alone; its flows and connections are lost, and ``br-phy`` is gone."""
        self._forwarding_daemon().stop()

    def set_provider_address(self, address: str, prefix_length: int, underlay: str) -> None:
        """Give ``br-phy`` its address and wait until the switch has seen the route that comes with
        it.
        """
        with links_of(self.namespace) as links:
            wait_until(
                lambda: links.index(PHYSICAL_BRIDGE) is not None,
                _START_S,
                lambda: f"no interface {PHYSICAL_BRIDGE}; log: {self.directory}/ovs-vswitchd.log",
            )
            links.set_up(PHYSICAL_BRIDGE)
            links.add_address(PHYSICAL_BRIDGE, address, prefix_length)
        wait_until(
            lambda: f"{underlay} dev {PHYSICAL_BRIDGE}" in self.appctl("ovs/route/show"),
            _START_S,
            lambda: (
                f"{self.namespace}: expected a route to {underlay} in ovs/route/show, saw:\n"
                + self.appctl("ovs/route/show")
            ),
        )

    def set_neighbours(self, neighbours: Mapping[str, Mac]) -> None:
        """Tell the switch the MAC addresses of its tunnels' next hops, so that no first packet is
        lost to ARP.
        """
        self.appctl("tnl/neigh/aging", str(_NEIGHBOUR_AGING_S))
        for address, mac in neighbours.items():
            self.appctl("tnl/neigh/set", PHYSICAL_BRIDGE, address, mac_text(mac))

    def kill_database(self) -> None:
        """End its data base's server by SIGKILL, and start it again on the same data, as systemd
        does.
        """
        self._database_daemon().kill()
        finish([(self._start(self._database_daemon()), self)])

    def restart_forwarding(self) -> None:
        """End ovs-vswitchd at once and start another one."""
        self._forwarding_daemon().kill()
        finish([(self.start_forwarding(), self)])

    def signal_forwarding(self, number: signal.Signals) -> None:
        """Send a signal to ovs-vswitchd."""
        self._forwarding_daemon().kill(number)

    def stop(self) -> None:
        self._forwarding_daemon().stop()
        self._database_daemon().stop()

    # -- ports -----------------------------------------------------------------------------------

    def add_port(self, interface: str, port: str, mac: str) -> None:
        """Put `interface` into ``br-int`` as the port `port`, as hypervisors do, and wait until it
        forwards.

        Waits for the agent to make the bridge. Raises Unavailable when there is none in time.
        """
        wait_until(
            lambda: INTEGRATION_BRIDGE in self.vsctl("list-br").split(),
            self.bridge_wait_s,
            lambda: f"{self.namespace} has no {INTEGRATION_BRIDGE}: does its agent run?",
        )
        self.vsctl(
            *("add-port", INTEGRATION_BRIDGE, interface, "--", "set", "Interface", interface),
            f"external_ids:iface-id={port}",
            f'external_ids:attached-mac="{mac}"',
            "external_ids:iface-status=active",
        )

    def remove_port(self, interface: str) -> None:
        self.vsctl("--if-exists", "del-port", INTEGRATION_BRIDGE, interface)

    # -- tools -----------------------------------------------------------------------------------

    def vsctl(self, *arguments: str) -> str:
        return self.run([*self._vsctl(), *arguments])

    def ofctl(self, *arguments: str, flows: str | None = None) -> str:
        """`flows` goes to standard input, for ``add-flows br-int -``."""
        return self.run(["ovs-ofctl", "-O", "OpenFlow15", *arguments], text_input=flows)

    def appctl(self, method: str, *arguments: str) -> str:
        """What ``ovs-appctl`` does, without a fork: JSON-RPC on the control socket."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(_START_S)
            control.connect(str(self.control_socket))
            control.sendall(json.dumps({"id": 0, "method": method, "params": arguments}).encode())
            received = b""
            while (reply := _decoded(received)) is None:
                chunk = control.recv(65536)
                if not chunk:
                    raise Unavailable(f"{self.control_socket} closed without an answer to {method}")
                received += chunk
        if reply.get("error") is not None:
            raise Unavailable(f"{self.namespace}: {method} {' '.join(arguments)}: {reply['error']}")
        return str(reply["result"])

    def run(self, command: Sequence[str], *, text_input: str | None = None) -> str:
        """Run one of Open vSwitch's tools on this switch. Raises Unavailable with what it said."""
        done = subprocess.run(
            list(command),
            env=self._environment(),
            input=text_input,
            stdin=None if text_input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip() or done.stdout.strip()
            raise Unavailable(f"{self.namespace}: {' '.join(command)}: {said}")
        return done.stdout

    def _vsctl(self, *options: str) -> list[str]:
        return ["ovs-vsctl", f"--db=unix:{self.database_socket}", "--timeout=30", *options]

    def _environment(self) -> dict[str, str]:
        directory = str(self.directory)
        return marked_environment(
            self.run_directory,
            {
                "OVS_RUNDIR": directory,
                "OVS_LOGDIR": directory,
                "OVS_DBDIR": directory,
                "OVS_SYSCONFDIR": directory,
            },
        )

    def _start(self, daemon: Daemon) -> subprocess.Popen[bytes]:
        return self._spawn(daemon.command)

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return start_process(
            command,
            run_directory=self.run_directory,
            namespace=self.namespace,
            log=self.directory / "start.log",
            environment=self._environment(),
        )

    def _database_daemon(self) -> Daemon:
        return self._daemon(
            "ovsdb-server",
            str(self.directory / "conf.db"),
            f"--remote=punix:{self.database_socket}",
            f"--unixctl={self.directory}/ovsdb-server.ctl",
        )

    def _forwarding_daemon(self) -> Daemon:
        return self._daemon(
            "ovs-vswitchd",
            f"unix:{self.database_socket}",
            "--disable-system",
            f"--unixctl={self.control_socket}",
        )

    def _daemon(self, name: str, *arguments: str) -> Daemon:
        pid_file = self.directory / f"{name}.pid"
        log = self.directory / f"{name}.log"
        command = (
            *(
                name,
                *arguments,
                "--detach",
                "--no-chdir",
                f"--pidfile={pid_file}",
                f"--log-file={log}",
            ),
            *("-vconsole:off", "-vsyslog:off"),
        )
        return Daemon(name, command, self.run_directory, pid_file, log, self.namespace)


def finish(steps: Sequence[tuple[subprocess.Popen[bytes], Switch]]) -> None:
    """Wait for one step of the start of all switches. Raises Unavailable, when all have ended."""
    problems = [_problem(process, switch) for process, switch in steps]
    if any(problems):
        raise Unavailable("; ".join(filter(None, problems)))


def _problem(process: subprocess.Popen[bytes], switch: Switch) -> str:
    try:
        code = process.wait(_START_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"{_command(process)} did not end in {_START_S} s; logs: {switch.directory}"
    if code == 0:
        return ""
    said = (switch.directory / "start.log").read_text(errors="replace")[-1000:].strip()
    return f"{_command(process)} failed with {code} and said: {said}; logs: {switch.directory}"


def wait_until(condition: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
    """Poll until `condition` holds. Raises Unavailable with `complaint` when it does not in
    `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"waited {seconds:g} s: {complaint()}")
        time.sleep(0.005)


def _command(process: subprocess.Popen[bytes]) -> str:
    arguments = process.args
    return " ".join(map(os.fsdecode, arguments)) if isinstance(arguments, list) else str(arguments)


def _decoded(received: bytes) -> dict[str, object] | None:
    """A JSON-RPC message has no delimiter: it is whole when it parses."""
    try:
        message: dict[str, object] = json.loads(received)
    except ValueError:
        return None
    return message


@cache
def _version() -> str:
    """Of the Open vSwitch here, which its service would write where it starts it."""
    said = subprocess.run(["ovs-vswitchd", "--version"], check=True, capture_output=True, text=True)
    return said.stdout.split("\n", 1)[0].rpartition(" ")[2]
