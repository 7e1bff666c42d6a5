# SPDX-License-Identifier: Apache-2.0
"""The rule of one listener: who a request is from, and who is let in."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from cryptography import x509

from isthmus.api.certificate_checks import thumbprint
from isthmus.api.certificates import Kind, issue, make_authority
from isthmus.api.http.access import LOCAL, Access, AllowList, Credentials, How, Identity, Peer
from isthmus.api.http.users import set_user
from isthmus.errors import Forbidden, Invalid, Unauthorized

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("access")
    make_authority(made)
    issue(made, "admin", [Kind.CLIENT])
    issue(made, "stranger", [Kind.CLIENT])
    set_user(made / "users", "ann", PASSWORD)
    return made


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def identified(access: Access, peer: Peer, credentials: Credentials | None = None) -> Identity:
    return asyncio.run(access.identify(peer, credentials or Credentials()))


def basic(text: str | bytes) -> Credentials:
    raw = text if isinstance(text, bytes) else text.encode()
    return Credentials(authorization=f"Basic {base64.b64encode(raw).decode()}")


def test_a_certificate_is_listed_by_thumbprint_name_or_subject(folder: Path) -> None:
    admin, stranger = certificate(folder, "admin"), certificate(folder, "stranger")
    digits = thumbprint(admin)
    colons = ":".join(digits[k : k + 2] for k in range(0, 64, 2)).upper()
    for entry in (digits, colons, "admin", " ADMIN ", admin.subject.rfc4514_string()):
        listed = AllowList([entry])
        assert admin in listed, entry
        assert stranger not in listed, entry


@pytest.mark.parametrize("entry", ["", "  ", "a" * 40, ":".join(["AB"] * 20)])
def test_an_entry_that_can_match_nothing_is_refused(entry: str) -> None:
    with pytest.raises(Invalid):
        AllowList([entry])


def test_a_listed_certificate_is_its_name_and_another_is_told_how_to_be_listed(
    folder: Path,
) -> None:
    access = Access(["admin"])
    found = identified(access, Peer("192.0.2.1", certificate(folder, "admin")))
    assert found == Identity("admin", How.CERTIFICATE)
    stranger = certificate(folder, "stranger")
    with pytest.raises(Forbidden, match=thumbprint(stranger)):
        identified(access, Peer("192.0.2.1", stranger))
    with pytest.raises(Unauthorized, match="a client certificate"):
        identified(access, Peer("192.0.2.1"))
    with pytest.raises(Unauthorized):
        identified(access, Peer("192.0.2.1"), basic(f"ann:{PASSWORD}"))


def test_where_both_are_taken_either_is_enough(folder: Path) -> None:
    access = Access(["admin"], folder / "users")
    for peer, credentials, how in (
        (Peer("", certificate(folder, "admin")), Credentials(), "certificate"),
        (Peer(""), basic(f"ann:{PASSWORD}"), "password"),
        (Peer("", certificate(folder, "stranger")), basic(f"ann:{PASSWORD}"), "password"),
    ):
        assert identified(access, peer, credentials).how == how
    with pytest.raises(Unauthorized, match="certificate or a user name"):
        identified(access, Peer(""))


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer abc",
        "Basic",
        "Basic !!!",
        basic("no colon").authorization,
        basic(b"\xff:\xff").authorization,
        basic("ann:wrong").authorization,
        basic(f"ann: {PASSWORD}").authorization,
        basic(":").authorization,
    ],
)
def test_credentials_that_are_none_are_refused(folder: Path, authorization: str) -> None:
    access = Access(users=folder / "users")
    with pytest.raises(Unauthorized):
        identified(access, Peer("192.0.2.1"), Credentials(authorization=authorization))


def test_a_scheme_is_read_in_any_letter_case(folder: Path) -> None:
    text = basic(f"ann:{PASSWORD}").authorization.replace("Basic", "bAsIc")
    access = Access(users=folder / "users")
    assert identified(access, Peer(""), Credentials(authorization=text)).name == "ann"


def test_a_password_is_read_in_the_latin_1_that_older_clients_send(folder: Path) -> None:
    """RFC 7617 section 2.1 asks for UTF-8; .NET Framework sends what it did before that."""
    set_user(folder / "others", "jörg", f"{PASSWORD} ä")
    access = Access(users=folder / "others")
    for charset in ("utf-8", "latin-1"):
        credentials = basic(f"jörg:{PASSWORD} ä".encode(charset))
        assert identified(access, Peer(""), credentials) == Identity("jörg", How.PASSWORD)


def test_an_open_listener_lets_in_whoever_reaches_it() -> None:
    for peer in (Peer("127.0.0.1"), Peer("")):
        assert identified(Access(), peer) == LOCAL
