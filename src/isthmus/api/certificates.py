# SPDX-License-Identifier: Apache-2.0
"""The certificate authority of one Isthmus installation, and the certificates that it issues.

A folder holds an authority: ``authority.pem`` (its key and certificate, the only file that can
sign) and ``ca.pem`` (every authority that is trusted now, newest first: what all hosts are given).
Certificates are issued beside them, or anywhere, as ``NAME.pem`` and ``NAME-key.pem``. The common
name of a host's certificate is its host id: that is how the stores and the API know who speaks.

`rotation` puts a new authority in the place of an old one; ``issued.json`` (`issued`) is the
register of what was issued. Every file is replaced atomically, and one with a key in it has mode
0600.

RFC 5280 for what is in a certificate; keys are P-256.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.api.certificate_checks import read_certificates, thumbprint
from isthmus.api.issued import BUNDLE_FILE, Issue, record
from isthmus.errors import Conflict, Invalid
from isthmus.files import locked, pair, read_file, replace_files

AUTHORITY_FILE = "authority.pem"

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 825
"""The longest life of a server's certificate that all common TLS stacks accept (Apple's is the
strictest)."""

BACKDATING = timedelta(hours=1)
"""Hosts' clocks differ; a certificate valid from this very second is refused by the host that is
late."""

COMMON_NAME_LENGTH = 64
"""RFC 5280 appendix A.1, ub-common-name."""

_DNS_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_DNS_LABEL}(?:\.{_DNS_LABEL})*\Z", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@:-]*\Z")


class Kind(Enum):
    """What a certificate may be used for (RFC 5280 section 4.2.1.12, extended key usage)."""

    SERVER = "server"
    CLIENT = "client"


BOTH = (Kind.SERVER, Kind.CLIENT)
"""Hosts and controllers both listen and dial; MS-NCNBI deployments ask for both usages too
(section A.11)."""

_USAGES = {
    Kind.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Kind.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs, and whom we trust: `trusted` has the newest first and includes `certificate`."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    trusted: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Issued:
    """The files of one certificate, and the SHA-256 thumbprint by which an allow-list may name
    it."""

    certificate: Path
    key: Path
    authorities: Path
    thumbprint: str


def make_authority(
    folder: Path, name: str = "Isthmus", *, now: datetime | None = None
) -> Authority:
    """Make the first authority of an installation. Raises Conflict where `folder` has one
    already."""
    path = folder / AUTHORITY_FILE
    with locked(folder):
        if path.exists():
            raise Conflict(
                f"{path} exists: rotate it rather than make another",
                code="AuthorityExists",
                target=str(path),
            )
        return store_authority(folder, new_authority(name, now or datetime.now(UTC)))


def load_authority(folder: Path) -> Authority:
    """Read the authority of `folder`. Raises NotFound, or Invalid for files that are not ours."""
    path = folder / AUTHORITY_FILE
    pem = read_file(
        path, "the certificate authority of this installation (isthmus certs init makes one)"
    )
    try:
        key = serialization.load_pem_private_key(pem, None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError) as error:
        raise Invalid(
            f"{path} does not hold a key and a certificate in PEM form", target=str(path)
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid(
            f"{path} holds a key that is not an elliptic curve's: make_authority wrote it?",
            target=str(path),
        )
    others = (one for one in read_certificates(folder / BUNDLE_FILE) if one != certificate)
    return Authority(certificate, key, (certificate, *others))


def issue(
    folder: Path,
    name: str,
    kinds: Collection[Kind] = BOTH,
    *,
    dns: Sequence[str] = (),
    addresses: Sequence[str] = (),
    into: Path | None = None,
    days: int = CERTIFICATE_DAYS,
    now: datetime | None = None,
) -> Issued:
    """Issue a certificate with a new key for `name` (the common name; a host's id), replacing an
    earlier one.

    `dns` and `addresses` are alternative names; `name` joins them where it is one of either.
    Writes ``NAME.pem``, ``NAME-key.pem`` and ``ca.pem`` into `into`, or beside the authority. It
    never outlives its authority. Raises NotFound without an authority, Invalid for a name that
    cannot be one.
    """
    _check_name(name)
    alternatives = _alternatives(name, dns, addresses)
    load_authority(folder)  # where there is none, no folder is made to lock
    target = into or folder
    # A rotation meanwhile would have its authority taken out of the bundle again.
    with locked(folder, target):
        return _issue(
            folder, target, name, kinds, alternatives, tuple(dns), tuple(addresses), days, now
        )


def _issue(
    folder: Path,
    target: Path,
    name: str,
    kinds: Collection[Kind],
    alternatives: Sequence[x509.GeneralName],
    dns: tuple[str, ...],
    addresses: tuple[str, ...],
    days: int,
    now: datetime | None,
) -> Issued:
    authority = load_authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    start = now or datetime.now(UTC)
    end = min(start + timedelta(days=days), authority.certificate.not_valid_after_utc)
    builder = _builder(_subject(name), authority.certificate.subject, key, start, end)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([_USAGES[kind] for kind in Kind if kind in kinds]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    files = Issued(
        target / f"{name}.pem",
        target / f"{name}-key.pem",
        target / BUNDLE_FILE,
        thumbprint(certificate),
    )
    bundle = b"".join(map(_pem, authority.trusted))
    replace_files(
        [
            (files.authorities, bundle, False),
            *pair(files.certificate, _pem(certificate), files.key, _key_pem(key)),
        ]
    )
    record(
        folder,
        name,
        Issue(
            authority=thumbprint(authority.certificate),
            until=end,
            dns=dns,
            addresses=addresses,
            server=Kind.SERVER in kinds,
            into="" if target == folder else str(target.absolute()),
        ),
    )
    return files


def new_authority(name: str, now: datetime) -> Authority:
    """An authority with a new key, which nothing has been stored of."""
    _check_name(name)
    key = ec.generate_private_key(ec.SECP256R1())
    # Two authorities of one installation need different names: OpenSSL looks an issuer up by its
    # name first, and not every peer falls back on the key identifier.
    subject = _subject(name, f"{x509.random_serial_number():x}"[:16])
    end = now + timedelta(days=AUTHORITY_DAYS)
    builder = _builder(subject, subject, key, now, end)
    # RFC 5280 section 4.2.1.9: "Conforming CAs MUST include this extension ... and MUST mark it as
    # critical".
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = builder.add_extension(_key_usage(signs=True), critical=True).sign(
        key, hashes.SHA256()
    )
    return Authority(certificate, key, (certificate,))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATING)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str, serial: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if serial:
        attributes.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial))
    return x509.Name(attributes)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(
    name: str, dns: Sequence[str], addresses: Sequence[str]
) -> list[x509.GeneralName]:
    """Without doubles, in the order given; `name` first where it is an address or a DNS name."""
    found: dict[x509.GeneralName, None] = {}
    for one in (name, *addresses):
        try:
            found[x509.IPAddress(ip_address(one))] = None
        except ValueError as error:
            if one is not name:
                raise Invalid(f"{one!r} is not an IP address", target="addresses") from error
            if _DNS_NAME.match(one):
                found[x509.DNSName(one)] = None
    for one in dns:
        if not _DNS_NAME.match(one):
            raise Invalid(f"{one!r} is not a DNS name", target="dns")
        found[x509.DNSName(one)] = None
    return list(found)


def _check_name(name: str) -> None:
    if len(name) > COMMON_NAME_LENGTH or not _NAME.match(name):
        raise Invalid(
            f"{name!r} cannot be a certificate's name: write at most {COMMON_NAME_LENGTH} letters, "
            "digits, spaces and . _ - @ :",
            target="name",
        )


def store_authority(folder: Path, authority: Authority) -> Authority:
    """Write it, its bundle first: an interruption leaves one that works. For who has
    `files.locked` the folder."""
    signs = _key_pem(authority.key) + _pem(authority.certificate)
    replace_files(
        [
            (folder / BUNDLE_FILE, b"".join(map(_pem, authority.trusted)), False),
            (folder / AUTHORITY_FILE, signs, True),
        ]
    )
    return authority


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
