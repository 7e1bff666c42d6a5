# SPDX-License-Identifier: Apache-2.0
"""Guests get their addresses as real ones do: by busybox's udhcpc, one exchange each, side by
side.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import Unavailable
from isthmus_lab.daemon import start_process

_SCRIPT = Path(__file__).with_name("udhcpc-script")
_TRIES = 30
_TRY_S = 1


@dataclass(frozen=True, slots=True)
class Lease:
    """What a DHCP server gave. `routes` are (destination, next hop) of option 121."""

    address: str
    prefix_length: int
    routers: tuple[str, ...]
    dns: tuple[str, ...]
    mtu_bytes: int | None
    routes: tuple[tuple[str, str], ...]
    server: str
    lease_s: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """A DHCP exchange under way. `finish` it."""

    client: subprocess.Popen[bytes]
    guest: str
    directory: Path

    def finish(self) -> Lease:
        """The lease. Raises Unavailable with the client's own words when none was given."""
        log = self.directory / "udhcpc.log"
        try:
            code = self.client.wait(_TRIES * _TRY_S + 10)
        except subprocess.TimeoutExpired:
            self.client.kill()
            self.client.wait()
            code = -1
        lease = self.directory / "lease"
        if code != 0 or not lease.exists():
            said = log.read_text(errors="replace")[-500:].strip()
            raise Unavailable(
                f"guest {self.guest}: expected a DHCP lease within {_TRIES * _TRY_S} s, got none;"
                f" its client (log: {log}) said: {said}"
            )
        return read_lease(lease.read_text())


def start_exchange(
    guest: str, namespace: str, interface: str, directory: Path, run_directory: Path, *, apply: bool
) -> Exchange:
    """Send the first DISCOVER. Unless `apply`, the guest keeps its configuration whatever comes."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in ("lease", "udhcpc.log"):
        (directory / old).unlink(missing_ok=True)
    # An installed package's data file need not be executable; the copy is.
    script = directory / _SCRIPT.name
    shutil.copyfile(_SCRIPT, script)
    script.chmod(0o755)
    client = ["udhcpc"] if shutil.which("udhcpc") else ["busybox", "udhcpc"]
    command = [
        *(*client, "-i", interface, "-f", "-q", "-n", "-t", str(_TRIES), "-T", str(_TRY_S)),
        *("-s", str(script), "-O", "mtu", "-O", "staticroutes"),
    ]
    environment = {"LEASE_DIRECTORY": str(directory), "LEASE_ONLY": "" if apply else "1"}
    process = start_process(
        command,
        run_directory=run_directory,
        namespace=namespace,
        log=directory / "udhcpc.log",
        environment=environment,
    )
    return Exchange(process, guest, directory)


def read_lease(environment: str) -> Lease:
    """The lease in the environment that udhcpc gives its script, one ``name=value`` a line."""
    values: Mapping[str, str] = dict(
        line.split("=", 1) for line in environment.splitlines() if "=" in line
    )
    pairs = values.get("staticroutes", "").split()
    return Lease(
        address=values["ip"],
        prefix_length=int(values.get("mask", "32")),
        routers=tuple(values.get("router", "").split()),
        dns=tuple(values.get("dns", "").split()),
        mtu_bytes=int(values["mtu"]) if "mtu" in values else None,
        routes=tuple(zip(pairs[::2], pairs[1::2], strict=True)),
        server=values.get("serverid", ""),
        lease_s=int(values.get("lease", "0")),
    )
