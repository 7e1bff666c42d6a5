# SPDX-License-Identifier: Apache-2.0
"""A table whose rows come one by one: how wide its columns must be is known by and by."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from isthmus.cli.terminal import plain, styled

_GAP = "  "
_INDENT = "    "


class Rows:
    """Prints a row when it comes, the names of the columns before the first. A pipe gets tabs
    between cells, as of every table. On a terminal, cells that have no room go on in the next line,
    and the last one, which is a sentence, in as many as it needs."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._widths = [0] * len(columns)
        self._begun = False

    def say(self, cells: Sequence[str], styles: Mapping[str, str]) -> None:
        """On a terminal a cell has the style of its text."""
        row = tuple(map(plain, cells))
        rows = (row,) if self._begun else (self._columns, row)
        self._begun = True
        if sys.stdout.isatty():
            for one in rows:
                for number, cell in enumerate(one[:-1]):
                    self._widths[number] = max(self._widths[number], len(cell))
            width = shutil.get_terminal_size().columns
            lines = [line for one in rows for line in self._lines(one, width, styles)]
        else:
            lines = ["\t".join(one) for one in rows]
        print("\n".join(lines), flush=True)

    def _lines(self, row: Sequence[str], width: int, styles: Mapping[str, str]) -> Iterator[str]:
        *cells, sentence = row
        line, length = "", 0
        for number, cell in enumerate(cells):
            if line and length + len(_GAP) + len(cell) > width:
                yield line.rstrip()
                line, length = _INDENT, len(_INDENT)
            elif line:
                line, length = line + _GAP, length + len(_GAP)
            padded = cell.ljust(min(self._widths[number], width))
            line, length = line + styled(padded, styles.get(cell, "")), length + len(padded)
        if row is self._columns or length + len(_GAP) + len(sentence) <= width:
            room = max(width - len(_GAP) - len(sentence), 0)
            yield f"{line if length <= room else line.rstrip()}{_GAP}{sentence}"
            return
        yield line.rstrip()
        room = max(width - len(_INDENT), 20)
        for one in textwrap.wrap(sentence, room, break_on_hyphens=False):
            yield f"{_INDENT}{one}"
