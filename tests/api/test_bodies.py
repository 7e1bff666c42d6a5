# SPDX-License-Identifier: Apache-2.0
"""Bodies as bytes: what text they are, how deep they go, and which are refused by name."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from isthmus.api.http.bodies import LEVELS_OF_A_BATCH
from isthmus.intent.values import MOST_DEPTH
from tests.api.conftest import Api

POOL = "/macPools/p"
PROPERTIES = {"startMacAddress": "02-BB-00-00-00-00", "endMacAddress": "02-BB-00-00-00-0F"}
NAME = "Jörg Müller"
PLACES = ("PUT", "/networking/v1/macPools/p"), ("POST", "/networking/v1/batch")


def put(api: Api, content: bytes, **headers: str) -> Any:
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.ask("PUT", f"/networking/v1{POOL}", content=content, headers=extra)


def text(name: str = NAME) -> str:
    return json.dumps({"tags": {"who": name}, "properties": PROPERTIES}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("application/json", text().encode()),
        ("application/json", codecs.BOM_UTF8 + text().encode()),
        ("application/json; charset=utf-8", codecs.BOM_UTF8 + text().encode()),
        ('text/json; charset="UTF8"', text().encode()),
        ("application/json", codecs.BOM_UTF16_LE + text().encode("utf-16-le")),
        ("application/json", codecs.BOM_UTF16_BE + text().encode("utf-16-be")),
        ("application/json; charset=utf-16", codecs.BOM_UTF16_BE + text().encode("utf-16-be")),
        # .NET's Encoding.Unicode has this name, and StringContent writes no byte order mark
        ("application/json; charset=utf-16", text().encode("utf-16-le")),
        ("application/json; charset=utf-16", text().encode("utf-16-be")),
        ("application/json; charset=UTF-16LE", text().encode("utf-16-le")),
        ("application/json; charset=utf-16be", text().encode("utf-16-be")),
        ("application/json; boundary=x; charset=ISO-8859-1", text().encode("latin-1")),
    ],
)
def test_a_body_is_the_text_that_it_was_sent_as(api: Api, media_type: str, content: bytes) -> None:
    reply = put(api, content, content_type=media_type)
    assert reply.status_code == 201, reply.text
    assert api.get(POOL)["tags"] == {"who": NAME}


def test_latin_1_is_not_taken_for_utf_8_where_it_could_be_either(api: Api) -> None:
    content = text("Ã¼").encode("latin-1")
    assert put(api, content, content_type="application/json; charset=iso-8859-1").status_code == 201
    assert api.get(POOL)["tags"] == {"who": "Ã¼"}


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"content_type": "application/json; charset=utf-7"}, "utf-7"),
        ({"content_type": "application/json; charset=windows-1252"}, "windows-1252"),
        ({"content_encoding": "gzip"}, "gzip"),
        ({"content_encoding": "identity, br"}, "br"),
    ],
)
def test_what_is_not_decoded_is_refused_by_its_name(
    api: Api, headers: Mapping[str, str], named: str
) -> None:
    for method, path in PLACES:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = api.ask(method, path, content=text("x").encode(), headers=given)
        assert reply.status_code == 415
        assert named in reply.json()["error"]["message"]
    assert put(api, text("x").encode(), content_encoding="Identity").status_code == 201


@pytest.mark.parametrize("charset", ["utf-8", "us-ascii", "utf-16le"])
def test_bytes_that_are_not_of_the_charset_are_no_json(api: Api, charset: str) -> None:
    content = text().encode("latin-1") + b" " * (len(text()) % 2 == 0)
    reply = put(api, content, content_type=f"application/json; charset={charset}")
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "InvalidRequestFormat"
    assert charset in reply.json()["error"]["message"]


def nested(depth: int) -> Any:
    value: Any = {}
    for level in range(depth - 1):
        value = {"a": value} if level % 3 else [value]
    return value


def resource(depth: int) -> Any:
    """The body of a pool that is `depth` levels deep."""
    return {"tags": {"a": nested(depth - 2)}, "properties": PROPERTIES}


def test_a_body_is_as_deep_as_it_may_be_and_comes_back(api: Api) -> None:
    body = resource(MOST_DEPTH)
    assert put(api, json.dumps(body).encode()).status_code == 201
    assert api.get(POOL)["tags"] == body["tags"]
    batch = {"requests": [{"method": "PUT", "resourceRef": POOL, "body": body}]}
    assert api.ask("POST", "/networking/v1/batch", batch).status_code == 200
    assert api.ask("POST", "/networking/v1/isthmus/plan", batch).status_code == 200


@pytest.mark.parametrize("depth", [MOST_DEPTH + 1, 300, 966, 980, 100_000])
def test_a_deeper_body_is_refused_with_the_number(api: Api, depth: int) -> None:
    content = b'{"tags":' + b'{"a":' * (depth - 1) + b"1" + b"}" * depth
    whole = json.dumps({"requests": [{"method": "PUT", "resourceRef": POOL}]}).encode()
    batch = whole[:-3] + b', "body": ' + content + whole[-3:]
    for method, path, sent, most in (
        ("PUT", f"/networking/v1{POOL}", content, MOST_DEPTH),
        ("POST", "/networking/v1/batch", batch, MOST_DEPTH + LEVELS_OF_A_BATCH),
        ("POST", "/networking/v1/isthmus/plan", batch, MOST_DEPTH + LEVELS_OF_A_BATCH),
        ("PUT", "/networking/v1/diagnostics/ConnectivityCheck", content, MOST_DEPTH),
    ):
        reply = api.ask(method, path, content=sent)
        assert reply.status_code == 400, path
        assert f"{most} levels" in reply.json()["error"]["message"]
    assert api.ask("GET", f"/networking/v1{POOL}").status_code == 404


@pytest.mark.parametrize("depth", [300, 990, 100_000])
def test_what_was_stored_deeper_once_is_shown(furnished: Api, depth: int) -> None:
    network = "/virtualNetworks/v"
    store = furnished.north.view
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    for row in [row for key, row in store.rows.items() if key.startswith(network.lower())]:
        store.rows[row.key] = msgspec.structs.replace(row, tags=deep, metadata=deep)
    for path in (network, f"{network}/subnets/s", "/virtualNetworks"):
        reply = furnished.ask("GET", f"/networking/v1{path}")
        assert reply.status_code == 200
        assert b'"tags":' + deep in reply.content
    kept = {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
        "subnets": None,
    }
    assert furnished.put(network, kept).status_code == 200
    assert store.rows["/virtualnetworks/v/subnets/s"].tags == deep
