# SPDX-License-Identifier: Apache-2.0
"""Who may use the API: a list of client certificates, passwords over TLS, or everybody on this
machine.

Each way to say who one is is an `Authenticator`; a listener has a list of them, and a route says
which ways it takes. MS-NCNBI section A.11: one authorization bit, no rights per resource. A
certificate has been verified against our authorities by TLS before it comes here; being signed by
them is not enough (every host's is), it must be listed.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hmac
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509

from isthmus.api.certificate_checks import common_name, thumbprint
from isthmus.api.http.passwords import Passwords
from isthmus.errors import Forbidden, Invalid, Unauthorized

_THUMBPRINT = re.compile(r"[0-9a-f]{64}\Z")
_SHA1_THUMBPRINT = re.compile(r"[0-9a-f]{40}\Z")


IDENTITY = "isthmus.identity"
"""Key of the `Identity` in an ASGI scope."""


class How(enum.StrEnum):
    """The ways to be known."""

    CERTIFICATE = "certificate"
    PASSWORD = "password"
    LOCAL = "local"


EVERY_WAY = frozenset(How)
NO_WAY: frozenset[How] = frozenset()
"""Of what is answered to everybody."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request: a user's name, or the common name of a certificate; empty for whoever
    reaches a listener on which nobody has to say who they are."""

    name: str
    how: How


LOCAL = Identity("", How.LOCAL)


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, known once for all its requests. `certificate` is verified."""

    address: str
    certificate: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says about its sender: the value of a header, as sent, or empty."""

    authorization: str = ""


class Authenticator(Protocol):
    """One way of a listener to know who sends a request."""

    @property
    def how(self) -> How: ...

    @property
    def wanted(self) -> str:
        """What to present, for a 401."""
        ...

    @property
    def challenge(self) -> str:
        """WWW-Authenticate of a 401 (RFC 9110 section 11.6.1); empty for none."""
        ...

    async def identify(self, peer: Peer, credentials: Credentials) -> Identity | None:
        """None for who presents nothing of this kind. Raises Unauthorized for what is wrong."""
        ...


class AllowList:
    """Client certificates by SHA-256 thumbprint, by common name, or by whole subject (RFC 4514)."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises Invalid for an entry that can match nothing."""
        self._thumbprints: set[str] = set()
        self._names: set[str] = set()
        for entry in entries:
            digits = entry.replace(":", "").replace(" ", "").lower()
            if _SHA1_THUMBPRINT.match(digits):
                raise Invalid(
                    f"{entry!r} is a SHA-1 thumbprint: "
                    "list the SHA-256 one (64 digits) or the subject's name"
                )
            if _THUMBPRINT.match(digits):
                self._thumbprints.add(digits)
            elif entry.strip():
                self._names.add(entry.strip().lower())
            else:
                raise Invalid("an entry of the list of client certificates is empty")

    def __contains__(self, certificate: x509.Certificate) -> bool:
        found = thumbprint(certificate)
        if any(hmac.compare_digest(found, one) for one in self._thumbprints):
            return True
        subject = certificate.subject.rfc4514_string().lower()
        return bool({common_name(certificate).lower(), subject} & self._names)


class ByCertificate:
    """An `Authenticator`: who has a listed certificate."""

    how = How.CERTIFICATE
    wanted = "a client certificate"
    challenge = ""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises Invalid for an entry that can match nothing."""
        self._allowed = AllowList(entries)

    async def identify(self, peer: Peer, _credentials: Credentials) -> Identity | None:
        if peer.certificate is None or peer.certificate not in self._allowed:
            return None
        return Identity(common_name(peer.certificate), self.how)


class ByPassword:
    """An `Authenticator`: who knows the password of a user (RFC 7617)."""

    how = How.PASSWORD
    wanted = "a user name and a password"
    challenge = 'Basic realm="isthmus", charset="UTF-8"'

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    async def identify(self, peer: Peer, credentials: Credentials) -> Identity | None:
        if not credentials.authorization:
            return None
        user, password = _basic(credentials.authorization)
        await self._passwords.check(user, password, peer.address)
        return Identity(user, self.how)


class Access:
    """The rule of one listener. With neither certificates nor passwords it lets in whoever reaches
    it."""

    def __init__(self, certificates: Iterable[str] = (), users: Path | None = None) -> None:
        """Raises Invalid for an entry or a file that cannot be used, NotFound without the file."""
        entries = tuple(certificates)
        self.passwords = Passwords(users) if users else None
        found: list[Authenticator] = []
        if entries:
            found.append(ByCertificate(entries))
        if self.passwords is not None:
            found.append(ByPassword(self.passwords))
        self._authenticators = tuple(found)

    @property
    def asks_for_certificates(self) -> bool:
        return any(one.how is How.CERTIFICATE for one in self._authenticators)

    @property
    def is_open(self) -> bool:
        """Nobody has to say who they are: for loopback and unix sockets only."""
        return not self._authenticators

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate of a 401 (RFC 9110 section 11.6.1), empty where only certificates
        serve."""
        return ", ".join(one.challenge for one in self._authenticators if one.challenge)

    async def identify(
        self, peer: Peer, credentials: Credentials, ways: Collection[How] = EVERY_WAY
    ) -> Identity:
        """Who sent the request, by one of `ways`. Raises Unauthorized or Forbidden with what to
        do."""
        if self.is_open:
            return LOCAL
        taken = [one for one in self._authenticators if one.how in ways]
        for one in taken:
            identity = await one.identify(peer, credentials)
            if identity is not None:
                return identity
        certificate = peer.certificate
        if certificate is not None:
            raise Forbidden(
                f"the certificate of {certificate.subject.rfc4514_string()!r} is not in the list "
                f"of clients: add its name or its thumbprint {thumbprint(certificate)} to the "
                "controller's configuration"
            )
        wanted = " or ".join(one.wanted for one in taken)
        raise Unauthorized(f"say who you are: present {wanted}")


def _basic(authorization: str) -> tuple[str, str]:
    """User name and password of a Basic credential (RFC 7617 section 2). Raises Unauthorized."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise Unauthorized(f"this server knows Basic authorization, not {scheme!r}")
    try:
        given = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise Unauthorized("the Basic authorization is not base64") from error
    try:
        text = given.decode()
    except UnicodeDecodeError:
        # We say charset="UTF-8" (RFC 7617 section 2.1). Clients that do not look at it send this.
        text = given.decode("latin-1")
    user, colon, password = text.partition(":")
    if not colon:
        raise Unauthorized("the Basic authorization holds no colon between user name and password")
    return user, password
