# SPDX-License-Identifier: Apache-2.0
"""What a lab consists of, as values, and the file that keeps them between commands.

``<directory>/<lab>/state.json`` is written before the thing that it names is made, and replaced
whole: whoever finds it, after a crash as well, knows at least everything that may exist.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from isthmus.addresses import Mac, parse_mac
from isthmus.errors import Invalid

RUN_DIRECTORY = Path("/run/isthmus-lab")
NAMESPACE_PREFIX = "is-"

_LAB_NAME = re.compile(r"[a-z][a-z0-9]{0,15}\Z")
"""No dash: else lab ``a`` with node ``b-c`` and lab ``a-b`` with node ``c`` would share a
namespace.
"""
_NODE_NAME = re.compile(r"[a-z][a-z0-9-]{0,10}\Z")
"""Interfaces are named after nodes, ``<node>.<number>``, and have 15 characters at most."""


def checked_lab_name(name: str) -> str:
    if not _LAB_NAME.match(name):
        raise Invalid(
            f"{name!r} cannot name a lab: use 1 to 16 lower-case letters and digits, a letter first"
        )
    return name


def checked_node_name(name: str) -> str:
    if not _NODE_NAME.match(name) or name == "underlay":
        raise Invalid(
            f"{name!r} cannot name a host or guest: use 1 to 11 lower-case letters, digits and"
            " dashes, a letter first ('underlay' is taken)"
        )
    return name


class HostSpec(msgspec.Struct, frozen=True):
    """A hypervisor to be. `encapsulations` in order of preference; `mtu_bytes` is its underlay's.
    `plain`: its provider address is on the NIC itself, as on a machine that nobody has prepared for
    a userspace switch.
    """

    name: str
    provider_address: str
    encapsulations: tuple[str, ...] = ("vxlan", "nvgre")
    mtu_bytes: int = 1500
    plain: bool = False

    def __post_init__(self) -> None:
        checked_node_name(self.name)
        IPv4Address(self.provider_address)

    @property
    def provider_mac(self) -> Mac:
        """Of the interface that carries the provider address: local bit set, the address inside."""
        return Mac(0x0250 << 32 | int(IPv4Address(self.provider_address)))


class GuestState(msgspec.Struct, frozen=True):
    """A guest and where it is. `nic` counts its plugs, so that each has an interface name of its
    own.
    """

    name: str
    mac: str
    port: str
    host: str | None = None
    nic: int = 0

    def __post_init__(self) -> None:
        checked_node_name(self.name)
        parse_mac(self.mac)

    @property
    def link(self) -> str:
        """The guest's end of the cable that carries its frames now."""
        return f"nic{self.nic}"

    @property
    def host_interface(self) -> str:
        """The switch's end of that cable, on the host."""
        return f"{self.name}.{self.nic}"


class Owner(msgspec.Struct, frozen=True):
    """The process that a lab must not outlive. `started` (clock ticks since boot) tells it from a
    later one.
    """

    pid: int
    started: int


class LabState(msgspec.Struct, frozen=True):
    name: str
    underlay: str = "172.31.0.0/24"
    owner: Owner | None = None
    """None: the lab stays up until somebody takes it down."""
    hosts: tuple[HostSpec, ...] = ()
    guests: tuple[GuestState, ...] = ()
    rest_address: str = ""


def this_process() -> Owner:
    return Owner(os.getpid(), _start_ticks(os.getpid()))


def is_alive(owner: Owner) -> bool:
    try:
        return _start_ticks(owner.pid) == owner.started
    except (FileNotFoundError, ProcessLookupError):
        return False


def load(run_directory: Path) -> LabState | None:
    """The state, or None where no lab is."""
    try:
        return msgspec.json.decode((run_directory / "state.json").read_bytes(), type=LabState)
    except FileNotFoundError:
        return None


def save(run_directory: Path, state: LabState) -> None:
    while not run_directory.is_dir():
        # The last lab of somebody else may just take the common directory along.
        with suppress(FileNotFoundError):
            run_directory.mkdir(parents=True, exist_ok=True)
    path = run_directory / "state.json"
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
    fresh.rename(path)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others who lock `directory` waiting. It is itself the lock, so that no file is left."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _start_ticks(pid: int) -> int:
    # proc(5): field 22, counted from the state that follows the name in parentheses as field 3.
    return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[19])
