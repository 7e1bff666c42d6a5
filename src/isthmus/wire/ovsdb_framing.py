# SPDX-License-Identifier: Apache-2.0
"""Where one JSON-RPC message ends and the next begins: OVSDB puts nothing between them (RFC 7047
section 4).

A message is a JSON object, so it ends where its first brace is closed again; braces in strings do
not count. A first picture of a data base is one message of tens of megabytes with some fifty quotes
and braces in a row of a table, too many to look at one by one in Python. So a piece of the stream
is first reduced, by operations that run at the speed of memory, to what its braces do to the depth;
only a piece in which messages end between others is scanned token by token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from isthmus.wire.malformed import Malformed

LONGEST_MESSAGE = 512 << 20
"""Bytes. A data base of a million rows is about that."""

_NEITHER_QUOTE_NOR_BRACE = bytes(sorted(set(range(256)) - set(b'"{}')))

_REDUCTIONS = 32
"""Each takes away one level of nested braces; deeper ones than OVSDB has are scanned instead."""

_QUOTED = re.compile(rb'"[^"]*"')
_TOKEN = re.compile(rb'[{}]|\\[\\"]|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:(")|\Z)', re.DOTALL)
_STRING_END = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_GAP = re.compile(rb"[ \t\r\n]*+")
_OPENING, _CLOSING, _QUOTE = b'{}"'


class Framer:
    """Cuts a byte stream into messages. Holds the pieces of one incomplete message."""

    __slots__ = ("_depth", "_in_string", "_limit", "_pieces", "_rest", "_size")

    def __init__(self, limit_bytes: int = LONGEST_MESSAGE) -> None:
        self._limit = limit_bytes
        self._rest = b""
        """A backslash whose second half has not come."""
        self._reset()

    def _reset(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._in_string = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that `data` completes. The iterator must be used up before the next call.

        Raises Malformed for what is no JSON object, and for a message that is longer than the
        limit; the stream has then no meaning any more. What is in a message is not checked.
        """
        data = self._rest + data
        self._rest = b""
        if (len(data) - len(data.rstrip(b"\\"))) % 2:
            data, self._rest = data[:-1], b"\\"
        start = 0
        while start < len(data):
            look_from = start
            if self._depth == 0:
                start = self._begin(data, start)
                if start == len(data):
                    break
                self._depth, look_from = 1, start + 1
            # Behind a message comes another small one as a rule: to reduce all that follows, for
            # each of them, would be quadratic.
            end = self._scan(data, look_from) if start else self._find_end(data, look_from)
            self._keep(data, start, len(data) if end is None else end)
            if end is None:
                return
            message = b"".join(self._pieces)
            self._reset()
            yield message
            start = end
        if self._rest and self._depth == 0:
            raise Malformed("a backslash between two JSON-RPC messages")

    def _begin(self, data: bytes, start: int) -> int:
        """Where the next message begins."""
        gap = _GAP.match(data, start)
        start = gap.end() if gap else start
        if start < len(data) and data[start] != _OPENING:
            raise Malformed(f"a JSON-RPC message begins with {data[start : start + 20]!r}")
        return start

    def _keep(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._limit:
            raise Malformed(f"a JSON-RPC message of more than {self._limit} bytes")
        self._pieces.append(data[start:end])

    def _find_end(self, data: bytes, start: int) -> int | None:
        """The index behind the open message's last brace, None when it goes on."""
        left, in_string = self._outside_strings(data[start:])
        ends_with_brace = not in_string and data.endswith(b"}") and len(data) > start
        reduced = _reduce(left[:-1] if ends_with_brace else left)
        if reduced is not None and reduced.closing < self._depth:
            self._depth += reduced.opening - reduced.closing - ends_with_brace
            self._in_string = in_string
            return None if self._depth else len(data)
        return self._scan(data, start)

    def _outside_strings(self, piece: bytes) -> tuple[bytes, bool]:
        """The braces that are not in strings, and whether the piece ends within a string."""
        if b"\\" in piece:
            # A run of backslashes starts with one that escapes, so pairs are found from its left.
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        left = piece.translate(None, _NEITHER_QUOTE_NOR_BRACE)
        # Two quotes with nothing between them change nothing for what follows, whichever they are.
        left = left.replace(b'""', b"")
        if self._in_string:
            _, quote, left = left.partition(b'"')
            if not quote:
                return b"", True
        left, quote, _ = _QUOTED.sub(b"", left).partition(b'"')
        return left, bool(quote)

    def _scan(self, data: bytes, start: int) -> int | None:
        """As `_find_end`, token by token."""
        if self._in_string:
            string_end = _STRING_END.match(data, start)
            if string_end is None:
                return None
            start, self._in_string = string_end.end(), False
        for token in _TOKEN.finditer(data, start):
            kind = data[token.start()]
            if kind == _OPENING:
                self._depth += 1
            elif kind == _CLOSING:
                self._depth -= 1
                if self._depth == 0:
                    return token.end()
            elif kind == _QUOTE:
                self._in_string = token.group(1) is None
        return None


class _Reduced(NamedTuple):
    closing: int
    """So many levels are closed below where the braces began,"""
    opening: int
    """and then so many opened."""


def _reduce(braces: bytes) -> _Reduced | None:
    """None where they are nested too deeply to be told quickly."""
    for _ in range(_REDUCTIONS):
        shorter = braces.replace(b"{}", b"")
        if len(shorter) == len(braces):
            closing = len(braces) - len(braces.lstrip(b"}"))
            return _Reduced(closing, len(braces) - closing)
        braces = shorter
    return None
