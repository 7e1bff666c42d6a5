# SPDX-License-Identifier: Apache-2.0
"""credentials: how the controller and devices prove who they are (MS-NCNBI section B.2)."""

from __future__ import annotations

import enum
import re
from typing import Annotated

import msgspec

from isthmus.errors import Invalid
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import MISSING, Access, Field, Rules, decode, kept
from isthmus.intent.kind import BackReference, Computed, Kind
from isthmus.intent.model import Json, Stored, View
from isthmus.intent.resource import Resource
from isthmus.intent.values import Secret
from isthmus.intent.versions import V2


class CredentialType(enum.StrEnum):
    """Spelled as Microsoft's controller answers; the specification's schema has
    ``usernamePassword``."""

    USERNAME_PASSWORD = "UsernamePassword"
    X509_CERTIFICATE = "X509Certificate"
    SNMP_COMMUNITY_STRING = "SnmpCommunityString"
    GROUP_MANAGED_SERVICE_ACCOUNT = "GroupManagedServiceAccount"
    X509_CERTIFICATE_SUBJECT_NAME = "X509CertificateSubjectName"


_NO_SECRETS = frozenset(
    (CredentialType.X509_CERTIFICATE, CredentialType.X509_CERTIFICATE_SUBJECT_NAME)
)

# RFC 4514 section 2: a distinguished name is a list of type=value
_COMMON_NAME = re.compile(r"(?:^|[,+;])\s*CN\s*=\s*(?:\"([^\"]+)\"|([^,+;]+))", re.IGNORECASE)


class Credential(Resource, frozen=True, kw_only=True):
    """What a server's connection, or a device, is reached with: kept for the controllers and tools
    that use it. Agents of ours prove themselves with certificates of their own."""

    type: Annotated[CredentialType, kept("What kind of credential `value` is.", required=MISSING)]
    user_name: Annotated[
        str | None, kept("Account name, with a domain if there is one; for UsernamePassword.")
    ] = None
    value: Annotated[
        str,
        Secret(),
        Field(
            "Password, certificate thumbprint, community string or subject name. Only what is no"
            " secret is shown: the thumbprint or the subject name of a certificate.",
            Rules(required=MISSING, access=Access.SHOWN_ELSEWHERE, kept=True),
        ),
    ]

    def settled(self, draft: Draft) -> Credential:
        before = draft.before(Credential)
        if before is not None and before.type is not self.type and not draft.gives("value"):
            # else a password that was kept would be shown as if it were a thumbprint
            raise Invalid(
                f"value is missing: a credential that becomes {self.type} from {before.type} needs"
                " one of its own.",
                code=MISSING,
                target=draft.at("value"),
            )
        match self.type:
            case CredentialType.GROUP_MANAGED_SERVICE_ACCOUNT:
                raise Invalid(
                    "Group managed service accounts cannot be written: use another type.",
                    code="OperationNotSupported",
                    target=draft.at("type"),
                )
            case CredentialType.USERNAME_PASSWORD if not self.user_name:
                raise Invalid(
                    "userName is missing: a UsernamePassword credential needs an account name.",
                    code=MISSING,
                    target=draft.at("user_name"),
                )
            case CredentialType.X509_CERTIFICATE_SUBJECT_NAME:
                return self._by_subject_name(draft)
            case _:
                return self

    def _by_subject_name(self, draft: Draft) -> Credential:
        # It is of v6.1, and taken in every version: SDNExpress with UseCertBySubject asks with the
        # version that discovery names, which may be an older one.
        if "=" not in self.value:
            return self
        found = _COMMON_NAME.search(self.value)
        if found is None:
            raise Invalid(
                "The subject name has no CN: write CN=<name>, or the name alone.",
                code="CommonNameExtractionFailed",
                target=draft.at("value"),
            )
        return msgspec.structs.replace(self, value=(found.group(1) or found.group(2)).strip())


def _value(stored: Stored, view: View) -> Json:
    credential = decode(stored, Credential)
    return credential.value if credential.type in _NO_SECRETS else None


KIND = Kind(
    name="credentials",
    model=Credential,
    in_use_code="InUseCredentialCannotBeDeleted",
    back_references=(BackReference("networks", (), "Virtual networks that encrypt with it.", V2),),
    # Clients that rotate certificates compare and assign it (MS-NCNBI section B.2's examples), and
    # SdnDiagnostics blanks it: in PowerShell what is not there cannot be assigned.
    computed=(
        Computed(
            "value",
            _value,
            {"type": ["string", "null"]},
            "What is no secret; null where it is one, which leaves it as it is when it comes back.",
            as_null=True,
        ),
    ),
)
