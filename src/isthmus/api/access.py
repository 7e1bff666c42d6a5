# SPDX-License-Identifier: Apache-2.0
"""Who may use the API: a list of client certificates, passwords over TLS, or everybody on this
machine.

MS-NCNBI section A.11: one authorization bit, no rights per resource. A certificate has been
verified against our authorities by TLS before it comes here; being signed by them is not enough
(every host's is), it must be listed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from isthmus.api.certificate_checks import common_name, thumbprint
from isthmus.api.passwords import Passwords
from isthmus.errors import Forbidden, Invalid, Unauthorized

_THUMBPRINT = re.compile(r"[0-9a-f]{64}\Z")
_SHA1_THUMBPRINT = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request; `how` is ``certificate``, ``password`` or ``local``."""

    name: str
    how: str


LOCAL = Identity("local", "local")


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, known once for all its requests. `certificate` is verified."""

    address: str
    certificate: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says about its sender: the value of a header, as sent, or empty."""

    authorization: str = ""


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


class Access:
    """The rule of one listener. With neither certificates nor passwords it lets in whoever reaches
    it."""

    def __init__(self, certificates: Iterable[str] = (), users: Path | None = None) -> None:
        """Raises Invalid for an entry or a file that cannot be used, NotFound without the file."""
        entries = tuple(certificates)
        self._allowed = AllowList(entries) if entries else None
        self.passwords = Passwords(users) if users else None

    @property
    def asks_for_certificates(self) -> bool:
        return self._allowed is not None

    @property
    def is_open(self) -> bool:
        """Nobody has to say who they are: for loopback and unix sockets only."""
        return self._allowed is None and self.passwords is None

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate of a 401 (RFC 9110 section 11.6.1), empty where only certificates
        serve."""
        return 'Basic realm="isthmus", charset="UTF-8"' if self.passwords else ""

    async def identify(self, peer: Peer, credentials: Credentials) -> Identity:
        """Who sent the request. Raises Unauthorized or Forbidden with what to do."""
        if self.is_open:
            return LOCAL
        certificate = peer.certificate
        if certificate is not None and self._allowed is not None and certificate in self._allowed:
            return Identity(common_name(certificate), "certificate")
        if self.passwords is not None and credentials.authorization:
            user, password = _basic(credentials.authorization)
            await self.passwords.check(user, password, peer.address)
            return Identity(user, "password")
        if certificate is not None:
            raise Forbidden(
                f"the certificate of {certificate.subject.rfc4514_string()!r} is not in the list "
                f"of clients: add its name or its thumbprint {thumbprint(certificate)} to the "
                "controller's configuration"
            )
        ways = ["a client certificate"] * self.asks_for_certificates
        ways += ["a user name and a password"] * (self.passwords is not None)
        raise Unauthorized(f"say who you are: present {' or '.join(ways)}")


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
