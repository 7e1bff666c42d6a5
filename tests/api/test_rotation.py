# SPDX-License-Identifier: Apache-2.0
"""A new authority takes the place of an old one, and nobody who depends on the old is cut off."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from isthmus.api.certificate_checks import check, names, read_certificates, thumbprint, trust
from isthmus.api.certificates import Issued, Kind, issue, load_authority, make_authority
from isthmus.api.issued import REGISTER_FILE, read_issued, record
from isthmus.api.rotation import dependants, renew, retire, rotate
from isthmus.errors import Conflict, Invalid


def newest(folder: Path) -> str:
    return thumbprint(load_authority(folder).certificate)


def usages(files: Issued) -> set[x509.ObjectIdentifier]:
    found = read_certificates(files.certificate)[0].extensions
    return set(found.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_what_was_issued_is_issued_again_with_its_names_into_its_folder(tmp_path: Path) -> None:
    make_authority(tmp_path)
    issue(tmp_path, "c1", dns=["c1.example"], addresses=["192.0.2.1"])
    issue(tmp_path, "kvm2", into=tmp_path / "kvm2")
    issue(tmp_path, "operator", (Kind.CLIENT,))
    rotate(tmp_path)
    again = {files.certificate.name: files for files in renew(tmp_path)}
    assert sorted(again) == ["c1.pem", "kvm2.pem", "operator.pem"]
    assert again["kvm2.pem"].certificate.parent == tmp_path / "kvm2"
    controller = again["c1.pem"]
    found = check(controller.certificate, controller.key, controller.authorities)
    assert names(found) == {"c1", "c1.example", "192.0.2.1"}
    assert usages(again["operator.pem"]) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    for files in again.values():
        assert trust(files.certificate, files.authorities)[0] == newest(tmp_path)
    assert renew(tmp_path) == []


def test_an_authority_is_not_retired_while_a_certificate_of_it_is_the_last_of_its_name(
    tmp_path: Path,
) -> None:
    make_authority(tmp_path)
    issue(tmp_path, "kvm2", into=tmp_path / "kvm2")
    rotate(tmp_path)
    with pytest.raises(Conflict, match="kvm2") as refused:
        retire(tmp_path, {})
    assert refused.value.code == "AuthorityInUse"
    assert len(load_authority(tmp_path).trusted) == 2
    renew(tmp_path)
    retire(tmp_path, {})
    assert len(load_authority(tmp_path).trusted) == 1


def test_what_has_expired_or_is_forgotten_holds_no_authority(tmp_path: Path) -> None:
    make_authority(tmp_path)
    issue(tmp_path, "old", now=datetime.now(UTC) - timedelta(days=10), days=5)
    issue(tmp_path, "gone", into=tmp_path / "gone")
    rotate(tmp_path)
    assert [line.split(" is ")[0] for line in dependants(tmp_path, {})] == [
        "the last certificate of gone"
    ]
    record(tmp_path, "gone", None)
    assert dependants(tmp_path, {}) == []


def test_who_uses_an_old_authority_or_does_not_know_the_new_one_or_is_silent_is_named(
    tmp_path: Path,
) -> None:
    make_authority(tmp_path)
    old = newest(tmp_path)
    rotate(tmp_path)
    new = newest(tmp_path)
    told = {
        "host h1": {"signedBy": new, "trusts": [new, old]},
        "host h2": {"signedBy": old, "trusts": [new, old]},
        "host h3": {"signedBy": new, "trusts": [old]},
        "host h4": None,
    }
    found = dependants(tmp_path, told)
    assert [line.partition("(")[0].strip() for line in found] == [
        "host h2 uses a certificate that an old one signed",
        "host h3 does not trust the new one",
        "host h4 does not answer, so what it uses is not known",
    ]
    with pytest.raises(Conflict, match="host h2"):
        retire(tmp_path, told)
    assert len(retire(tmp_path, told, force=True).trusted) == 1


def test_a_certificate_beside_the_authority_counts_although_no_register_has_it(
    tmp_path: Path,
) -> None:
    make_authority(tmp_path)
    issue(tmp_path, "h1", dns=["h1.example"], addresses=["2001:db8::1"])
    (tmp_path / REGISTER_FILE).unlink()
    assert read_issued(tmp_path)["h1"].addresses == ("2001:db8::1",)
    rotate(tmp_path)
    assert "h1" in dependants(tmp_path, {})[0]
    (files,) = renew(tmp_path)
    assert names(read_certificates(files.certificate)[0]) == {"h1", "h1.example", "2001:db8::1"}


def test_what_is_issued_at_the_same_time_is_all_in_the_register(tmp_path: Path) -> None:
    make_authority(tmp_path)
    batches = [[f"h{batch}-{number}" for number in range(3)] for batch in range(8)]
    together = threading.Barrier(len(batches))

    def write(names: list[str]) -> None:
        together.wait()
        for name in names:
            issue(tmp_path, name)

    with ThreadPoolExecutor(len(batches)) as writers:
        list(writers.map(write, batches))
    assert set(chain(*batches)) <= read_issued(tmp_path).keys()


def test_a_register_that_cannot_be_read_says_so_and_nothing_is_retired(tmp_path: Path) -> None:
    make_authority(tmp_path)
    rotate(tmp_path)
    (tmp_path / REGISTER_FILE).write_text("{")
    with pytest.raises(Invalid, match=r"issued\.json cannot be read"):
        retire(tmp_path, {})
    assert len(load_authority(tmp_path).trusted) == 2
