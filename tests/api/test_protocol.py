# SPDX-License-Identifier: Apache-2.0
"""The rules of the protocol (MS-NCNBI section A), request by request."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from isthmus.intent.versions import VERSIONS
from tests.api.conftest import BODY, NIC, Api

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def test_discovery_says_what_is_here_in_any_letter_case(api: Api) -> None:
    for path in (
        *("/networking/discovery", "/Networking/Discovery/", "/networking/v1/discovery"),
        # as its own reference says, below a version or not
        *("/networking/discovery/discovery", "/networking/V6.1/discovery/discovery/"),
    ):
        reply = api.ask("GET", path)
        assert reply.status_code == 200
        found = reply.json()
        assert found["resourceRef"] == "/discovery/discovery"
        assert found["properties"]["supportedRestVersions"] == [
            *("V1", "V2", "V3", "V3.1", "V3.2", "V4", "V4.2", "V5", "V6", "V6.1")
        ]
        assert found["properties"]["currentRestVersion"] == "V6.1"
        assert found["properties"]["networkControllerVersion"] == "1.2.3"
        assert "batch" in found["properties"]["extensions"]
        assert GUID.match(found["instanceId"])


def test_discovery_lists_the_extensions_that_the_documents_explain(api: Api) -> None:
    listed = api.ask("GET", "/networking/discovery").json()["properties"]["extensions"]
    document = Path(__file__).parents[2].joinpath("docs/api.md").read_text()
    explained = re.findall(r"^\| `(\w+)` \|", document, re.MULTILINE)
    assert sorted(explained) == listed


@pytest.mark.parametrize("token", [str(version) for version in VERSIONS] + ["V4", "V6.1"])
def test_every_version_is_understood_in_any_letter_case(api: Api, token: str) -> None:
    assert api.get("/logicalNetworks", token) == {"value": [], "nextLink": ""}


def test_an_unknown_version_or_path_is_not_found_and_says_what_there_is(api: Api) -> None:
    for path, hint in (
        ("/networking/v99/servers", "v7.1"),
        ("/networking/v1/nothings", "virtualNetworks"),
        ("/elsewhere", "/networking/discovery"),
        ("/networking/v1/isthmus/nothing", "status"),
    ):
        reply = api.ask("GET", path)
        assert reply.status_code == 404
        error = reply.json()["error"]
        assert error["code"] == "NotFound"
        assert hint in error["message"]


def test_put_creates_then_replaces_and_paths_match_in_any_letter_case(furnished: Api) -> None:
    made = furnished.put(NIC, BODY)
    assert made.status_code == 201
    again = furnished.put("/NETWORKinterfaces/N/", BODY)
    assert again.status_code == 200
    assert again.json()["instanceId"] == made.json()["instanceId"]
    assert again.json()["resourceId"] == "n"
    assert furnished.get("/networkinterfaces/N")["resourceRef"] == NIC
    child = furnished.get("/networkInterfaces/n/ipConfigurations/c")
    assert child["properties"]["privateIPAddress"] == "10.0.0.4"
    listed = furnished.get("/networkInterfaces/n/ipConfigurations/")
    assert [one["resourceId"] for one in listed["value"]] == ["c"]


def test_an_answer_has_the_envelope_and_the_headers(furnished: Api) -> None:
    reply = furnished.put(NIC, BODY)
    found = reply.json()
    assert found["properties"]["provisioningState"] == "Succeeded"
    assert "configurationState" not in found["properties"]
    assert reply.headers["etag"] == found["etag"]
    assert re.match(r'W/"[0-9a-f-]{36}"\Z', found["etag"])
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert GUID.match(reply.headers["x-ms-request-id"])
    assert "x-ms-client-request-id" not in reply.headers


def test_a_client_request_id_is_echoed_unless_that_is_declined(api: Api) -> None:
    headers = {"x-ms-client-request-id": "mine"}
    assert (
        api.ask("GET", "/networking/discovery", headers=headers).headers["x-ms-client-request-id"]
        == "mine"
    )
    headers["x-ms-return-client-request-id"] = "FALSE"
    reply = api.ask("GET", "/networking/discovery", headers=headers)
    assert "x-ms-client-request-id" not in reply.headers


def test_the_etag_table(furnished: Api) -> None:
    def put(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return furnished.put(NIC, BODY, headers=named).status_code

    def delete(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return furnished.ask("DELETE", f"/networking/v1{NIC}", headers=named).status_code

    assert put(if_match="*") == 412
    assert put(if_match='W/"x"') == 412
    assert delete() == 204
    assert delete(if_match="*") == 204
    assert delete(if_match='W/"x"') == 204
    assert put(if_none_match="*") == 201
    assert put(if_none_match="*") == 412
    etag = furnished.get(NIC)["etag"]
    assert put(if_match=etag) == 200
    assert put(if_match=etag) == 412
    assert put(if_match="*") == 200
    assert delete(if_match=etag) == 412
    assert delete(if_match=furnished.get(NIC)["etag"]) == 200
    assert put() == 201
    assert delete(if_match="*") == 200
    assert put(if_none_match='"x"') == 400


def test_if_match_is_a_list_of_which_one_is_enough(furnished: Api) -> None:
    """RFC 9110 section 13.1.1; of several headers of a name the values are one list (5.3)."""
    furnished.put(NIC, BODY)
    for dress in ('"x", {}', '{}, W/"x"', '"a,b",{}', "{},", '"*", {}'):
        etag = furnished.get(NIC)["etag"]
        headers = {"if-match": dress.format(etag)}
        assert furnished.put(NIC, BODY, headers=headers).status_code == 200, dress
        assert furnished.put(NIC, BODY, headers=headers).status_code == 412, dress
    etag = furnished.get(NIC)["etag"]
    for other in ('"x", "y"', '"*"', '"x", *', ","):
        assert furnished.put(NIC, BODY, headers={"if-match": other}).status_code == 412, other
    for several in (('"x"', etag), (etag, '"x"')):
        both = [("if-match", one) for one in several]
        reply = furnished.ask("PUT", f"/networking/v1{NIC}", {"properties": BODY}, headers=both)
        assert reply.status_code == (200 if several[0] == '"x"' else 412)


def test_an_operation_tells_how_a_write_ended(furnished: Api) -> None:
    reply = furnished.put(NIC, BODY)
    operation = reply.headers["x-ms-request-id"]
    assert furnished.get(f"/operations/{operation}") == {"status": "Succeeded"}
    result = furnished.ask("GET", f"/networking/v1/operationResults/{operation}")
    assert (result.status_code, result.json()) == (201, reply.json())
    gone = furnished.ask("DELETE", f"/networking/v1{NIC}").headers["x-ms-request-id"]
    assert furnished.get(f"/operations/{gone}") == {"status": "Succeeded"}
    assert furnished.ask("GET", f"/networking/v1/operationResults/{gone}").status_code == 204
    assert furnished.ask("GET", "/networking/v1/operations/unknown").status_code == 404


def test_what_is_in_use_is_not_deleted(furnished: Api) -> None:
    furnished.put(NIC, BODY)
    for ref, code in (
        ("/virtualNetworks/v/subnets/s", "InUseSubnetCannotBeDeleted"),
        ("/virtualNetworks/v", "VnetInUse"),
        ("/logicalNetworks/u", "ResourceInUse"),
    ):
        before = furnished.get(ref)
        reply = furnished.ask("DELETE", f"/networking/v1{ref}")
        assert reply.status_code == 409, ref
        assert reply.json()["error"]["code"] in (code, "InUseSubnetCannotBeDeleted")
        assert furnished.get(ref) == before


def test_bad_input_gets_the_code_the_place_and_a_sentence(furnished: Api) -> None:
    path = f"/networking/v1{NIC}"
    for content, status, code, words in (
        (b"", 400, "InvalidRequestFormat", "empty"),
        (b"{", 400, "InvalidRequestFormat", "JSON"),
        (b'{"properties": {"x" 1}}', 400, "InvalidRequestFormat", "byte 20"),
        (b"[]", 400, "InvalidRequestFormat", ""),
        (b"\xff\xfe", 400, "InvalidRequestFormat", "JSON"),
    ):
        reply = furnished.ask("PUT", path, content=content)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (status, code), content
        assert words in error["message"]
    wrong = furnished.put(NIC, {"isPrimary": "perhaps"})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["target"] == "properties.isPrimary"
    assert furnished.get("/networkInterfaces")["value"] == []
    media = furnished.ask("PUT", path, content=b"<x/>", headers={"content-type": "application/xml"})
    assert media.status_code == 415


def test_a_method_that_is_not_known_is_told_those_that_are(furnished: Api) -> None:
    for method, path, allow in (
        ("PATCH", f"/networking/v1{NIC}", "GET, HEAD, PUT, DELETE"),
        ("POST", "/networking/v1/networkInterfaces", "GET, HEAD"),
        ("PUT", "/networking/v1/networkInterfaces/", "GET, HEAD"),
        ("DELETE", "/networking/v1/networkInterfaces", "GET, HEAD"),
        ("DELETE", "/networking/v1/virtualNetworkManager/configuration", "GET, HEAD, PUT"),
        ("GET", "/networking/v1/batch", "POST"),
        ("DELETE", "/networking/discovery", "GET, HEAD"),
        ("PUT", "/networking/v1/discovery", "GET, HEAD"),
        ("PUT", "/networking/openapi.json", "GET, HEAD"),
        ("DELETE", "/networking/v1/operations/x", "GET, HEAD"),
        ("DELETE", "/networking/v1/isthmus/status", "GET, HEAD"),
        ("GET", "/networking/v1/isthmus/probes", "POST"),
        ("POST", "/networking/v1/isthmus/probes/1", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
    ):
        reply = furnished.ask(method, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allow), path
        assert reply.json()["error"]["code"] == "OperationNotSupported"


def test_a_store_that_is_away_is_a_503_for_writes_and_health_and_reads_go_on(
    furnished: Api,
) -> None:
    assert furnished.ask("GET", "/healthz").status_code == 200
    furnished.north.connected = False
    assert furnished.put(NIC, BODY).status_code == 503
    assert furnished.put(NIC, BODY).json()["error"]["code"] == "ServiceUnavailable"
    assert furnished.ask("GET", "/healthz").status_code == 503
    assert furnished.get("/virtualNetworks/v")["resourceId"] == "v"


def test_a_fault_of_ours_is_a_500_that_tells_nothing_but_its_kind(
    furnished: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(key: str) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(furnished.north.view, "get", broken)
    reply = furnished.ask("GET", f"/networking/v1{NIC}")
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "InternalServerError"
    assert "secret" not in reply.text


def test_other_end_points_answer(furnished: Api) -> None:
    assert furnished.ask("GET", "/networking/openapi.json").json()["openapi"].startswith("3.")
    assert "isthmus_request_seconds" in furnished.ask("GET", "/metrics").text
    assert furnished.get("/isthmus/status") == {"software": "test"}
    assert furnished.get("/isthmus/explain/ports/P")["verdict"] == "P"
    assert furnished.ask("POST", "/networking/v1/isthmus/probes").status_code == 201
    found = furnished.get("/isthmus/probes/7?answered=2&waitSeconds=1.5")
    assert found == {"probe": 7, "hosts": [], "answered": 2, "waited": 1.5}
    for query in ("answered=x", "waitSeconds=-1", "waitSeconds=1e9"):
        reply = furnished.ask("GET", f"/networking/v1/isthmus/probes/7?{query}")
        assert reply.status_code == 400
    head = furnished.ask("HEAD", "/networking/v1/virtualNetworks/v")
    assert head.status_code == 200
