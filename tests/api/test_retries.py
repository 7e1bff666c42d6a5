# SPDX-License-Identifier: Apache-2.0
"""Client request ids (MS-NCNBI section A.3): the same id twice is one write, answered alike."""

from __future__ import annotations

from tests.api.conftest import BODY, NIC, Api

PATH = f"/networking/v1{NIC}"


def named(request_id: str, **more: str) -> dict[str, str]:
    return {"x-ms-client-request-id": request_id, **more}


def test_a_retried_put_is_answered_as_before_and_changes_nothing(furnished: Api) -> None:
    first = furnished.put(NIC, BODY, headers=named("r1"))
    again = furnished.put(NIC, BODY, headers=named("r1"))
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"]
    other = furnished.put(NIC, BODY, headers=named("r2"))
    assert other.status_code == 200
    assert other.json()["etag"] != first.json()["etag"]
    replaced = furnished.put(NIC, BODY, headers=named("r2"))
    assert (replaced.status_code, replaced.content) == (200, other.content)


def test_a_put_without_an_id_is_never_a_retry(furnished: Api) -> None:
    first, again = furnished.put(NIC, BODY), furnished.put(NIC, BODY)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["etag"] != again.json()["etag"]


def test_a_retry_does_not_fail_by_the_condition_that_its_first_sending_met(
    furnished: Api,
) -> None:
    created = named("r1", **{"if-none-match": "*"})
    assert furnished.put(NIC, BODY, headers=created).status_code == 201
    assert furnished.put(NIC, BODY, headers=created).status_code == 201
    changed = named("r2", **{"if-match": furnished.get(NIC)["etag"]})
    assert furnished.put(NIC, BODY, headers=changed).status_code == 200
    assert furnished.put(NIC, BODY, headers=changed).status_code == 200
    gone = named("r3", **{"if-match": furnished.get(NIC)["etag"]})
    assert furnished.ask("DELETE", PATH, headers=gone).status_code == 200
    assert furnished.ask("DELETE", PATH, headers=gone).status_code == 200


def test_a_retry_that_comes_after_another_write_is_a_write(furnished: Api) -> None:
    furnished.put(NIC, BODY, headers=named("r1"))
    furnished.put(NIC, BODY, headers=named("r2"))
    etag = furnished.get(NIC)["etag"]
    assert furnished.put(NIC, BODY, headers=named("r1")).status_code == 200
    assert furnished.get(NIC)["etag"] != etag


def test_the_same_id_with_another_body_is_refused_and_not_dropped(furnished: Api) -> None:
    furnished.put(NIC, BODY, headers=named("r1"))
    before = furnished.get(NIC)
    reply = furnished.put(NIC, {**BODY, "isPrimary": "true"}, headers=named("r1"))
    assert reply.status_code == 400
    assert reply.json()["error"]["target"] == "x-ms-client-request-id"
    assert furnished.get(NIC) == before


def test_the_same_id_for_another_resource_is_another_write(furnished: Api) -> None:
    for name in ("a", "b"):
        reply = furnished.put(f"/networkInterfaces/{name}", BODY, headers=named("r1"))
        assert reply.status_code == 201
    path = "/networking/v1/networkInterfaces/"
    assert furnished.ask("DELETE", f"{path}a", headers=named("r1")).status_code == 200
    assert furnished.ask("DELETE", f"{path}ab", headers=named("r1")).status_code == 204
    assert furnished.ask("DELETE", f"{path}b", headers=named("r1")).status_code == 200


def test_a_retried_delete_is_answered_as_before(furnished: Api) -> None:
    furnished.put(NIC, BODY)
    assert furnished.ask("DELETE", PATH, headers=named("r1")).status_code == 200
    assert furnished.ask("DELETE", PATH, headers=named("r1")).status_code == 200
    assert furnished.ask("DELETE", PATH, headers=named("r2")).status_code == 204
    assert furnished.ask("DELETE", PATH).status_code == 204
    assert furnished.put(NIC, BODY, headers=named("r1")).status_code == 201
    assert furnished.ask("DELETE", PATH, headers=named("r1")).status_code == 200


def test_an_id_that_is_too_long_is_refused(furnished: Api) -> None:
    assert furnished.put(NIC, BODY, headers=named("r" * 256)).status_code == 201
    reply = furnished.put(NIC, BODY, headers=named("r" * 257))
    assert reply.status_code == 400
    assert reply.json()["error"]["target"] == "x-ms-client-request-id"


def test_a_batch_sent_again_is_answered_as_before(furnished: Api) -> None:
    def send(request_id: str) -> object:
        entry = {"resourceRef": NIC, "body": {"properties": BODY}}
        gone = {"resourceRef": "/networkInterfaces/none", "method": "DELETE"}
        body = {"requests": [entry, gone]}
        reply = furnished.ask("POST", "/networking/v1/batch", body, headers=named(request_id))
        assert reply.status_code == 200
        return reply.json()["responses"][0]

    first = send("b1")
    etag = furnished.get(NIC)["etag"]
    assert send("b1") == first
    assert furnished.get(NIC)["etag"] == etag
    assert send("b2") != first


def test_a_batch_of_deletions_sent_again_is_answered_as_before(furnished: Api) -> None:
    furnished.put(NIC, BODY)
    body = {"requests": [{"resourceRef": NIC, "method": "DELETE"}]}

    def send(request_id: str) -> object:
        headers = named(request_id)
        return furnished.ask("POST", "/networking/v1/batch", body, headers=headers).json()

    gone = {"responses": [{"status": 200, "resourceRef": NIC}]}
    assert send("b1") == gone
    assert send("b1") == gone
    assert send("b2") == {"responses": [{"status": 204, "resourceRef": NIC}]}


def test_a_batch_with_an_id_and_a_path_that_leads_nowhere_names_the_request(
    furnished: Api,
) -> None:
    body = {
        "requests": [
            {"resourceRef": NIC, "body": {"properties": BODY}},
            {"resourceRef": "/nowhere/x", "method": "DELETE"},
        ]
    }
    reply = furnished.ask("POST", "/networking/v1/batch", body, headers=named("b1"))
    assert reply.status_code == 404
    assert reply.json()["error"]["target"].startswith("[1]")
    assert furnished.get("/networkInterfaces")["value"] == []
