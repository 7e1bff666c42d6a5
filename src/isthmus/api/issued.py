# SPDX-License-Identifier: Apache-2.0
"""What an authority has issued: the register ``issued.json`` beside it.

It holds, for each name, what its last certificate says and which authority signed it, so that a
rotation can issue all of them again, and can tell whom the end of an old authority would cut off.
Keys and certificates are not in it. A certificate that lies beside the authority and is in no
register, because an earlier version issued it, is read from its file.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from isthmus.api.certificate_checks import common_name, read_certificates, signer
from isthmus.errors import Invalid, NotFound
from isthmus.files import write_file

REGISTER_FILE = "issued.json"
BUNDLE_FILE = "ca.pem"


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """The last certificate of one name."""

    authority: str
    """SHA-256 thumbprint of the authority that signed it; empty where none that is trusted did."""
    until: datetime
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    server: bool = True
    """Whether it may listen; every certificate of ours may dial."""
    into: str = ""
    """The folder that it was issued into; empty for beside the authority."""


def read_issued(folder: Path) -> dict[str, Issue]:
    """By name. Raises Invalid for a register that cannot be read."""
    path = folder / REGISTER_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Issue])
    except FileNotFoundError:
        found = {}
    except (OSError, msgspec.DecodeError) as error:
        raise Invalid(
            f"{path} cannot be read: {error}. Restore it, or remove it and issue every certificate"
            " again",
            target=str(path),
        ) from error
    return {**_beside(folder), **found}


def record(folder: Path, name: str, issue: Issue | None) -> None:
    """Note the last certificate of a name; None forgets the name. For who has `files.locked` the
    folder."""
    known = {one: said for one, said in read_issued(folder).items() if one != name}
    if issue is not None:
        known[name] = issue
    text = msgspec.json.format(msgspec.json.encode(known, order="sorted"), indent=1)
    write_file(folder / REGISTER_FILE, text + b"\n", secret=False)


def _beside(folder: Path) -> dict[str, Issue]:
    found = {}
    for file in sorted(folder.glob("*.pem")):
        if not file.with_name(f"{file.stem}-key.pem").exists():
            continue
        try:
            certificate = read_certificates(file)[0]
            found[common_name(certificate)] = _read(certificate, folder / BUNDLE_FILE)
        except (Invalid, NotFound):
            continue  # `isthmus certs list` says what is wrong with it
    return found


def _read(certificate: x509.Certificate, bundle: Path) -> Issue:
    usages: list[x509.ObjectIdentifier] = []
    names: list[x509.GeneralName] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        usages = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        names = list(
            certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )
    return Issue(
        authority=signer(certificate, read_certificates(bundle)),
        until=certificate.not_valid_after_utc,
        dns=tuple(one.value for one in names if isinstance(one, x509.DNSName)),
        addresses=tuple(str(one.value) for one in names if isinstance(one, x509.IPAddress)),
        server=ExtendedKeyUsageOID.SERVER_AUTH in usages,
    )
