# SPDX-License-Identifier: Apache-2.0
"""A cloud on one machine: hosts, guests, and the processes of Isthmus between them.

A lab belongs to the process that made it, and ends with it, unless it is released (as ``isthmus lab
up`` does)::

    with Lab("trial") as lab:
        lab.up([HostSpec("h1", "172.31.0.1"), HostSpec("h2", "172.31.0.2")])

Everything of it lies in one directory, in namespaces named ``is-<lab>-…``, and in processes that
carry its mark; `Lab.down` ends exactly these, in whatever state the lab is, and in any process:
the state is in the directory.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path
from types import FrameType, TracebackType

import msgspec

from isthmus.addresses import mac_text, parse_mac
from isthmus.errors import Conflict, NotFound, Unavailable
from isthmus_lab import namespaces, prerequisites, processes, state
from isthmus_lab.daemon import Daemon, end_all
from isthmus_lab.guest import Guest
from isthmus_lab.host import Host, start_switches
from isthmus_lab.state import GuestState, HostSpec, LabState
from isthmus_lab.switch import Switch
from isthmus_lab.underlay import Stranger, Underlay

_GRACE_S = 3.0


class Lab:
    """A lab by name. Making the object touches nothing; `up` makes the lab, `opened` finds one
    that is up.
    """

    def __init__(self, name: str = "lab", directory: Path = state.RUN_DIRECTORY) -> None:
        self.name = state.checked_lab_name(name)
        self.run_directory = directory / name
        self.underlay = Underlay(self.namespace("underlay"))
        self.hosts: dict[str, Host] = {}
        self.guests: dict[str, Guest] = {}
        self._state = LabState(name)
        self._owned = False
        self._told_to_end: signal.Signals | None = None
        self._restore = ExitStack()

    @classmethod
    def opened(cls, name: str = "lab", directory: Path = state.RUN_DIRECTORY) -> Lab:
        """The lab that another process started. Raises NotFound."""
        lab = cls(name, directory)
        found = state.load(lab.run_directory)
        if found is None:
            raise NotFound(
                f"no lab {name!r} is up (there is no {lab.run_directory}); try: isthmus lab up"
            )
        lab._adopt(found)
        return lab

    def namespace(self, node: str) -> str:
        return f"{state.NAMESPACE_PREFIX}{self.name}-{node}"

    # -- up and down -----------------------------------------------------------------------------

    def up(self, hosts: Sequence[HostSpec]) -> None:
        """Make the underlay and the hosts, with their switches running and connected.

        The lab is this process's until it is released. What a dead owner left of a lab of this
        name is removed first; one that is alive is not touched. Raises Unavailable; then nothing
        is left.
        """
        if problem := prerequisites.missing():
            raise Unavailable(problem)
        fresh = LabState(self.name, owner=state.this_process(), hosts=tuple(hosts))
        with state.locked(self.run_directory.parent.parent):
            self.refuse_if_up()
            self.down()
            state.save(self.run_directory, fresh)
            self._owned = True
        try:
            atexit.register(self._down_at_exit, os.getpid())
            self._adopt(fresh)
            self.underlay.create()
            for host in self.hosts.values():
                self._end_if_told()
                host.create(self.underlay)
            self._end_if_told()
            start_switches(list(self.hosts.values()), IPv4Network(fresh.underlay))
            self._end_if_told()
        except BaseException:
            self.down()
            raise

    def release(self) -> None:
        """Let the lab outlive this process, until somebody takes it down."""
        self._state = msgspec.structs.replace(self._state, owner=None)
        self._save()
        self._owned = False
        atexit.unregister(self._down_at_exit)

    def down(self) -> None:
        """End the lab: its processes, namespaces and files, and nothing else. Absent is success.

        Signals that would interrupt it are held back until it is done.
        """
        with _uninterrupted():
            end_all(self.run_directory, _GRACE_S)
            for namespace in namespaces.existing(self.namespace("")):
                namespaces.delete(namespace)
            shutil.rmtree(self.run_directory, ignore_errors=True)
            with suppress(OSError):
                self.run_directory.parent.rmdir()  # the last lab takes the common directory along
            atexit.unregister(self._down_at_exit)
            self.hosts.clear()
            self.guests.clear()

    def refuse_if_up(self) -> None:
        """Raises Conflict when a lab of this name is up, unless its owner is dead."""
        found = state.load(self.run_directory)
        if found is not None and (found.owner is None or state.is_alive(found.owner)):
            whose = "" if found.owner is None else f", by process {found.owner.pid}"
            raise Conflict(
                f"lab {self.name!r} is up already{whose};"
                f" to end it: isthmus lab down --name {self.name}"
            )

    def __enter__(self) -> Lab:
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGTERM, signal.SIGHUP]
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                numbers.append(signal.SIGINT)  # else it is ignored, or somebody else's
            for number in numbers:
                before = signal.signal(number, self._leave)
                self._restore.callback(signal.signal, number, before)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._owned:
                self.down()
        finally:
            self._restore.close()

    # -- guests ----------------------------------------------------------------------------------

    def add_guest(self, name: str, mac: str, port: str) -> Guest:
        """A guest whose NIC has `mac` and belongs to `port` (a networkInterface's resource id),
        not plugged.
        """
        if name in self.guests or name in self.hosts:
            raise Unavailable(f"the lab has a {name} already")
        guest = self._guest(GuestState(name, mac_text(parse_mac(mac)), port))
        self.guests[name] = guest
        self._save()
        guest.create()
        self._end_if_told()
        return guest

    def remove_guest(self, guest: Guest) -> None:
        self.unplug(guest)
        guest.delete()
        del self.guests[guest.name]
        self._save()

    def plug(self, guest: Guest, host: Host) -> None:
        """Connect the guest's NIC to the host's ``br-int`` as its port.

        Returns when the switch forwards, which is not yet when the agent has programmed it. Waits
        up to half a minute for the agent to make ``br-int``. Plugged there already is success.
        Raises Unavailable.
        """
        if guest.state.host == host.name:
            return
        if guest.state.host is not None:
            raise Unavailable(
                f"guest {guest.name} is on {guest.state.host}: move it, or unplug it first"
            )
        self._connect(guest, host)
        guest.use_nic()

    def unplug(self, guest: Guest) -> None:
        """Take the guest off its host's switch. Not plugged is success."""
        if guest.state.host is not None:
            self._disconnect(self.host(guest.state.host), guest.host_interface)
            guest.state = msgspec.structs.replace(guest.state, host=None)
            self._save()

    def move(self, guest: Guest, host: Host, *, live: bool = True) -> None:
        """Take the guest to `host`, with its addresses and connections.

        `live` is what a hypervisor does: the port exists on both switches, then the guest's
        traffic changes over and the guest is announced by gratuitous ARP, then the old port goes.
        Else the old port goes first.
        """
        old = guest.state
        if old.host is None or old.host == host.name:
            self.plug(guest, host)
            return
        if not live:
            self.unplug(guest)
        self._connect(guest, host)
        guest.use_nic(before=old.link if live else None)
        guest.announce()
        if live:
            self._disconnect(self.host(old.host), old.host_interface)

    def host(self, name: str) -> Host:
        if name not in self.hosts:
            raise NotFound(f"the lab has no host {name}; it has: {', '.join(sorted(self.hosts))}")
        return self.hosts[name]

    def guest(self, name: str) -> Guest:
        if name not in self.guests:
            raise NotFound(
                f"the lab has no guest {name}; it has: {', '.join(sorted(self.guests)) or 'none'}"
            )
        return self.guests[name]

    def add_stranger(self, name: str, provider_address: str) -> Stranger:
        """A machine on the underlay that is no host of ours."""
        state.checked_node_name(name)
        spec = HostSpec(name, provider_address)
        stranger = Stranger(self.namespace(name), provider_address, spec.provider_mac)
        stranger.create(self.underlay, name)
        return stranger

    # -- Isthmus ---------------------------------------------------------------------------------

    def controller(
        self, name: str = "controller", arguments: Sequence[str] = (), tcp: str | None = None
    ) -> Daemon:
        """A controller of the lab, whether it runs or not (see `processes.controller`)."""
        return processes.controller(self.run_directory, name, arguments, tcp)

    def agent(self, host: Host, arguments: Sequence[str] = (), south: str | None = None) -> Daemon:
        """The agent of a host, whether it runs or not (see `processes.agent`)."""
        return processes.agent(self.run_directory, host, arguments, south)

    def start_controller(
        self, name: str = "controller", arguments: Sequence[str] = (), tcp: str | None = None
    ) -> Daemon:
        daemon = self.controller(name, arguments, tcp)
        daemon.start()
        return daemon

    def start_agent(
        self, host: Host, arguments: Sequence[str] = (), south: str | None = None
    ) -> Daemon:
        daemon = self.agent(host, arguments, south)
        daemon.start()
        return daemon

    def save_logs(self, destination: Path) -> None:
        """Copy the lab's logs and state, for a reader after its end."""
        for path in sorted(self.run_directory.rglob("*")):
            if path.suffix in (".log", ".json"):
                copy = destination / path.relative_to(self.run_directory)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)

    # -- inside ----------------------------------------------------------------------------------

    def _adopt(self, found: LabState) -> None:
        self._state = found
        for spec in found.hosts:
            namespace = self.namespace(spec.name)
            switch = Switch(self.run_directory / spec.name, self.run_directory, namespace)
            self.hosts[spec.name] = Host(spec, namespace, switch)
        self.guests.update((guest.name, self._guest(guest)) for guest in found.guests)

    def _guest(self, guest: GuestState) -> Guest:
        directory = self.run_directory / "guests" / guest.name
        return Guest(guest, self.namespace(guest.name), directory, self.run_directory)

    def _connect(self, guest: Guest, host: Host) -> None:
        """One more cable to the guest, not in use yet. If it fails, all is as before."""
        before = guest.state
        guest.state = msgspec.structs.replace(before, host=host.name, nic=before.nic + 1)
        try:
            guest.add_nic(host.switch)
        except BaseException:
            host.remove_link(guest.host_interface)
            guest.state = before
            raise
        self._save()
        self._end_if_told()

    def _disconnect(self, host: Host, interface: str) -> None:
        host.switch.remove_port(interface)
        host.remove_link(interface)

    def _save(self) -> None:
        guests = tuple(guest.state for _, guest in sorted(self.guests.items()))
        self._state = msgspec.structs.replace(self._state, guests=guests)
        state.save(self.run_directory, self._state)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        self._told_to_end = signal.Signals(number)
        self._end_if_told()

    def _end_if_told(self) -> None:
        """Raise what a signal has raised before. pyroute2 catches everything while it decodes
        messages, and takes the end of the process for a mistake in one of them."""
        match self._told_to_end:
            case None:
                return
            case signal.SIGINT:
                raise KeyboardInterrupt
            case number:
                raise SystemExit(128 + number)

    def _down_at_exit(self, owner: int) -> None:
        if os.getpid() == owner:  # not in a child that was forked
            self.down()


def end_abandoned(directory: Path = state.RUN_DIRECTORY) -> list[str]:
    """End the labs whose owner is dead (by SIGKILL, say); their names."""
    ended = []
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        found = state.load(path)
        if found is not None and found.owner is not None and not state.is_alive(found.owner):
            Lab(found.name, directory).down()
            ended.append(found.name)
    return ended


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
