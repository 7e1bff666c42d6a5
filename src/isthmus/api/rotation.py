# SPDX-License-Identifier: Apache-2.0
"""A new authority in the place of an old one, while everything goes on.

`rotate` makes a new authority; the old one stays trusted. When every machine has the new bundle,
`renew` issues every certificate again; when every machine has its own, `retire` ends the trust in
the old authorities. It refuses while anything depends on one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from isthmus.api.certificate_checks import common_name, thumbprint
from isthmus.api.certificates import (
    BOTH,
    Authority,
    Issued,
    Kind,
    issue,
    load_authority,
    new_authority,
    store_authority,
)
from isthmus.api.issued import Issue, read_issued
from isthmus.errors import Conflict
from isthmus.files import locked

Told = Mapping[str, object]
"""What a host or controller says of its certificate: `signedBy` and `trusts`, thumbprints of
authorities (`certificate_checks.trust`)."""


def rotate(folder: Path, *, now: datetime | None = None) -> Authority:
    """Make a new authority, which signs from now on; the others stay trusted until `retire`.

    The bundle is written before the authority, so an interruption leaves one that works.
    """
    load_authority(folder)  # where there is none, no folder is made to lock
    with locked(folder):
        old = load_authority(folder)
        new = new_authority(common_name(old.certificate), now or datetime.now(UTC))
        return store_authority(folder, replace(new, trusted=(new.certificate, *old.trusted)))


def renew(folder: Path, *, now: datetime | None = None) -> list[Issued]:
    """Issue again what the newest authority has not signed, with the names that it had, where it
    was issued to. Expired certificates are left."""
    return [
        issue(
            folder,
            name,
            BOTH if one.server else (Kind.CLIENT,),
            dns=one.dns,
            addresses=one.addresses,
            into=Path(one.into) if one.into else None,
            now=now,
        )
        for name, one in _outdated(folder, now)
    ]


def retire(folder: Path, told: Mapping[str, Told | None], *, force: bool = False) -> Authority:
    """End the trust in every authority but the newest.

    `told` is by host or controller what it says of its certificate, None where it says nothing.
    Raises Conflict, naming all that depends on an old authority, unless `force`.
    """
    load_authority(folder)
    with locked(folder):
        authority = load_authority(folder)
        if not force and (depends := dependants(folder, told)):
            raise Conflict(
                "an old authority is still needed: " + "; ".join(depends),
                code="AuthorityInUse",
                target=str(folder),
            )
        return store_authority(folder, replace(authority, trusted=(authority.certificate,)))


def dependants(
    folder: Path, told: Mapping[str, Told | None], *, now: datetime | None = None
) -> list[str]:
    """What would be cut off if only the newest authority were trusted, each with what to do."""
    newest = _newest(folder)
    found = [
        f"the last certificate of {name} is signed by an old one (isthmus certs renew)"
        for name, _ in _outdated(folder, now)
    ]
    for name, said in sorted(told.items()):
        trusts = said.get("trusts") if said is not None else None
        if said is None:
            found.append(f"{name} does not answer, so what it uses is not known")
        elif said.get("signedBy") != newest:
            found.append(f"{name} uses a certificate that an old one signed (copy the new one)")
        elif not isinstance(trusts, Sequence) or newest not in trusts:
            found.append(f"{name} does not trust the new one (copy ca.pem there)")
    return found


def _outdated(folder: Path, now: datetime | None) -> list[tuple[str, Issue]]:
    """Names whose last certificate is in force and not signed by the newest authority."""
    newest, at = _newest(folder), now or datetime.now(UTC)
    return [
        (name, one)
        for name, one in sorted(read_issued(folder).items())
        if one.authority != newest and one.until > at
    ]


def _newest(folder: Path) -> str:
    return thumbprint(load_authority(folder).certificate)
