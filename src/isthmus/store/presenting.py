# SPDX-License-Identifier: Apache-2.0
"""Which certificate a listener presents, and seeing to it that it is the one of its files.

Open vSwitch reads its key and certificate again when it sees that both were replaced
(lib/stream-ssl.c, stream_ssl_set_key_and_cert). It looks at its key first, so whoever writes the
key before the certificate, by hand, say, or is interrupted, may leave a server that presents the
old one for as long as it lives. Touching both, the certificate first, has it read them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import IsthmusError, Unavailable
from isthmus.files import Stamp, stamp
from isthmus.store.databases import address_of
from isthmus.store.exposure import ServerTls
from isthmus.store.files import ServerFiles, placement
from isthmus.store.remotes import check_remote

ASK_S = 5.0
TOUCHES = 3
PAUSE_S = 0.2
"""Between a touch and the look at what came of it: a server takes part of a millisecond."""
AGAIN_S = 5.0
"""Between two attempts at one that goes on presenting another."""


class Presented(NamedTuple):
    """What a listener has shown of itself."""

    certificate: bytes
    """DER."""
    takes_ours: bool
    """Whether it takes whoever has our certificate."""


async def presented(remote: str, tls: ServerTls) -> Presented:
    """Ask a listener, ``ssl:host:port``, as the owner of `tls`. Nothing of it is believed: the
    caller judges. Raises Unavailable where nobody answers, Invalid."""
    # Up to TLS 1.2 a server has judged our certificate when the handshake ends (RFC 5246 section
    # 7.3). From 1.3 on it shows its own whatever it thinks of ours (RFC 8446 section 4.4).
    try:
        return Presented(await _handshake(remote, tls, ssl.TLSVersion.TLSv1_2), True)
    except (ssl.SSLError, ConnectionResetError) as refused:
        try:
            found = await _handshake(remote, tls, ssl.TLSVersion.MAXIMUM_SUPPORTED)
        except OSError as error:
            raise Unavailable(
                f"{remote} shows no certificate: {str(error) or 'silence'}"
            ) from error
        # Who does without TLS 1.2 has not said what it thinks of us.
        return Presented(found, getattr(refused, "reason", "") == "TLSV1_ALERT_PROTOCOL_VERSION")
    except OSError as error:
        raise Unavailable(f"{remote} does not answer: {str(error) or 'silence'}") from error


async def _handshake(remote: str, tls: ServerTls, newest: ssl.TLSVersion) -> bytes:
    """The peer's certificate, DER. Raises OSError, Invalid."""
    _, host, port = check_remote(remote)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    with contextlib.suppress(OSError):  # files that do not fit together: then we come with none
        context.load_cert_chain(tls.certificate, tls.key)
    async with asyncio.timeout(ASK_S):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    assert isinstance(found, bytes), "a server of TLS has a certificate"
    return found


async def own_listener(files: ServerFiles, listen: Iterable[str]) -> str:
    """Where a server of this machine speaks TLS, as ``ssl:host:port``; empty where it does not.
    All its listeners present the same. `listen` as configured."""
    for one in (*listen, *placement(files).listen):
        scheme, _, rest = one.partition(":")
        if scheme == "pssl":
            port, _, host = rest.partition(":")
            return f"ssl:{reached_at(host)}:{port}"
    address = await address_of(files)
    return address if address.startswith("ssl:") else ""


def reached_at(host: str) -> str:
    """Where this machine reaches what it listens on itself: loopback for every address."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)


def certificate_of(tls: ServerTls) -> bytes:
    """The certificate of the files, DER. Raises Unavailable."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        pem = tls.certificate.read_text()
        first = pem[pem.index(begin) : pem.index(end) + len(end)]
        return ssl.PEM_cert_to_DER_cert(first)
    except (OSError, ValueError) as error:
        raise Unavailable(f"{tls.certificate} cannot be read: {error}") from error


async def look(files: ServerFiles, listen: Iterable[str], tls: ServerTls, *, mend: bool) -> str:
    """What is wrong with what a server of this machine presents to others; empty where nothing is,
    or where it does not listen for others. `mend`: have it read its files again. Raises Unavailable
    where it does not answer."""
    remote = await own_listener(files, listen)
    if not remote:
        return ""
    if mend or not _fits(tls):
        return await take_up(remote, tls)
    same = (await presented(remote, tls)).certificate == certificate_of(tls)
    return "" if same else _stubborn(remote, tls)


async def take_up(remote: str, tls: ServerTls) -> str:
    """Have the server of this machine that listens at `remote` present the certificate of its
    files; what is wrong where it does not. Raises Unavailable where it does not answer."""
    for left in reversed(range(TOUCHES + 1)):
        # With such a pair Open vSwitch ends every handshake without a word.
        if not _fits(tls):
            return f"{tls.key} is not the key of {tls.certificate}: isthmus certs install FOLDER"
        if (await presented(remote, tls)).certificate == certificate_of(tls):
            return ""
        if left:
            for file in (tls.certificate, tls.key):
                _touch(file)
            await asyncio.sleep(PAUSE_S)
    return _stubborn(remote, tls)


def _stubborn(remote: str, tls: ServerTls) -> str:
    return (
        f"{remote} presents another certificate than {tls.certificate}: isthmus store stop;"
        " isthmus store start"
    )


def _fits(tls: ServerTls) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tls.certificate, tls.key)
    except OSError:
        return False
    return True


def _touch(file: Path) -> None:
    """Raises Unavailable."""
    now_ns = time.time_ns()
    try:
        os.utime(file, ns=(now_ns, now_ns))
    except OSError as error:
        raise Unavailable(f"{file} cannot be touched: {error.strerror}") from error


class Presenting:
    """Looks after one server: asks it after each change of its files, and not otherwise."""

    def __init__(self, files: ServerFiles, listen: Iterable[str], tls: ServerTls) -> None:
        self._files, self._listen, self._tls = files, tuple(listen), tls
        self._settled: tuple[int, Stamp] | None = None
        """The process, and the files as they were when it presented them."""
        self._not_before_s = 0.0

    async def look(self, pid: int, now_s: float) -> str | None:
        """What is wrong, empty where nothing is; None where it was not the time to ask."""
        found = self._stamp()
        if self._settled == (pid, found):
            return None
        if now_s < self._not_before_s:
            return None
        self._not_before_s = now_s + AGAIN_S
        try:
            problem = await look(self._files, self._listen, self._tls, mend=True)
        except IsthmusError as error:
            return f"what it presents is not known: {error.message}"
        if not problem:
            # If they were touched or replaced meanwhile, the next look settles it.
            self._settled = pid, found
            self._not_before_s = now_s
        return problem

    def _stamp(self) -> Stamp:
        return stamp((self._tls.certificate, self._tls.key))
