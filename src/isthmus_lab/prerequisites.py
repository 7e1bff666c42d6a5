# SPDX-License-Identifier: Apache-2.0
"""What a machine must have for a lab to run on it."""

from __future__ import annotations

import os
import shutil

TOOLS = ("ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ip", "ping")


def missing() -> str:
    """A sentence on what this machine lacks, or nothing."""
    if os.geteuid() != 0:
        return "the lab makes network namespaces and needs root: try again with sudo"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not shutil.which("udhcpc") and not shutil.which("busybox"):
        absent.append("udhcpc")
    return f"not installed: {', '.join(absent)}; to install: make setup" if absent else ""
