# SPDX-License-Identifier: Apache-2.0
"""Random GUIDs (RFC 9562 section 5.4), drawn from the system in blocks."""

from __future__ import annotations

import os

_BLOCK = 64


class RandomIds:
    """`intent.model.Ids`."""

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def guid(self) -> str:
        """A new random GUID in lower case."""
        if self._at == len(self._bytes):
            self._bytes, self._at = os.urandom(16 * _BLOCK), 0
        number = int.from_bytes(self._bytes[self._at : self._at + 16], "big")
        self._at += 16
        # Version 4, variant 10.
        number = number & ~(0xF000 << 64) | 0x4000 << 64
        number = number & ~(0xC000 << 48) | 0x8000 << 48
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
