# SPDX-License-Identifier: Apache-2.0
"""Who sends a request is known to what it writes: by a password, by a certificate, or not."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.api.certificates import Kind, issue, make_authority
from isthmus.api.client import Client
from isthmus.api.http.listening import Listener
from isthmus.api.http.tls import TlsFiles
from isthmus.api.http.users import set_user
from isthmus.errors import Unauthorized
from tests.api.conftest import BODY, NIC, Api
from tests.api.serving import serving

PASSWORD = "correct horse battery staple"
CHILD = f"{NIC.lower()}/ipconfigurations/c"
SPACED = "ann of red team"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ow", dir="/tmp"))
    make_authority(made)
    issue(made, "controller", addresses=["127.0.0.1"])
    for name in ("neutron", "admin"):
        issue(made, name, [Kind.CLIENT])
    for name in ("ann", "bob", SPACED):
        set_user(made / "users", name, PASSWORD)
    yield made
    shutil.rmtree(made)


def listener(folder: Path, **more: Any) -> Listener:
    made = TlsFiles(folder / "controller.pem", folder / "controller-key.pem", folder / "ca.pem")
    return Listener("127.0.0.1:0", tls=made, **more)


def user(url: str, folder: Path, name: str) -> Client:
    return Client(url, ca=folder / "ca.pem", user=name, password=PASSWORD)


def holder(url: str, folder: Path, name: str) -> Client:
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    return Client(url, ca=folder / "ca.pem", certificate=certificate, key=key)


def owners(api: Api) -> tuple[str, str]:
    """Of the interface and of its address."""
    nic, child = (api.north.view.get(key) for key in (NIC.lower(), CHILD))
    assert nic is not None
    assert child is not None
    return nic.owner, child.owner


def test_a_user_owns_what_it_creates_and_who_writes_it_later_is_in_the_log(
    furnished: Api, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="isthmus.api"),
        serving(furnished.app, listener=listener(folder, users=folder / "users")) as url,
        user(url, folder, "ann") as ann,
        user(url, folder, "bob") as bob,
    ):
        ann.put(NIC, {"properties": BODY})
        assert owners(furnished) == ("ann", "ann")
        bob.put(NIC, {"properties": {**BODY, "portSettings": {"macSpoofingEnabled": "Enabled"}}})
        assert owners(furnished) == ("ann", "ann")
        bob.put("/networkInterfaces/m", {"properties": BODY})
        bob.delete(NIC)
        with pytest.raises(Unauthorized), Client(url, ca=folder / "ca.pem") as nobody:
            nobody.put(NIC, {"properties": BODY})
    lines = [one.getMessage() for one in caplog.records if "api=write" in one.getMessage()]
    assert [line.partition(" by=")[2] for line in lines] == [
        "ann how=password",
        *(["bob how=password"] * 3),
    ]
    made = furnished.north.view.get("/networkinterfaces/m")
    assert made is not None
    assert made.owner == "bob"


def test_a_child_belongs_to_who_adds_it(furnished: Api, folder: Path) -> None:
    both = listener(folder, users=folder / "users", certificates=("neutron",))
    with (
        serving(furnished.app, listener=both) as url,
        user(url, folder, "ann") as ann,
        holder(url, folder, "neutron") as neutron,
    ):
        ann.put("/virtualNetworks/v/subnets/new", _prefix("10.0.9.0/24"))
        neutron.put("/virtualNetworks/v/subnets/other", _prefix("10.0.10.0/24"))
    rows = furnished.north.view.children("/virtualnetworks/v", "virtualNetworks/subnets")
    found = {row.resource_id: row.owner for row in rows}
    assert found == {"s": "", "new": "ann", "other": "neutron"}
    above = furnished.north.view.get("/virtualnetworks/v")
    assert above is not None
    assert above.owner == ""  # as it was made: a child's write changes its etag alone


def _prefix(text: str) -> dict[str, Any]:
    return {"properties": {"addressPrefix": text}}


def test_a_certificate_s_common_name_owns_what_a_batch_of_it_creates(
    furnished: Api, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed = listener(folder, certificates=("neutron", "admin"))
    with (
        caplog.at_level(logging.INFO, logger="isthmus.api"),
        serving(furnished.app, listener=listed) as url,
        holder(url, folder, "neutron") as neutron,
        holder(url, folder, "admin") as admin,
    ):
        entries = [{"resourceRef": NIC, "body": {"properties": BODY}}]
        neutron.batch(entries)
        admin.batch(entries)
    assert owners(furnished) == ("neutron", "neutron")
    assert [one.getMessage().partition(" by=")[2] for one in caplog.records][-2:] == [
        "neutron how=certificate",
        "admin how=certificate",
    ]


def test_whoever_need_not_say_who_they_are_owns_nothing(
    furnished: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="isthmus.api"),
        serving(furnished.app) as url,
        Client(url) as client,
    ):
        client.put(NIC, {"properties": BODY})
    assert owners(furnished) == ("", "")
    assert all(" by=" not in one.getMessage() for one in caplog.records)


def test_a_name_is_one_word_of_a_line_in_the_log(
    furnished: Api, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="isthmus.api"),
        serving(furnished.app, listener=listener(folder, users=folder / "users")) as url,
        user(url, folder, SPACED) as ann,
    ):
        ann.put(NIC, {"properties": BODY})
    assert caplog.records[-1].getMessage().endswith("by=ann%20of%20red%20team how=password")
    assert owners(furnished)[0] == "ann of red team"
