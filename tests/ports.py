# SPDX-License-Identifier: Apache-2.0
"""Ports of this machine for servers that are told where to listen."""

from __future__ import annotations

import random
import socket

_LOWEST, _HIGHEST = 10000, 32767
"""Below those that Linux gives to whoever asks for any (32768 and above): what is free here stays
free until its server listens, but for another run of the tests that draws the same number."""


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Different ones on which nobody listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: list[int] = []
    while len(found) < count:
        # Not of a seed that a test may have set: two runs would draw alike.
        port = random.SystemRandom().randint(_LOWEST, _HIGHEST)
        with socket.socket(family) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
