# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced are used from the next connection on; broken ones change nothing."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from isthmus.api.certificates import issue, make_authority
from isthmus.api.http.tls import ReplaceableTls, TlsFiles
from isthmus.api.rotation import rotate
from isthmus.errors import Invalid
from isthmus.store.client_tls import ClientTls


def client(folder: Path) -> ClientTls:
    return ClientTls(folder / "h1.pem", folder / "h1-key.pem", folder / "ca.pem")


def trusted(context: ssl.SSLContext) -> int:
    return len(context.get_ca_certs())


def test_a_new_bundle_is_trusted_from_the_next_connection_on(tmp_path: Path) -> None:
    make_authority(tmp_path)
    issue(tmp_path, "h1")
    tls = client(tmp_path)
    first = tls.context()
    assert tls.context() is first
    rotate(tmp_path)
    assert (trusted(first), trusted(tls.context())) == (1, 2)


def test_a_key_without_its_certificate_changes_nothing_until_both_are_there(
    tmp_path: Path,
) -> None:
    make_authority(tmp_path)
    other = issue(tmp_path, "h1", into=tmp_path / "new")
    issue(tmp_path, "h1")
    tls = client(tmp_path)
    first = tls.context()
    (tmp_path / "h1-key.pem").write_bytes(other.key.read_bytes())
    assert tls.context() is first
    (tmp_path / "h1.pem").write_bytes(other.certificate.read_bytes())
    assert tls.context() is not first


def test_what_was_read_again_is_kept(tmp_path: Path) -> None:
    make_authority(tmp_path)
    issue(tmp_path, "h1")
    tls = client(tmp_path)
    rotate(tmp_path)
    second = tls.context()
    assert tls.context() is second


def test_files_that_cannot_be_used_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_authority(tmp_path)
    issue(tmp_path, "h1")
    tls = client(tmp_path)
    first = tls.context()
    for content in ("nothing", "nothing at all"):
        (tmp_path / "ca.pem").write_text(content)
        caplog.clear()
        assert [tls.context() for _ in range(3)] == [first] * 3
        assert [one.message.partition(" ")[0] for one in caplog.records] == ["tls=not-replaced"]


def test_files_that_cannot_be_used_at_the_start_are_named(tmp_path: Path) -> None:
    make_authority(tmp_path)
    issue(tmp_path, "h1")
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(Invalid, match=r"h1\.pem.*ca\.pem cannot be used"):
        client(tmp_path)


def test_a_process_that_begins_while_its_files_are_replaced_waits_for_both(tmp_path: Path) -> None:
    make_authority(tmp_path)
    new = issue(tmp_path, "h1", into=tmp_path / "new")
    issue(tmp_path, "h1")
    (tmp_path / "h1.pem").write_bytes(new.certificate.read_bytes())
    files = TlsFiles(*(tmp_path / name for name in ("h1.pem", "h1-key.pem", "ca.pem")))
    begin: tuple[Callable[[], object], ...] = (
        partial(client, tmp_path),
        partial(ReplaceableTls, files, ask_for_certificates=True),
    )
    old_key = (tmp_path / "h1-key.pem").read_bytes()
    for one in begin:
        (tmp_path / "h1-key.pem").write_bytes(old_key)
        late = threading.Timer(0.2, (tmp_path / "h1-key.pem").write_bytes, [new.key.read_bytes()])
        late.start()
        one()
        late.join()
