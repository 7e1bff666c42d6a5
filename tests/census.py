# SPDX-License-Identifier: Apache-2.0
"""How much is held within an object: for tests that what has gone leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec


def held_in(**named: object) -> Counter[str]:
    """How many members all collections within some objects have, by where they are."""
    found: Counter[str] = Counter()
    for name, one in named.items():
        _count(one, name, found, set())
    return +found


def more_than(after: Counter[str], before: Counter[str]) -> dict[str, int]:
    """Where there are more members than before."""
    return {name: n - before[name] for name, n in after.items() if n > before[name]}


def _count(held: object, name: str, found: Counter[str], seen: set[int]) -> None:
    if id(held) in seen or isinstance(held, str | bytes | int | float | type | None):
        return
    seen.add(id(held))
    if isinstance(held, Mapping):
        found[name] += len(held)
        for value in held.values():
            _count(value, f"{name}[]", found, seen)
    elif isinstance(held, list | set | tuple | frozenset) and not hasattr(held, "_fields"):
        found[name] += len(held)
        for value in held:
            _count(value, f"{name}[]", found, seen)
    elif type(held).__module__.startswith("isthmus.") and not isinstance(held, msgspec.Struct):
        slots = getattr(type(held), "__slots__", ())
        inner = {slot: getattr(held, slot) for slot in slots} or getattr(held, "__dict__", {})
        for attribute, value in inner.items():
            _count(value, f"{name}.{attribute}", found, seen)
