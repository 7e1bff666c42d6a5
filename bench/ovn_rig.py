# SPDX-License-Identifier: Apache-2.0
"""OVN from Debian with the same ports: its northd, data bases and ovn-controllers on the switches
of a lab of ours.

Ports of simulated hosts are bound as their ovn-controllers would bind them: a Chassis row, and the
Port_Binding's chassis.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import topology
from bench.ovn_rows import (
    NORTH,
    Acl,
    Chassis,
    Encap,
    LogicalRouter,
    LogicalRouterPort,
    LogicalSwitch,
    LogicalSwitchPort,
    NbGlobal,
    PortBinding,
)
from bench.probing import GUEST_ADDRESS, GUEST_MAC, PEER_ADDRESS, PEER_MAC, PEER_PORT, Pair
from bench.topology import HOSTS, Place
from isthmus.errors import Unavailable
from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import Operation, RowId, delete, insert, mutate, named, update
from isthmus_lab import namespaces
from isthmus_lab.daemon import marked_environment
from isthmus_lab.lab import Lab
from isthmus_lab.state import HostSpec

LONGEST_S = 240.0
_SCHEMAS = Path("/usr/share/ovn")


def version() -> str | None:
    """What ovn-controller calls itself, or None where it is not installed."""
    if shutil.which("ovn-controller") is None:
        return None
    told = subprocess.run(["ovn-controller", "--version"], capture_output=True, check=True)
    return told.stdout.decode().splitlines()[0].removeprefix("ovn-controller ")


class OvnRig:
    """OVN on a lab. Its own event loop runs the client's work."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.directory = lab.run_directory / "ovn"
        self._loop = asyncio.new_event_loop()
        self._switches: dict[str, RowId] = {}
        self.north = Connection(
            [f"unix:{self.directory}/nb.sock"], "OVN_Northbound", NORTH, name="ovn north"
        )

    def start(self) -> None:
        self.directory.mkdir()
        for name, schema in (("nb", "ovn-nb"), ("sb", "ovn-sb")):
            database = str(self.directory / f"{name}.db")
            self._run("ovsdb-tool", "create", database, str(_SCHEMAS / f"{schema}.ovsschema"))
            self._daemon(
                *("ovsdb-server", f"--remote=punix:{self.directory}/{name}.sock"),
                *(f"--unixctl={self.directory}/{name}.ctl", database),
                name=name,
            )
        for name, tool in (("nb", "ovn-nbctl"), ("sb", "ovn-sbctl")):
            self._run(tool, f"--db=unix:{self.directory}/{name}.sock", "init")
        self._daemon(
            "ovn-northd",
            f"--ovnnb-db=unix:{self.directory}/nb.sock",
            f"--ovnsb-db=unix:{self.directory}/sb.sock",
            f"--unixctl={self.directory}/northd.ctl",
            name="northd",
        )
        for host in self.lab.hosts.values():
            host.switch.vsctl(
                *("set", "open", ".", f"external_ids:system-id={host.name}"),
                f"external_ids:ovn-remote=unix:{self.directory}/sb.sock",
                "external_ids:ovn-encap-type=geneve",
                f"external_ids:ovn-encap-ip={host.spec.provider_address}",
            )
            # OVN would make it of the kernel's kind, which is not here.
            host.switch.vsctl(
                *("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev"),
                "fail_mode=secure",
            )
            self.start_controller(host.name)
        self._await(self.north.start())
        self._await(self.north.loaded(30))

    def start_controller(self, name: str) -> None:
        host = self.lab.host(name)
        self._daemon(
            *("ovn-controller", f"unix:{host.switch.database_socket}"),
            name=f"controller-{name}",
            namespace=host.namespace,
            run_directory=host.switch.directory,
        )

    def stop_controller(self, name: str) -> None:
        """Killed, so that its flows and its chassis stay."""
        pid = (self.directory / f"controller-{name}.pid").read_text().strip()
        self._run("kill", "-9", pid)
        until = time.monotonic() + 5
        while Path(f"/proc/{pid}/fd").exists() and time.monotonic() < until:
            time.sleep(0.01)

    def close(self) -> None:
        self._await(self.north.stop())
        self._loop.close()

    # -- the same as bench.isthmus_rig.Rig ---------------------------------------------------------

    def furnish(self, n_ports: int) -> None:
        for network in topology.networks(n_ports):
            operations: list[Operation] = []
            legs = []
            for number, subnet in enumerate(("s0", "s1")):
                switch = f"{network}-{subnet}"
                leg = LogicalRouterPort(
                    name=f"r-{switch}",
                    mac=f"02:00:03:00:00:{number:02x}",
                    networks=(f"10.1.{number}.1/24",),
                )
                plug = LogicalSwitchPort(
                    name=f"{switch}-r",
                    type="router",
                    addresses=("router",),
                    options={"router-port": leg.name},
                )
                operations += [
                    insert(leg.TABLE, leg, f"leg{number}"),
                    insert(plug.TABLE, plug, f"plug{number}"),
                    insert(
                        LogicalSwitch.TABLE,
                        LogicalSwitch(name=switch, ports=frozenset([named(f"plug{number}")])),
                    ),
                ]
                legs.append(named(f"leg{number}"))
            router = LogicalRouter(name=network, ports=frozenset(legs))
            self._transact([*operations, insert(router.TABLE, router)])
        switches = self.north.table(LogicalSwitch)
        self._switches = {row.name: row_id for row_id, row in switches.items()}

    def plug(self, places: Sequence[Place]) -> None:
        for host in HOSTS:
            mine = [place for place in places if place.plugged and place.host == host]
            for start in range(0, len(mine), 25):
                arguments: list[str] = []
                for place in mine[start : start + 25]:
                    name = f"i{place.name}"
                    arguments += ["--", "add-port", "br-int", name, "--"]
                    arguments += ["set", "interface", name, "type=internal"]
                    arguments += [f"external_ids:iface-id={place.name}"]
                self.lab.host(host).switch.vsctl(*arguments[1:])

    def create(self, places: Sequence[Place]) -> None:
        for start in range(0, len(places), 100):
            operations: list[Operation] = []
            for place in places[start : start + 100]:
                switch = self._switches[f"{place.network}-{place.subnet}"]
                operations += self._port(switch, place.name, place.mac, place.address)
            self._transact(operations)

    def _port(self, switch: RowId, name: str, mac: str, address: str) -> list[Operation]:
        told = f"{mac} {address}"
        row = LogicalSwitchPort(name=name, addresses=(told,), port_security=(told,))
        added = frozenset([named(f"p_{name.replace('-', '_')}")])
        return [
            insert(row.TABLE, row, f"p_{name.replace('-', '_')}"),
            mutate(LogicalSwitch.TABLE, switch, [("ports", "insert", added)]),
        ]

    def settle(self) -> float:
        """``ovn-nbctl --wait=hv sync``; seconds.

        Simulated hosts are not waited for: they have no Chassis_Private, from which northd counts.
        """
        started = time.perf_counter()
        (row_id,) = self.north.table(NbGlobal)
        self._transact([mutate(NbGlobal.TABLE, row_id, [("nb_cfg", "+=", 1)])])
        wanted = self.north.table(NbGlobal)[row_id].nb_cfg
        while self.north.table(NbGlobal)[row_id].hv_cfg < wanted:
            self._await(asyncio.sleep(0.001))
            if time.perf_counter() > started + LONGEST_S:
                raise TimeoutError("OVN's hosts do not answer")
        return time.perf_counter() - started

    def claim(self, places: Sequence[Place]) -> None:
        """Bind the ports of the simulated hosts."""
        self._await(self._claim([place for place in places if not place.plugged]))
        self.settle()

    async def _claim(self, places: Sequence[Place]) -> None:
        south = Connection(
            [f"unix:{self.directory}/sb.sock"],
            "OVN_Southbound",
            (Chassis, Encap, PortBinding),
            name="simulated hosts",
        )
        await south.start()
        await south.loaded(60)
        for number in range(topology.SIMULATED_HOSTS):
            name = f"s{number}"
            encap = Encap(ip=f"172.31.1.{number + 1}", chassis_name=name)
            chassis = Chassis(name=name, hostname=name, encaps=frozenset([named("e")]))
            await south.transact([insert(encap.TABLE, encap, "e"), insert(chassis.TABLE, chassis)])
        hosts = {row.name: row_id for row_id, row in south.table(Chassis).items()}
        rows = {row.logical_port: row_id for row_id, row in south.table(PortBinding).items()}
        for start in range(0, len(places), 100):
            await south.transact(
                [
                    update(
                        PortBinding.TABLE,
                        rows[place.name],
                        PortBinding(chassis=hosts[place.host]),
                        ["chassis"],
                    )
                    for place in places[start : start + 100]
                ],
                timeout_s=60,
            )
        await south.stop()

    def put_probe(self, name: str) -> None:
        self._transact(self._port(self._switches["net0-s0"], name, GUEST_MAC, GUEST_ADDRESS))

    def put_port(self, name: str, address: str, mac: str) -> None:
        """One more port of the first subnet."""
        self._transact(self._port(self._switches["net0-s0"], name, mac, address))

    def enforce(self, match: str) -> None:
        """Stateful rules on the first subnet: what matches, and whatever guests open; else
        nothing."""
        rules = [
            Acl(priority=1000, direction="to-lport", match=match, action="allow-related"),
            Acl(priority=1, direction="to-lport", match="ip", action="drop"),
            Acl(priority=1000, direction="from-lport", match="ip", action="allow-related"),
        ]
        operations = [insert(Acl.TABLE, rule, f"a{n}") for n, rule in enumerate(rules)]
        added = frozenset(named(f"a{n}") for n in range(len(rules)))
        switch = self._switches["net0-s0"]
        operations.append(mutate(LogicalSwitch.TABLE, switch, [("acls", "insert", added)]))
        self._transact(operations)

    def delete(self, name: str) -> None:
        switch = self._switches["net0-s0"]
        for row_id, row in self.north.table(LogicalSwitchPort).items():
            if row.name == name:
                gone = frozenset([row_id])
                self._transact(
                    [
                        mutate(LogicalSwitch.TABLE, switch, [("ports", "delete", gone)]),
                        delete(LogicalSwitchPort.TABLE, row_id),
                    ]
                )
                return

    def pair(self) -> Pair:
        switch = self._switches["net0-s0"]
        self._transact(self._port(switch, PEER_PORT, PEER_MAC, PEER_ADDRESS))
        return Pair(self.lab)

    # -- hands -------------------------------------------------------------------------------------

    def _transact(self, operations: list[Operation]) -> None:
        self._await(self.north.transact(operations, timeout_s=60))

    def _await(self, work: object) -> None:
        self._loop.run_until_complete(work)  # type: ignore[arg-type]  # any coroutine

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def _daemon(
        self,
        *command: str,
        name: str,
        namespace: str | None = None,
        run_directory: Path | None = None,
    ) -> None:
        tool, *arguments = command
        environment = marked_environment(self.lab.run_directory)
        environment["OVN_RUNDIR"] = str(self.directory)
        if run_directory is not None:
            environment["OVS_RUNDIR"] = str(run_directory)
        log = f"--log-file={self.directory}/{name}.log"
        pid = f"--pidfile={self.directory}/{name}.pid"
        quiet = ("-vconsole:off", "-vfile:warn")
        whole = [tool, "--detach", "--no-chdir", *quiet, log, pid, *arguments]
        if namespace is None:
            done = subprocess.run(whole, capture_output=True, env=environment, timeout=60)
        else:
            with namespaces.entered(namespace):
                done = subprocess.run(whole, capture_output=True, env=environment, timeout=60)
        if done.returncode:
            raise Unavailable(f"{tool} does not start: {done.stderr.decode()}")


@contextmanager
def ovn_rig(
    n_ports: int, *, plugged: bool = True, created: bool = True, claimed: bool = True
) -> Iterator[OvnRig]:
    """A rig with N ports, bound and installed."""
    found = list(topology.places(n_ports))
    with Lab("benchovn") as lab:
        lab.up([HostSpec(name, f"172.31.0.{n}") for n, name in enumerate(HOSTS, 1)])
        rig = OvnRig(lab)
        try:
            rig.start()
            rig.furnish(n_ports)
            if plugged:
                rig.plug(found)
            if created:
                rig.create(found)
            rig.settle()
            if created and claimed:
                rig.claim(found)
            yield rig
        finally:
            rig.close()
