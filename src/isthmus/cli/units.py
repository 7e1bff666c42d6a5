# SPDX-License-Identifier: Apache-2.0
"""systemd's units for the daemons (systemd.service(5))."""

from __future__ import annotations

import sys

_COMMAND = f"{sys.executable} -m isthmus.cli.main"

TEXT = {
    "controller": f"""\
[Unit]
Description=Isthmus network controller
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={_COMMAND} controller
# The stores' servers outlive the controller: hosts read on while it restarts.
KillMode=process
Restart=always
RestartSec=1
RuntimeDirectory=isthmus
RuntimeDirectoryPreserve=yes
StateDirectory=isthmus

[Install]
WantedBy=multi-user.target
""",
    "agent": f"""\
[Unit]
Description=Isthmus agent for Open vSwitch
After=network-online.target openvswitch-switch.service
Wants=network-online.target

[Service]
ExecStart={_COMMAND} agent
Restart=always
RestartSec=1
RuntimeDirectory=isthmus-agent
RuntimeDirectoryPreserve=yes

[Install]
WantedBy=multi-user.target
""",
}
"""By daemon."""
