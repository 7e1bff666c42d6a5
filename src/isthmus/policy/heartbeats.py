# SPDX-License-Identifier: Apache-2.0
"""How often a host says that it lives, and when those who listen take it for silent."""

from __future__ import annotations

HEARTBEAT_S = 30
"""A thousand hosts make 33 writes a second of it."""

SILENT_AFTER_S = 3 * HEARTBEAT_S
"""Two heartbeats may be late or lost."""
