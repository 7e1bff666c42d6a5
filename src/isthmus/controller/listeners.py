# SPDX-License-Identifier: Apache-2.0
"""Which certificates the listeners present: those of both stores' servers, on every machine of
their clusters, and those of this controller's REST API. Files say what ought to be presented;
whoever is asked here shows what is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509

from isthmus.api.certificate_checks import read_certificates, signer, thumbprint
from isthmus.controller.doctor import ERROR, EXPIRES_S, WARNING, Finding
from isthmus.errors import IsthmusError
from isthmus.intent.model import Json, JsonObject
from isthmus.store.clusters import cluster_status
from isthmus.store.exposure import ServerTls
from isthmus.store.files import ServerFiles
from isthmus.store.presenting import own_listener, presented, reached_at

_INSTALL = "there: isthmus certs install FOLDER, with FOLDER from where the authority is"


@dataclass(frozen=True, slots=True)
class Listener:
    """One that is to be asked. `own`: it is to present the certificate of `tls`."""

    name: str
    remote: str
    tls: ServerTls
    own: bool = False
    unknown: str = ""
    """Why it is not known where it is, and so cannot be asked."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a listener has shown; no certificate where that is not known, but a problem."""

    listener: Listener
    certificate: x509.Certificate | None = None
    problem: str = ""
    signed_by: str = ""
    """The thumbprint of the authority, of those that we trust; empty where none did."""
    takes_ours: bool = False
    is_of_files: bool = False
    """Whether it is the certificate that our own files hold."""
    ours_signed_by: str = ""
    newest: str = ""
    """Of the authorities that we trust."""


async def store_listeners(
    store: str,
    tls: ServerTls,
    remotes: Sequence[str],
    own: tuple[ServerFiles, str, Sequence[str]] | None,
) -> list[Listener]:
    """All of a store that speak TLS: of its cluster where a server of it is `own` (its files, its
    data base and where it listens as configured), else `remotes`."""
    if own is None:
        found = [(one, False) for one in remotes]
    else:
        files, database, listen = own
        try:
            status = await cluster_status(files, database)
        except IsthmusError as error:
            return [Listener(f"server of the {store} store here", "", tls, unknown=str(error))]
        found = [(one.address, one.is_self) for one in status.members]
        if not any(is_self and one.startswith("ssl:") for one, is_self in found):
            found.append((await own_listener(files, listen), True))
    return [
        Listener(f"server of the {store} store at {remote}", remote, tls, is_own)
        for remote, is_own in found
        if remote.startswith("ssl:")
    ]


def rest_listeners(listen: Iterable[str], tls: ServerTls) -> list[Listener]:
    """Those of a controller's own REST API that speak TLS, of all that it listens on."""
    found = []
    for text in listen:
        host, _, port = text.removeprefix("https://").rpartition(":")
        if not text.startswith(("unix:", "http://")):
            remote = f"ssl:{reached_at(host)}:{port}"
            found.append(Listener(f"REST API at {text} here", remote, tls, own=True))
    return found


async def ask(listeners: Iterable[Listener]) -> list[Shown]:
    """All of them at once, each for some seconds at most."""
    return await asyncio.gather(*map(_ask, listeners))


async def _ask(listener: Listener) -> Shown:
    if listener.unknown:
        return Shown(listener, problem=listener.unknown)
    try:
        found = await presented(listener.remote, listener.tls)
        certificate = x509.load_der_x509_certificate(found.certificate)
        trusted = read_certificates(listener.tls.ca)
        ours = read_certificates(listener.tls.certificate)[0]
    except (IsthmusError, ValueError) as error:
        return Shown(listener, problem=str(error))
    return Shown(
        listener,
        certificate,
        signed_by=signer(certificate, trusted),
        takes_ours=found.takes_ours,
        is_of_files=certificate == ours,
        ours_signed_by=signer(ours, trusted),
        newest=thumbprint(trusted[0]),
    )


def told(shown: Iterable[Shown]) -> dict[str, JsonObject | None]:
    """By name: which authority has signed what it presents, and which it takes us by, as
    thumbprints; None where that is not known."""
    found: dict[str, JsonObject | None] = {}
    for one in shown:
        trusts: list[Json] = [one.ours_signed_by] if one.takes_ours else []
        says: JsonObject = {"signedBy": one.signed_by, "trusts": trusts}
        found[one.listener.name] = None if one.certificate is None else says
    return found


def findings(shown: Iterable[Shown], now_s: float) -> Iterator[Finding]:
    """What is wrong with what they present."""
    for one in shown:
        name, tls = one.listener.name, one.listener.tls
        if one.certificate is None:
            yield Finding(
                *(ERROR, name, "no-certificate", one.problem),
                "there: isthmus store status; do packets pass?",
            )
            continue
        if one.listener.own and not one.is_of_files:
            yield Finding(
                *(ERROR, name, "certificate-not-presented"),
                f"it presents another certificate than {tls.certificate}",
                "isthmus store status says more; isthmus store stop; isthmus store start",
            )
        elif not one.signed_by:
            yield Finding(
                *(ERROR, name, "certificate-authority"),
                f"no authority of {tls.ca} has signed what it presents",
                _INSTALL,
            )
        elif one.signed_by != one.newest:
            yield Finding(
                *(WARNING, name, "certificate-authority"),
                "what it presents is signed by an older authority than the newest that we trust",
                _INSTALL,
            )
        if not one.takes_ours:
            yield Finding(
                *(ERROR, name, "certificate-refused", f"it does not take {tls.certificate}"),
                f"{_INSTALL}: its ca.pem must have the authority that signed ours",
            )
        if (left_s := one.certificate.not_valid_after_utc.timestamp() - now_s) < EXPIRES_S:
            days = int(left_s // 86400)
            yield Finding(
                *(WARNING if days >= 0 else ERROR, name, "certificate-dates"),
                f"what it presents expires in {days} days" if days >= 0 else "it has expired",
                _INSTALL,
            )
