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
