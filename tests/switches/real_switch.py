# SPDX-License-Identifier: Apache-2.0
"""An Open vSwitch for one test: its own daemons, userspace, in a network namespace of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from isthmus.switches.ovs.connection import Connection
from isthmus.wire.openflow_packets import PacketIn
from isthmus_lab import namespaces
from isthmus_lab.links import links_of

BRIDGE = "br-test"
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_LONGEST_S = 60.0


class RealSwitch:
    """Runs between ``with``. `directory` holds its sockets: its path must be short."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.management_socket = directory / f"{BRIDGE}.mgmt"
        self._namespace = f"sw-{uuid4().hex[:8]}"

    def __enter__(self) -> RealSwitch:
        namespaces.create(self._namespace)
        try:
            self._run("ovsdb-tool", "create", str(self.directory / "conf.db"), _SCHEMA)
            database = (str(self.directory / "conf.db"), f"--remote=punix:{self.directory}/db.sock")
            self._start("ovsdb-server", *database)
            self.vsctl("--no-wait", "init")
            self.start_forwarding()
            bridge = ("set", "bridge", BRIDGE, "datapath_type=netdev", "fail_mode=secure")
            self.vsctl("add-br", BRIDGE, "--", *bridge)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for daemon in ("ovs-vswitchd", "ovsdb-server"):
            self._stop(daemon)
        namespaces.delete(self._namespace)

    def start_forwarding(self) -> None:
        self._start("ovs-vswitchd", f"unix:{self.directory}/db.sock", "--disable-system")

    def stop_forwarding(self) -> None:
        """Kill ovs-vswitchd; its flows are lost."""
        self._stop("ovs-vswitchd")

    def halt_forwarding(self) -> None:
        """Let ovs-vswitchd answer nothing more, until it is stopped."""
        os.kill(int(self._pid_file("ovs-vswitchd").read_text()), signal.SIGSTOP)

    def add_port(self, name: str, number: int) -> None:
        """An internal port: a NIC in the switch's namespace, up."""
        interface = ("set", "interface", name, "type=internal", f"ofport_request={number}")
        self.vsctl("add-port", BRIDGE, name, "--", *interface)
        namespaces.set_sysctl(self._namespace, f"ipv6/conf/{name}/disable_ipv6", "1")
        with links_of(self._namespace) as links:
            links.set_up(name)

    def packet_socket(self, port: str) -> socket.socket:
        """Sends and receives whole frames on an internal port, with a timeout."""
        all_protocols = 0x0300  # ETH_P_ALL in network byte order
        with namespaces.entered(self._namespace):
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, all_protocols)
        opened.bind((port, 0x0003))
        opened.settimeout(_LONGEST_S)
        return opened

    def vsctl(self, *arguments: str) -> str:
        return self._run("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", *arguments)

    def ofctl(self, *arguments: str, text: str | None = None) -> str:
        """`text` goes to standard input."""
        return self._run("ovs-ofctl", "-O", "OpenFlow14", *arguments, text=text)

    def appctl(self, *arguments: str) -> str:
        """A command of ovs-vswitchd."""
        return self._run("ovs-appctl", f"--target={self.directory}/ovs-vswitchd.ctl", *arguments)

    def _run(self, *command: str, text: str | None = None) -> str:
        done = subprocess.run(
            command, env=self._environment(), input=text, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def _start(self, daemon: str, *arguments: str) -> None:
        control = f"--unixctl={self.directory}/{daemon}.ctl"
        files = (f"--pidfile={self._pid_file(daemon)}", f"--log-file={self.directory}/{daemon}.log")
        with namespaces.entered(self._namespace):
            self._run(
                daemon, *arguments, control, *files, "--detach", "--no-chdir", "-vconsole:off"
            )

    def _stop(self, daemon: str) -> None:
        pid_file = self._pid_file(daemon)
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _LONGEST_S
        while _runs(pid):
            assert time.monotonic() < deadline, f"{daemon} does not end"
            time.sleep(0.01)
        pid_file.unlink()

    def _pid_file(self, daemon: str) -> Path:
        return self.directory / f"{daemon}.pid"

    def _environment(self) -> dict[str, str]:
        directory = str(self.directory)
        names = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        return {**os.environ, **dict.fromkeys(names, directory)}


def _runs(pid: int) -> bool:
    """Whether the process is there, and not only waits to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@asynccontextmanager
async def connected(
    switch: RealSwitch,
    on_packet_in: Callable[[PacketIn], None] = lambda packet: None,
    on_connected: Callable[[], None] = lambda: None,
) -> AsyncIterator[Connection]:
    connection = Connection(
        switch.management_socket, on_connected=on_connected, on_packet_in=on_packet_in
    )
    running = asyncio.create_task(connection.run())
    try:
        await until(lambda: connection.connected)
        yield connection
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + _LONGEST_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
