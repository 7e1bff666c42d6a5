# SPDX-License-Identifier: Apache-2.0
"""The base of all resources: what a kind says of its own rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Part
from isthmus.intent.specs import wire_name


class Resource(Part, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of the properties of a resource kind. A kind overrides the two methods for its own
    rules."""

    def settled(self, draft: Draft) -> Self:
        """These properties complete and checked: allocated values filled in, rules against other
        resources applied. `draft` gives the stored state and takes allocations. Raises Invalid,
        Conflict."""
        return self

    def check_children(self, kind: str, children: Sequence[Member]) -> None:
        """Check rules among the children of one kind, all of them, as they will be. Raises
        Invalid."""


class Member(NamedTuple):
    """One child as `Resource.check_children` sees it. `path` is where errors about it point."""

    path: str
    resource_id: str
    value: Resource

    def at(self, attribute: str) -> str:
        """The JSON path of one of its fields."""
        return f"{self.path}properties.{wire_name(type(self.value), attribute)}"
