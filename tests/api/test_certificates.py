# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from isthmus.api.certificate_checks import check, names, read_certificates, thumbprint
from isthmus.api.certificates import Kind, issue, load_authority, make_authority
from isthmus.api.rotation import retire, rotate
from isthmus.errors import Conflict, Invalid, NotFound

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_host_certificate_carries_its_id_its_names_and_both_usages(tmp_path: Path) -> None:
    make_authority(tmp_path, now=NOW)
    files = issue(
        tmp_path, "h1", dns=["h1.example"], addresses=["10.0.0.1", "2001:db8::1"], now=NOW
    )
    found = check(files.certificate, files.key, files.authorities, name="10.0.0.1", now=NOW)
    assert names(found) == {"h1", "h1.example", "10.0.0.1", "2001:db8::1"}
    usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert thumbprint(found) == files.thumbprint


def test_a_client_only_certificate_is_not_for_a_server(tmp_path: Path) -> None:
    make_authority(tmp_path)
    files = issue(tmp_path, "admin", [Kind.CLIENT])
    usages = (
        read_certificates(files.certificate)[0]
        .extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        .value
    )
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_files_with_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    make_authority(tmp_path)
    files = issue(tmp_path, "h1", into=tmp_path / "h1")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.pem")}
    assert modes == {"authority.pem": 0o600, "ca.pem": 0o644, "h1.pem": 0o644, "h1-key.pem": 0o600}
    assert files.key.parent == tmp_path / "h1"
    assert not [path for path in tmp_path.rglob(".*")]


def test_a_second_authority_in_one_folder_is_refused(tmp_path: Path) -> None:
    make_authority(tmp_path)
    with pytest.raises(Conflict, match="rotate"):
        make_authority(tmp_path)


def test_during_a_rotation_both_authorities_are_trusted_and_after_it_only_the_new_one(
    tmp_path: Path,
) -> None:
    make_authority(tmp_path)
    old = issue(tmp_path, "h1")
    rotate(tmp_path)
    new = issue(tmp_path, "h2")
    for files in (old, new):
        check(files.certificate, files.key, tmp_path / "ca.pem")
    assert len(load_authority(tmp_path).trusted) == 2
    retire(tmp_path, {}, force=True)
    check(new.certificate, new.key, tmp_path / "ca.pem")
    with pytest.raises(Invalid, match=r"not in .*ca\.pem.*issue the certificate again"):
        check(old.certificate, old.key, tmp_path / "ca.pem")


def test_openssl_itself_verifies_a_certificate_strictly(tmp_path: Path) -> None:
    make_authority(tmp_path)
    files = issue(tmp_path, "c1", addresses=["127.0.0.1"])
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=str(files.authorities))
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    assert _shake_hands(client, server, "127.0.0.1")


@pytest.mark.parametrize(
    ("days", "message"), [(400, "expired on .* issue it again"), (-2, "valid only from .* clock")]
)
def test_a_certificate_out_of_its_time_is_refused_with_the_date(
    tmp_path: Path, days: int, message: str
) -> None:
    make_authority(tmp_path, now=NOW)
    files = issue(tmp_path, "h1", days=30, now=NOW)
    with pytest.raises(Invalid, match=message):
        check(files.certificate, files.key, files.authorities, now=NOW + timedelta(days=days))


def test_a_certificate_never_outlives_its_authority(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, now=NOW)
    files = issue(tmp_path, "h1", now=NOW + timedelta(days=3600))
    found = read_certificates(files.certificate)[0]
    assert found.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_what_does_not_fit_together_is_named(tmp_path: Path) -> None:
    make_authority(tmp_path)
    one, two = issue(tmp_path, "h1"), issue(tmp_path, "h2")
    with pytest.raises(Invalid, match="is for h1, not for h9: issue one for h9"):
        check(one.certificate, one.key, one.authorities, name="h9")
    with pytest.raises(Invalid, match="is not the key of"):
        check(one.certificate, two.key, one.authorities)
    with pytest.raises(NotFound, match="absent"):
        check(tmp_path / "absent", one.key, one.authorities)
    with pytest.raises(Invalid, match="no private key"):
        check(one.certificate, one.certificate, one.authorities)


@pytest.mark.parametrize("name", ["", "../etc/passwd", "a" * 65, ".hidden", "a/b", "a\n"])
def test_a_name_that_cannot_be_a_common_name_and_a_file_is_refused(
    tmp_path: Path, name: str
) -> None:
    make_authority(tmp_path)
    with pytest.raises(Invalid, match="cannot be a certificate's name"):
        issue(tmp_path, name)


def test_without_an_authority_issuing_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="isthmus certs"):
        issue(tmp_path, "h1")


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> bool:
    """A whole TLS handshake in memory. Raises ssl.SSLError."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done: set[int] = set()
    for _ in range(10):
        for index, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(index)
            except ssl.SSLWantReadError:
                continue
    return len(done) == len(ends)
