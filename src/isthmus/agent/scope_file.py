# SPDX-License-Identifier: Apache-2.0
"""The scope on disk, so that an agent that starts again asks for all of it at once. A hint: what
is missing or out of date costs some more questions.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from isthmus.host import remembered
from isthmus.host.scope import Conditions


def save(conditions: Conditions, file: Path | None) -> None:
    """Remember a scope; where it cannot be written, a restart takes a little longer."""
    if file is not None:
        new = file.with_suffix(".new")
        with contextlib.suppress(OSError):
            new.write_bytes(remembered.encoded(conditions))
            new.replace(file)


def load(file: Path | None) -> Conditions:
    """The remembered scope; empty where there is none."""
    try:
        return {} if file is None else remembered.decoded(file.read_bytes())
    except OSError:
        return {}
