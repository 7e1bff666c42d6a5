# SPDX-License-Identifier: Apache-2.0
"""accessControlLists: who may speak (MS-NCNBI section B.1)."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from isthmus.errors import Conflict
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, Rules, decode, encode
from isthmus.intent.kind import BackReference, Kind
from isthmus.intent.kinds import acl_rules
from isthmus.intent.kinds.acl_rules import MANY_TAGS
from isthmus.intent.model import Allocation
from isthmus.intent.references import Reference, key_of
from isthmus.intent.resource import Resource
from isthmus.intent.values import Choice
from isthmus.intent.versions import V5

ACL = Reference(("accessControlLists",))


class DefaultAction(enum.StrEnum):
    """Where no rule matches."""

    PERMIT = "Permit"
    DENY = "Deny"


DEFAULT_ACTION = Choice(DefaultAction, aliases=(("allow", "Permit"),), code="InvalidAclRuleAction")


def applied_scope(tag_key: str) -> str:
    """Scope of the allocation of the one list that is applied to a tag; its number is 0."""
    return f"acl of {tag_key}"


class AccessControlList(Resource, frozen=True, kw_only=True):
    """Rules for all that refers to it: addresses of interfaces, virtual subnets, and interfaces by
    their security tags. Packets pass when every level allows them: the subnet's list, and what the
    interface has."""

    inbound_default_action: Annotated[
        DefaultAction, DEFAULT_ACTION, Field("For packets to a port that no rule matches.")
    ] = DefaultAction.PERMIT
    outbound_default_action: Annotated[
        DefaultAction, DEFAULT_ACTION, Field("For packets from a port that no rule matches.")
    ] = DefaultAction.PERMIT
    security_tags: Annotated[
        tuple[str, ...],
        MANY_TAGS,
        Field(
            "Every interface with one of these tags is under this list. The same is said by the"
            " tag's accessControlList.",
            Rules(since=V5),
        ),
    ] = ()

    def settled(self, draft: Draft) -> AccessControlList:
        before = draft.before(AccessControlList)
        had, has = (
            {key_of(tag) for tag in (value.security_tags if value is not None else ())}
            for value in (before, self)
        )
        for tag in sorted(had ^ has):
            # what a client has read of the tag is no longer so: its accessControlList
            row = draft.get(tag)
            if row is not None:
                draft.change(row)
        for index, tag in enumerate(self.security_tags):
            scope = applied_scope(key_of(tag))
            holder = draft.holder(scope, 0)
            if holder is not None:
                raise _applied_already(tag, holder, f"{draft.at('security_tags')}[{index}]")
            draft.allocate(scope, 0)
        return self


def apply_to_tag(draft: Draft, acl: str, target: str) -> None:
    """Put the tag that is being written under a list, which is the same as to name it in the list's
    securityTags; a list that it is under already stays. Raises Conflict."""
    key, scope = key_of(acl), applied_scope(draft.key)
    # the list is what refers to the tag, not the other way round
    draft.requires.discard(key)
    holder = draft.holder(scope, 0)
    if holder == key:
        return
    if holder is not None:
        raise _applied_already(draft.ref, holder, target)
    row = draft.read(key)
    assert row is not None, "references were resolved before"
    value = decode(row, AccessControlList)
    changed = msgspec.structs.replace(value, security_tags=(*value.security_tags, draft.ref))
    draft.change(
        msgspec.structs.replace(
            row,
            properties=encode(changed),
            requires=row.requires | {draft.key},
            allocations=row.allocations | {Allocation(scope, "0")},
        )
    )


def _applied_already(tag: str, holder: str, target: str) -> Conflict:
    return Conflict(
        f"{tag} has {holder} applied already, and a tag has one list: take it off there first, give"
        " the interfaces another tag, or add the rules there.",
        code="SecurityTagAlreadyHasAclApplied",
        target=target,
    )


KIND = Kind(
    name="accessControlLists",
    model=AccessControlList,
    applied_by="security_tags",
    in_use_code="InUseAccessControlListCannotBeDeleted",
    has_state=True,
    back_references=(
        BackReference(
            "ipConfigurations",
            ("networkInterfaces/ipConfigurations",),
            "Addresses of interfaces that are under it.",
        ),
        BackReference(
            "subnets",
            ("virtualNetworks/subnets",),
            "Subnets that are under it.",
        ),
    ),
    children=(acl_rules.KIND,),
)
