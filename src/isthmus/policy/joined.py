# SPDX-License-Identifier: Apache-2.0
"""Several names in one text, for columns, cookies and stored numbers, which are text.

Names may hold spaces (`intent.paths.RESOURCE_ID_PATTERN`), so that names joined by one would be
taken for others: the list "db web" for the lists "db" and "web".
"""

from __future__ import annotations

import re

_ESCAPED = str.maketrans({one: f"%{ord(one):02X}" for one in "% /|"})


def joined(*names: str) -> str:
    """Different names give different texts. Each is one word, and itself where it holds no space,
    percent sign, slash or bar: these may stand between words without being taken for a part."""
    return " ".join(name.translate(_ESCAPED) for name in names)


def parted(text: str) -> tuple[str, ...]:
    """The names that `joined` has made this text of."""
    return tuple(
        _ESCAPE.sub(lambda found: chr(int(found[1], 16)), word) for word in text.split(" ")
    )


_ESCAPE = re.compile("%([0-9A-F]{2})")
