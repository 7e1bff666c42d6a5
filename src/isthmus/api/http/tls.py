# SPDX-License-Identifier: Apache-2.0
"""TLS of a listener, whose certificates can be replaced while it listens.

A listener keeps one `ssl.SSLContext` for its life. OpenSSL asks a callback for the context of each
new connection (meant for choosing by server name); ours answers with the one that was made from
the files last. So a rotation changes the certificate, the key and the authorities for all new
connections, drops none, and a broken file changes nothing.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from isthmus.api.certificate_checks import check, names, read_certificates
from isthmus.errors import Invalid, IsthmusError
from isthmus.files import stamp
from isthmus.store.client_tls import settled


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files of a listener: its certificate and key, and whom it trusts."""

    certificate: Path
    key: Path
    authorities: Path


class ReplaceableTls:
    """The TLS of one listener. `context` is what it listens with."""

    def __init__(self, files: TlsFiles, *, ask_for_certificates: bool) -> None:
        """Raises NotFound, or Invalid saying what is wrong with which file."""
        self._files = files
        self._ask = ask_for_certificates
        self._stamp = self._tried = stamp(_paths(files))
        self._newest = settled(
            lambda: server_context(files, ask_for_certificates=ask_for_certificates)
        )
        self.names = names(read_certificates(files.certificate)[0])
        """What the certificate is for, in lower case."""
        self.context = self._newest
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Use the files as they are now. Raises NotFound or Invalid; then all stays as it was."""
        found = stamp(_paths(self._files))
        newest = server_context(self._files, ask_for_certificates=self._ask)
        self.names = names(read_certificates(self._files.certificate)[0])
        self._newest = newest
        self._stamp = found

    def has_changed(self) -> bool:
        """Whether a file is another one than at the last successful `reload`."""
        return stamp(_paths(self._files)) != self._stamp

    def _choose(
        self, connection: ssl.SSLObject, _name: str | None, _listening: ssl.SSLContext
    ) -> None:
        # Whoever comes with what was issued a moment ago is judged by the files of this moment.
        found = stamp(_paths(self._files))
        if found not in (self._stamp, self._tried):
            self._tried = found
            with contextlib.suppress(IsthmusError):  # the watcher of the files says what is wrong
                self.reload()
        connection.context = self._newest


def server_context(files: TlsFiles, *, ask_for_certificates: bool) -> ssl.SSLContext:
    """TLS 1.2 and later for a server. A client's certificate, if asked for and sent, must be
    signed by `files.authorities` and be for clients. Raises NotFound, Invalid."""
    check(files.certificate, files.key, files.authorities)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, files)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A resumed session would keep what was verified by an authority that is retired since.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if ask_for_certificates:
        # Not CERT_REQUIRED: who has none gets a 401 that says so, not a TLS alert that says
        # nothing.
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(files.authorities)
    return context


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.certificate, files.key)
    except ssl.SSLError as error:
        raise Invalid(f"{files.certificate} with {files.key} cannot be used: {error}") from error


def _paths(files: TlsFiles) -> tuple[Path, Path, Path]:
    return files.certificate, files.key, files.authorities
