# SPDX-License-Identifier: Apache-2.0
"""Credentials: a secret is kept, is not shown, and is not given away by what is refused."""

from __future__ import annotations

import pytest

from isthmus.intent.fields import decode
from isthmus.intent.kinds.credentials import Credential
from isthmus.intent.model import Json
from tests.intent.cloud import Cloud, Properties

PATH = "/credentials/c"
ACCOUNT: dict[str, Json] = {"type": "UsernamePassword", "userName": "nc"}
SECRETS: tuple[dict[str, Json], ...] = (ACCOUNT, {"type": "SnmpCommunityString"})


def stored(cloud: Cloud) -> str:
    return decode(cloud.row(PATH), Credential).value


@pytest.mark.parametrize("properties", SECRETS)
def test_a_secret_is_shown_as_null_and_stays_when_null_comes_back(
    cloud: Cloud, properties: dict[str, Json]
) -> None:
    shown = cloud.put(PATH, {**properties, "value": "secret"})
    assert shown["value"] is None
    body = cloud.get(PATH)
    assert cloud.put_body(PATH, body).status == 200
    assert stored(cloud) == "secret"
    refused = cloud.refused("/credentials/new", {**properties, "value": None})
    assert (refused.code, refused.target) == ("RequiredParamMissing", "properties.value")


def test_what_is_no_secret_is_shown(cloud: Cloud) -> None:
    assert cloud.put(PATH, {"type": "X509Certificate", "value": "AB"})["value"] == "AB"


@pytest.mark.parametrize("value", ["secret", "guess"])
def test_a_changed_type_does_not_tell_whether_a_value_is_the_stored_one(
    cloud: Cloud, value: str
) -> None:
    cloud.put(PATH, {**ACCOUNT, "value": "secret"})
    changed: dict[str, Json] = {"type": "X509Certificate"}
    for without in (changed, {**changed, "value": None}):
        assert "value is missing" in cloud.refused(PATH, without).message
    assert cloud.put(PATH, {**changed, "value": value})["value"] == value
    assert Properties(cloud.get(PATH))["type"] == "X509Certificate"


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("X509Certificate", "A1B2C3", "A1B2C3"),
        ("X509CertificateSubjectName", "O=Contoso, CN=host1", "host1"),
        ("SnmpCommunityString", "public", None),
        ("UsernamePassword", "secret", None),
    ],
)
def test_of_a_certificate_the_value_is_shown_and_of_a_secret_never(
    cloud: Cloud, kind: str, value: str, shown: str | None
) -> None:
    made = cloud.put("/credentials/c", {"type": kind, "userName": "u", "value": value})
    assert made["value"] == shown
    cloud.put_body("/credentials/c", cloud.get("/credentials/c"))
    assert decode(cloud.row("/credentials/c"), Credential).value == (shown or value)
    # SdnDiagnostics rotates certificates: it reads, assigns, and puts back
    read = cloud.get("/credentials/c")
    properties = read["properties"]
    assert isinstance(properties, dict)
    cloud.put("/credentials/c", {**properties, "value": "D4E5F6"})
    assert decode(cloud.row("/credentials/c"), Credential).value == "D4E5F6"


def test_a_secret_that_was_kept_is_never_shown_as_a_thumbprint(cloud: Cloud) -> None:
    cloud.put("/credentials/c", {"type": "UsernamePassword", "userName": "u", "value": "secret"})
    error = cloud.refused("/credentials/c", {"type": "X509Certificate"})
    assert (error.code, error.target) == ("RequiredParamMissing", "properties.value")
    assert "secret" not in error.message
    made = cloud.put("/credentials/c", {"type": "X509Certificate", "value": "A1"})
    assert made["value"] == "A1"


def test_a_credential_never_shows_its_password_and_keeps_it_when_put_back(cloud: Cloud) -> None:
    made = cloud.put("/credentials/c", {"type": "usernamePassword", "UserName": "u", "value": "p"})
    assert made["value"] is None
    assert made["type"] == "UsernamePassword"
    cloud.put_body("/credentials/c", cloud.get("/credentials/c"))
    assert decode(cloud.row("/credentials/c"), Credential).value == "p"


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"type": "GroupManagedServiceAccount", "value": "x"}, "OperationNotSupported"),
        ({"type": "UsernamePassword", "value": "x"}, "RequiredParamMissing"),
        ({"type": "X509Certificate"}, "RequiredParamMissing"),
        ({"value": "x"}, "RequiredParamMissing"),
        (
            {"type": "X509CertificateSubjectName", "value": "O=Contoso"},
            "CommonNameExtractionFailed",
        ),
    ],
)
def test_a_credential_that_breaks_a_rule_is_refused(
    cloud: Cloud, properties: Json, code: str
) -> None:
    assert cloud.refused("/credentials/c", properties).code == code


def test_of_a_subject_name_the_common_name_is_kept(cloud: Cloud) -> None:
    for value in (
        "CN=host1.example.com, O=Contoso",
        "O=Contoso,cn = host1.example.com",
        "host1.example.com",
    ):
        cloud.put("/credentials/c", {"type": "X509CertificateSubjectName", "value": value})
        assert decode(cloud.row("/credentials/c"), Credential).value == "host1.example.com"
