# SPDX-License-Identifier: Apache-2.0
"""Names for generators: all that a resource id may hold, and first those that could be taken for
several, or for a word of ours."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from isthmus.intent.paths import RESOURCE_ID_PATTERN

HOSTILE = (
    *("db", "web", "db web", "web db", "db db web", "in db", "out", "plain", "plain db"),
    *("interface", "db interface default", "source", "source db", "1 in db", "default", "db-web"),
    *("{db}", "(db) (web)", "db:web", "a@b", "~", "_", "10.0.0.0", "fd00::1", "port", "address db"),
)
"""As they are in policy: in lower case."""

_BY_CHANCE = "abdeinouprstw019 ._:@~+(){}-"


def _may_be(name: str) -> bool:
    return name[0] not in " .:@~+)}-" and name[-1] not in " .@~+({"


def some_names(random: Random, count: int) -> list[str]:
    """As many different ones; two that come first are, side by side, the third."""
    one, other = random.choice((("db", "web"), ("db", "db web"), ("plain", "db"), ("in", "out")))
    found = dict.fromkeys((one, other, f"{one} {other}", *random.sample(HOSTILE, 4)))
    while len(found) < count:
        name = "".join(random.choice(_BY_CHANCE) for _ in range(random.randint(1, 12)))
        if _may_be(name):
            found[name] = None
    return list(found)[:count]


NAMES: st.SearchStrategy[str] = st.sampled_from(HOSTILE) | st.from_regex(
    rf"\A{RESOURCE_ID_PATTERN}\Z"
).map(str.lower)
"""Whatever a resource may be called, as policy has it."""


def different(count: int) -> st.SearchStrategy[tuple[str, ...]]:
    """So many different names."""
    return st.lists(NAMES, min_size=count, max_size=count, unique=True).map(tuple)
