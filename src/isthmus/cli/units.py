# SPDX-License-Identifier: Apache-2.0
"""systemd's units for the daemons (systemd.service(5)).

The packages carry them, and ``isthmus init`` and ``isthmus join`` write them where Isthmus comes
from no package. Nothing enables them but those two commands, and they start nothing on a machine
that has no configuration.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGED_PREFIX = Path("/usr/lib/isthmus")
"""``sys.prefix`` of the virtual environment that the package `isthmus` is."""

_FOLDERS = (Path("usr/lib/systemd/system"), Path("lib/systemd/system"))
"""Where packages put units (systemd.unit(5)); the second where /lib is no link to usr/lib."""

_TEXT = {
    "controller": """\
[Unit]
Description=Isthmus network controller
After=network-online.target
Wants=network-online.target
ConditionPathExists=/etc/isthmus/isthmus.toml
# However often it fails: what is in its way, a full disk say, may be out of it a day later.
StartLimitIntervalSec=0

[Service]
ExecStart=@COMMAND@ controller
# The stores' servers outlive the controller: hosts read on while it restarts.
KillMode=process
Restart=always
RestartSec=1
# Clients, of whom docs/security.md says how many there may be, and the stores.
LimitNOFILE=65536
RuntimeDirectory=isthmus
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
StateDirectory=isthmus
StateDirectoryMode=0700

[Install]
WantedBy=multi-user.target
""",
    "agent": """\
[Unit]
Description=Isthmus agent for Open vSwitch
After=network-online.target openvswitch-switch.service
Wants=network-online.target openvswitch-switch.service
ConditionPathExists=/etc/isthmus/isthmus.toml
# However often it fails: what is in its way, a full disk say, may be out of it a day later.
StartLimitIntervalSec=0

[Service]
ExecStart=@COMMAND@ agent
Restart=always
RestartSec=1
# What it opens is bounded (docs/security.md); the reserve is for what answers of the switch need.
LimitNOFILE=65536
RuntimeDirectory=isthmus-agent
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes

[Install]
WantedBy=multi-user.target
""",
}
"""By daemon."""


def text(daemon: str, command: str = f"{sys.executable} -m isthmus.cli.main") -> str:
    """The unit of ``controller`` or ``agent``, which runs `command`."""
    return _TEXT[daemon].replace("@COMMAND@", command)


def file_name(daemon: str) -> str:
    return f"isthmus-{daemon}.service"


def packaged_unit(root: Path, daemon: str) -> Path | None:
    """The unit that the daemon's package has put under `root`, if it is installed."""
    files = (root / folder / file_name(daemon) for folder in _FOLDERS)
    return next((file for file in files if file.exists()), None)


def missing_packages(root: Path, prefix: Path, daemons: Iterable[str]) -> list[str]:
    """The packages that these daemons still need, where Isthmus itself comes from packages.

    `prefix` is that of the running Python: outside the packages nothing is missing, for the
    daemons are in the same place as the command.
    """
    if prefix != PACKAGED_PREFIX:
        return []
    return [f"isthmus-{daemon}" for daemon in daemons if packaged_unit(root, daemon) is None]
