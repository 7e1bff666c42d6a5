# SPDX-License-Identifier: Apache-2.0
"""How we prove ourselves to servers that are reached by ``ssl:``, with files that may be replaced.

A long-lived process asks for a context at every connection that it makes. Files that have changed
since the last one are read again, so a renewed certificate or a new bundle of authorities is used
from the next connection on. Files that cannot be used change nothing: the last good ones serve on,
and the log says what is wrong.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from isthmus.errors import Invalid
from isthmus.files import Stamp, stamp

log = logging.getLogger(__name__)

SETTLED_S = 1.0
"""A certificate and its key are replaced by two renames, one right after the other: this is long
enough for both on a machine under load."""

T = TypeVar("T")


class ClientTls:
    """The certificate and key of one of our processes, and the authorities that it trusts; those
    of the system where `authorities` is None."""

    def __init__(self, certificate: Path, key: Path, authorities: Path | None) -> None:
        """Raises Invalid for files that cannot be used."""
        self._certificate, self._key, self._authorities = certificate, key, authorities
        self._stamp = self._stamp_now()
        self._context = settled(self._read)

    def context(self) -> ssl.SSLContext:
        """What the next connection is made with."""
        found = self._stamp_now()
        if found != self._stamp:
            self._stamp = found
            try:
                self._context = self._read()
            except Invalid as error:
                log.warning("tls=not-replaced reason=%s", error.message)
            else:
                log.info("tls=replaced certificate=%s", self._certificate)
        return self._context

    def _read(self) -> ssl.SSLContext:
        authorities = str(self._authorities) if self._authorities else None
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authorities)
            context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(file) for file in self._files())
            raise Invalid(f"the certificates {files} cannot be used: {error}") from error
        context.check_hostname = False  # servers are known by our authority, not by a DNS name
        return context

    def _files(self) -> list[Path]:
        return [
            file for file in (self._certificate, self._key, self._authorities) if file is not None
        ]

    def _stamp_now(self) -> Stamp:
        return stamp(self._files())


def settled(read: Callable[[], T]) -> T:
    """What `read` makes of a certificate and its key, tried again for a moment where they do not
    fit together: they may be being replaced. Blocks; not for a process that serves already. Raises
    Invalid."""
    end_s = time.monotonic() + SETTLED_S
    while True:
        try:
            return read()
        except Invalid:
            if time.monotonic() > end_s:
                raise
            time.sleep(SETTLED_S / 20)
