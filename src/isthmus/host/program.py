# SPDX-License-Identifier: Apache-2.0
"""The derivation of one host: what every host derives of the policy, and on top of that the program
of its kind of switch.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.derive.engine import Engine, Index, Unit
from isthmus.host import location, scope
from isthmus.host.indexes import INDEXES


class Program(NamedTuple):
    """Policy → program of one kind of switch. Its units may read what `host.facts` names, and find
    rows by `host.indexes`."""

    units: tuple[Unit, ...] = ()
    indexes: tuple[Index, ...] = ()
    tables: tuple[type, ...] = ()


def engine_of(program: Program) -> Engine:
    """An empty engine for a host with that kind of switch."""
    return Engine(
        (*scope.UNITS, *location.UNITS, *program.units),
        (*INDEXES, *program.indexes),
        (*scope.READ, *scope.TABLES, *location.TABLES, *program.tables),
    )
