# SPDX-License-Identifier: Apache-2.0
"""What a terminal can show: any encoding that it has, and nothing that would move its cursor.

Texts come from tenants and hosts. A control character in one of them could write over what is
above it or make one line two, so it is shown as its escape. A character that the terminal's
encoding has not is shown by a plain one, or by its escape, and is no error.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
from typing import TextIO

_PLAIN = {
    "→": "->",
    "…": "...",
    "–": "-",
    "—": "-",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "•": "*",
    "├": "|",
    "└": "`",
    "─": "-",
    "│": "|",
}
_ERRORS = "isthmus-plain"

GOOD, BAD, DIM = "green", "bold red", "dim"
"""Styles, as rich calls them."""
_SGR = {GOOD: "32", BAD: "1;31", DIM: "2"}
"""ECMA-48 section 8.3.117, SELECT GRAPHIC RENDITION."""


def prepare() -> None:
    """Let the standard streams take every text, whatever their encoding."""
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def plain(text: str) -> str:
    """The text on one line; what moves a cursor or turns the direction of writing is escaped."""
    if text.isprintable():
        return text
    return "".join(_shown(one) for one in text)


def say(line: str, style: str = "", *, err: bool = False) -> None:
    """Print a line whose words come from elsewhere, on a terminal in the style `GOOD` or `BAD`."""
    stream = sys.stderr if err else sys.stdout
    print(_styled(plain(line), style, stream), file=stream)
    stream.flush()


def styled(text: str, style: str) -> str:
    """A text in a style, where the standard output is a terminal that has it."""
    return _styled(text, style, sys.stdout)


def _styled(text: str, style: str, stream: TextIO) -> str:
    return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if style and _is_coloured(stream) else text


def _is_coloured(stream: TextIO) -> bool:
    # The convention NO_COLOR: set and not empty, whatever its value.
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _shown(one: str) -> str:
    if one == "\n":
        return " "  # texts of several lines are sentences: one line says them as well
    if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return repr(one)[1:-1]
    return one


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    text = "".join(
        _PLAIN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in found
    )
    return text, error.end
