# SPDX-License-Identifier: Apache-2.0
"""Reading certificates, and saying clearly why one cannot be used."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from isthmus.errors import Invalid
from isthmus.files import read_file


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM file, at least one. Raises NotFound, Invalid."""
    pem = read_file(path, "certificates in PEM form")
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise Invalid(f"{path} holds no certificate in PEM form", target=str(path)) from error


def check(
    certificate: Path,
    key: Path,
    authorities: Path,
    *,
    name: str | None = None,
    now: datetime | None = None,
) -> x509.Certificate:
    """The certificate, if it can be used now: its dates, key, authority, and `name` when given.

    Raises NotFound for a missing file, Invalid that says which file, what is wrong and what to do.
    """
    found = read_certificates(certificate)[0]
    _check_dates(found, certificate, now or datetime.now(UTC))
    if _encoded(found.public_key()) != _encoded(_read_public_key(key)):
        raise Invalid(
            f"{key} is not the key of {certificate}: give the pair that was issued together",
            target=str(key),
        )
    if not any(_is_signed_by(found, authority) for authority in read_certificates(authorities)):
        raise Invalid(
            f"{certificate} is signed by {found.issuer.rfc4514_string()!r}, which is not in "
            f"{authorities}: copy the authority's ca.pem there, or issue the certificate again",
            target=str(certificate),
        )
    if name is not None and name.lower() not in names(found):
        raise Invalid(
            f"{certificate} is for {', '.join(sorted(names(found)))}, not for {name}: "
            f"issue one for {name}",
            target=str(certificate),
        )
    return found


def signer(certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> str:
    """The thumbprint of the one of these authorities that signed it; empty where none did."""
    return next((thumbprint(one) for one in authorities if _is_signed_by(certificate, one)), "")


def trust(certificate: Path, authorities: Path) -> tuple[str, tuple[str, ...]]:
    """The thumbprints of the authority that signed a certificate, empty where its owner does not
    trust it, and of those that its owner trusts, the newest first. Raises NotFound, Invalid."""
    bundle = read_certificates(authorities)
    signed_by = signer(read_certificates(certificate)[0], bundle)
    return signed_by, tuple(thumbprint(one) for one in bundle)


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, 64 lower-case hex digits: what an allow-list names."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name, as spelled; empty where there is none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def names(certificate: x509.Certificate) -> frozenset[str]:
    """Every name and address that a certificate is for, in lower case: common name and
    alternatives."""
    found = {common_name(certificate).lower()}
    try:
        alternatives = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return frozenset(found)
    found.update(one.lower() for one in alternatives.get_values_for_type(x509.DNSName))
    found.update(str(one) for one in alternatives.get_values_for_type(x509.IPAddress))
    return frozenset(found)


def _check_dates(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        raise Invalid(
            f"{path} expired on {end:%Y-%m-%d %H:%M} UTC: issue it again",
            target=str(path),
        )
    if now < start:
        raise Invalid(
            f"{path} is valid only from {start:%Y-%m-%d %H:%M} UTC, and it is "
            f"{now:%Y-%m-%d %H:%M} UTC: set this machine's clock",
            target=str(path),
        )


def _read_public_key(path: Path) -> PublicKeyTypes:
    try:
        return serialization.load_pem_private_key(
            read_file(path, "a private key in PEM form"), None
        ).public_key()
    except (ValueError, TypeError) as error:
        raise Invalid(
            f"{path} holds no private key in PEM form without a password", target=str(path)
        ) from error


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
