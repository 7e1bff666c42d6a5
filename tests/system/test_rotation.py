# SPDX-License-Identifier: Apache-2.0
"""The authority is replaced by the book, while guests ping each other and an operator writes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from isthmus.api.client import Client
from isthmus.errors import IsthmusError
from isthmus_lab import processes, resources
from isthmus_lab.host import Host
from isthmus_lab.lab import Lab
from isthmus_lab.northbound import Northbound
from isthmus_lab.pings import EchoStream
from tests.lab.remains import remains_of, unique_name
from tests.ports import free_ports
from tests.system.cloud import HOSTS, LONGEST_S, Plan, interface, until, virtual_network
from tests.system.relay import Relay

pytestmark = pytest.mark.system

WRITE_EVERY_S = 0.05


def isthmus(*arguments: str | Path) -> tuple[int, str]:
    """The command's exit status, and all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "isthmus.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def succeed(*arguments: str | Path) -> None:
    status, said = isthmus(*arguments)
    assert status == 0, said


class Machines:
    """The folders of certificates: of the first machine, with authority, controller and operator,
    and of each host; what is `issued` for a host is copied there by hand."""

    def __init__(self, folder: Path) -> None:
        self.first = folder / "first"
        self.folder = folder
        succeed("certs", "init", "--folder", self.first)
        at = ("--folder", self.first, "--address", "127.0.0.1")
        succeed("certs", "controller", "c1", *at)
        succeed("certs", "client", "operator", "--folder", self.first)
        for host in ("h1", "h2", "h3"):
            succeed("certs", "host", host, *at, "--into", self.issued(host))
            self.install(self.issued(host), host)

    def issued(self, host: str) -> Path:
        return self.folder / "issued" / host

    def install(self, source: Path, host: str) -> None:
        succeed("certs", "install", source, "--into", self.folder / host)

    def arguments(self, folder: Path, name: str) -> tuple[str, ...]:
        return (
            *("--certificate", str(folder / f"{name}.pem")),
            *("--key", str(folder / f"{name}-key.pem"), "--ca", str(folder / "ca.pem")),
        )

    def give_bundle(self, host: str) -> None:
        bundle = self.folder / "bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "ca.pem").write_bytes((self.first / "ca.pem").read_bytes())
        self.install(bundle, host)


@contextmanager
def writing(url: str, files: Path) -> Iterator[list[str]]:
    """An operator who writes all the time, with the files as they are; what went wrong."""
    problems: list[str] = []
    written: list[int] = []
    stop = threading.Event()

    def go() -> None:
        for number in count():
            if stop.wait(WRITE_EVERY_S):
                return
            try:
                with Client(
                    url,
                    ca=files / "ca.pem",
                    certificate=files / "operator.pem",
                    key=files / "operator-key.pem",
                ) as client:
                    client.put("/servers/spare", {"tags": {"number": str(number)}})
                    written.append(number)
            except IsthmusError as error:
                problems.append(f"write {number}: {error.message}")

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield problems
    finally:
        stop.set()
        thread.join()
    assert written, problems


def connected(north: Northbound, host: Host) -> bool:
    """Whether a host programs what is asked now, and so reads the store."""
    probe = north.raise_probe()
    answered = north.probe(probe["probe"], answered=len(HOSTS) - 1, wait_s=2.0)
    return any(one["host"] == host.name and one["milliseconds"] for one in answered["hosts"])


def test_a_rotation_by_the_book_cuts_off_nobody_and_ends_the_old_authority(tmp_path: Path) -> None:
    machines = Machines(tmp_path)
    rest, south = free_ports(2)
    url = f"https://127.0.0.1:{rest}"
    plans = [Plan(f"p{host.name}", host.name, ((10 + n, ""),)) for n, host in enumerate(HOSTS)]
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(unique_name()))
        lab.up(HOSTS)
        controller = lab.start_controller(
            arguments=(
                *machines.arguments(machines.first, "c1"),
                *("--client-certificate", "operator"),
                *("--store-listen", f"pssl:{south}:127.0.0.1"),
            ),
            tcp=f"127.0.0.1:{rest}",
        )
        north = stack.enter_context(Northbound(processes.rest_socket(lab.run_directory)))
        north.wait_until_ready(controller)
        north.put_all(resources.fabric("172.31.0.0/24", HOSTS))
        relays = {}
        for host in lab.hosts.values():
            relays[host.name] = stack.enter_context(Relay(host.namespace, south))
            lab.start_agent(
                host,
                machines.arguments(machines.folder / host.name, host.name),
                f"ssl:127.0.0.1:{south}",
            )
        north.put_all([virtual_network("red")])
        north.put_all((f"/networkInterfaces/{plan.name}", interface(plan)) for plan in plans)
        guests = []
        for plan in plans:
            found = north.get(f"/networkInterfaces/{plan.name}")
            guest = lab.add_guest(plan.name, resources.mac_of(found), plan.name)
            lab.plug(guest, lab.host(plan.host))
            guest.set_address(f"10.1.1.{plan.addresses[0][0]}", 24)
            guests.append(guest)
        pinging = stack.enter_context(ExitStack())
        streams = [
            pinging.enter_context(
                EchoStream(guests[0], f"10.1.1.{plan.addresses[0][0]}", rate=100, grace_s=5.0)
            )
            for plan in plans[1:]
        ]
        for stream in streams:
            assert stream.wait_for_answers(10, LONGEST_S)
        # What was sent before the peers had each other's flows is not of interest.
        begun = [stream.report.sent for stream in streams]

        at = ("--folder", machines.first)
        retire = (
            "certs",
            "retire",
            *at,
            "--url",
            f"unix:{processes.rest_socket(lab.run_directory)}",
        )
        with writing(url, machines.first) as problems:
            keep = tmp_path / "kept"
            keep.mkdir()
            for file in (tmp_path / "h1").iterdir():
                (keep / file.name).write_bytes(file.read_bytes())

            succeed("certs", "rotate", *at)
            for name in lab.hosts:
                machines.give_bundle(name)
            succeed("certs", "renew", *at)
            status, said = isthmus(*retire)
            assert status != 0
            assert "host h1 uses a certificate that an old one signed" in said
            for name in ("h1", "h2"):
                machines.install(machines.issued(name), name)
            status, said = isthmus(*retire)
            assert status != 0
            assert "h1" not in said
            assert "host h3 uses a certificate that an old one signed" in said
            machines.install(machines.issued("h3"), "h3")
            until(lambda: isthmus(*retire)[0] == 0)
            for name in lab.hosts:
                machines.give_bundle(name)
            # Every host dials again, and the operator has done so all the time.
            for name, host in lab.hosts.items():
                relays[name].cut()
                until(lambda: connected(north, host))  # noqa: B023  # called before the next one
            time.sleep(1.0)
        assert problems == []
        pinging.close()
        for stream, before in zip(streams, begun, strict=True):
            assert [lost for lost in stream.report.lost if lost > before] == []

        # And the old certificate opens nothing any more.
        lab.agent(lab.host("h1")).stop()
        for file in keep.iterdir():
            (tmp_path / "h1" / file.name).write_bytes(file.read_bytes())
        lab.start_agent(
            lab.host("h1"),
            machines.arguments(tmp_path / "h1", "h1"),
            f"ssl:127.0.0.1:{south}",
        )
        log = lab.agent(lab.host("h1")).log
        until(lambda: "certificate verify failed" in log.read_text() or "alert" in log.read_text())
        assert not connected(north, lab.host("h1"))
    assert remains_of(lab.name) == {}
