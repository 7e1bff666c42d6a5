# SPDX-License-Identifier: Apache-2.0
"""A check: a claim, and the code that tries to refute it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from isthmus_lab.demo.cloud import Cloud


class Unmet(Exception):
    """A check does not hold. The text says what was expected and what was seen."""


@dataclass(frozen=True, slots=True)
class Check:
    """`run` returns what it measured, in a few words, or raises.

    Without an `essential` one the rest makes no sense and is not run.
    """

    section: str
    claim: str
    run: Callable[[Cloud], str]
    essential: bool = False


def expect(holds: bool, expected: str, saw: object) -> None:
    """Raises Unmet unless `holds`."""
    if not holds:
        raise Unmet(f"expected {expected}; saw {saw}")


def new_mark() -> bytes:
    """Bytes that no other packet carries, so that a capture knows ours wherever it turns up."""
    return b"isthmus-demo-" + secrets.token_hex(4).encode()
