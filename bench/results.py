# SPDX-License-Identifier: Apache-2.0
"""Figures, their file, and the table that people read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

FILE = Path(__file__).parent / "results.json"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `results.json`. `value` is None where it could not be measured, and `note` says
    why; `ratio` is ours by the peer's."""

    name: str
    ports: int
    value: float | None
    unit: str
    goal: str = ""
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    note: str = ""


def figure(
    name: str,
    ports: int,
    value: float | None,
    unit: str,
    *,
    goal: str = "",
    peer: str = "",
    peer_value: float | None = None,
    note: str = "",
) -> Figure:
    """With the ratio, where both are known."""
    ratio = None
    if value is not None and peer_value:
        ratio = round(value / peer_value, 4)
    return Figure(
        name=name,
        ports=ports,
        value=None if value is None else round(value, 3),
        unit=unit,
        goal=goal,
        peer=peer,
        peer_value=None if peer_value is None else round(peer_value, 3),
        ratio=ratio,
        note=note,
    )


def median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def p99(values: Sequence[float]) -> float | None:
    """The nearest rank: of a hundred values, the second largest."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, -(-99 * len(ranked) // 100) - 1)]


def write(figures: Sequence[Figure], file: Path = FILE) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(list(figures)), indent=2) + b"\n")


def show(figures: Sequence[Figure], title: str, console: Console | None = None) -> None:
    """The table, below a title that says of what network the figures are."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in (
        "figure",
        "ports",
        "value",
        "unit",
        "goal",
        "peer",
        "its value",
        "ratio",
        "note",
    ):
        right = column in ("ports", "value", "its value", "ratio")
        table.add_column(column, header_style="bold", justify="right" if right else "left")
    for one in figures:
        table.add_row(
            one.name,
            str(one.ports or ""),
            _number(one.value),
            one.unit,
            one.goal,
            one.peer,
            _number(one.peer_value) if one.peer else "",
            "" if one.ratio is None else f"{one.ratio:.3g}",
            one.note,
        )
    (console or Console(width=170)).print(table)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
