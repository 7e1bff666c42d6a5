# SPDX-License-Identifier: Apache-2.0
"""securityTags: groups of network interfaces (MS-NCNBI section B.20, API v5).

Membership is the interface's list of tags, so that a member comes and goes without a change of the
group. A security group of other APIs is one tag and the one list that is applied to it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Access, Field, Rules, decode, kept
from isthmus.intent.kind import BackReference, Computed, Kind
from isthmus.intent.kinds.access_control_lists import ACL, applied_scope, apply_to_tag
from isthmus.intent.kinds.acl_rules import AclRule
from isthmus.intent.model import Allocation, Json, Stored, View
from isthmus.intent.references import key_of
from isthmus.intent.resource import Resource
from isthmus.intent.versions import V5


class SecurityTag(Resource, frozen=True, kw_only=True):
    """A name that interfaces carry and rules speak of."""

    type: Annotated[str | None, kept("What kind of tag it is.")] = None
    # MS-NCNBI 3.1.5.31's table calls it read-only; its own example and Windows Admin Center send it
    access_control_list: Annotated[
        str | None,
        ACL,
        Field(
            "The list that every interface with this tag is under, one at most: the same as the"
            " list's securityTags, where it is taken off again.",
            Rules(access=Access.SHOWN_ELSEWHERE),
        ),
    ] = None

    def settled(self, draft: Draft) -> SecurityTag:
        if self.access_control_list is None:
            return self
        apply_to_tag(draft, self.access_control_list, draft.at("access_control_list"))
        return msgspec.structs.replace(self, access_control_list=None)


def _access_control_list(stored: Stored, view: View) -> Json:
    holder = view.holder(Allocation(applied_scope(stored.key), "0"))
    row = None if holder is None else view.get(holder)
    return None if row is None else {"resourceRef": row.ref}


def _rules(attribute: str, stored: Stored, view: View) -> Json:
    found: list[Json] = []
    # most of what refers to a tag are interfaces
    keys = (key for key in view.referrers(stored.key) if key.startswith("/accesscontrollists/"))
    for key in sorted(keys):
        row = view.get(key)
        if row is not None and row.kind == "accessControlLists/aclRules":
            tags: tuple[str, ...] = getattr(decode(row, AclRule), attribute)
            if stored.key in map(key_of, tags):
                found.append({"resourceRef": row.ref})
    return found


_REFERENCE: dict[str, Json] = {"$ref": "#/components/schemas/Reference"}
_REFERENCES: dict[str, Json] = {"type": "array", "items": _REFERENCE}

KIND = Kind(
    name="securityTags",
    model=SecurityTag,
    since=V5,
    in_use_code="InUseSecurityTagCannotBeDeleted",
    back_references=(
        BackReference("networkInterfaces", ("networkInterfaces",), "Interfaces that carry it."),
    ),
    computed=(
        Computed(
            "accessControlList",
            _access_control_list,
            _REFERENCE,
            "The list that is applied to it.",
        ),
        Computed(
            "aclRulesAsSource",
            lambda stored, view: _rules("source_security_tags", stored, view),
            _REFERENCES,
            "Rules that it is a source of.",
        ),
        Computed(
            "aclRulesAsDestination",
            lambda stored, view: _rules("destination_security_tags", stored, view),
            _REFERENCES,
            "Rules that it is a destination of.",
        ),
    ),
)
