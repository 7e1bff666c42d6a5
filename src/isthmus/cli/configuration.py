# SPDX-License-Identifier: Apache-2.0
"""The configuration file, ``/etc/isthmus/isthmus.toml``: one for the daemons and the client of a
machine. Options of a command override it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec

from isthmus.errors import Invalid, NotFound

DEFAULT_FILE = Path("/etc/isthmus/isthmus.toml")
ENVIRONMENT = "ISTHMUS_CONFIG"


_Count = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the sections: a key that is not known is a mistake."""


class Tls(_Part, frozen=True):
    """PEM files: what one proves oneself with, and whom one trusts."""

    certificate: str = ""
    key: str = ""
    ca: str = ""


class Controller(_Part, frozen=True):
    """``[controller]``. Empty `north` and `south`: embedded servers. `tls` is known to hosts,
    `north_tls` to the servers and users of the north store alone."""

    name: str = ""
    data_directory: str = "/var/lib/isthmus"
    run_directory: str = "/run/isthmus"
    listen: tuple[str, ...] = ("unix:/run/isthmus/rest.sock",)
    tls: Tls = Tls()
    north_tls: Tls = Tls()
    client_certificates: tuple[str, ...] = ()
    users: str = ""
    north: tuple[str, ...] = ()
    south: tuple[str, ...] = ()
    store_listen: tuple[str, ...] = ()
    underlay_mtu_bytes: int = 1500
    transports: tuple[str, ...] = ("vxlan", "nvgre")


class Agent(_Part, frozen=True):
    """``[agent]``. Limits of connections and fragments are as in `switches.ovs.facts.Limits`; 0 is
    none."""

    host: str = ""
    south: tuple[str, ...] = ("unix:/run/isthmus/south.sock",)
    switch: str = "unix:/run/openvswitch/db.sock"
    switch_run_directory: str = "/run/openvswitch"
    provider_address: str = ""
    encapsulations: tuple[str, ...] = ("vxlan", "nvgre")
    run_directory: str = "/run/isthmus-agent"
    bridge: str = "br-int"
    datapath_type: str = ""
    underlay_interface: str = ""
    metrics: str = ""
    connections_per_network: _Count = 200_000
    new_connections_per_port: _Count = 1_000
    new_connections_burst: _Count = 20_000
    fragments_per_port: _Count = 50
    fragments_burst: _Count = 500
    tls: Tls = Tls()


class Client(_Part, frozen=True):
    """``[client]``: how commands reach a controller."""

    url: str = "unix:/run/isthmus/rest.sock"
    tls: Tls = Tls()
    user: str = ""


class Configuration(_Part, frozen=True):
    """The whole file."""

    controller: Controller = Controller()
    agent: Agent = Agent()
    client: Client = Client()


def configuration_file() -> Path:
    """The file that is read where none is named."""
    return Path(os.environ.get(ENVIRONMENT, DEFAULT_FILE))


def load(path: Path | None = None) -> Configuration:
    """The file named, or by the environment, or the usual one; defaults where that is missing.

    Raises NotFound for a file that was named and is missing, Invalid with the key at fault.
    """
    named = path or (Path(os.environ[ENVIRONMENT]) if ENVIRONMENT in os.environ else None)
    file = named or DEFAULT_FILE
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        if named is None:
            return Configuration()
        raise NotFound(f"there is no configuration file {file}", target=str(file)) from error
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}", target=str(file)) from error
    try:
        return msgspec.toml.decode(content, type=Configuration)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{file}: {error}", target=str(file)) from error
