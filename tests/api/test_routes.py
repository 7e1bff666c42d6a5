# SPDX-License-Identifier: Apache-2.0
"""The table of routes: what it says is served, documented, and refused to other methods; and a part
of the contract in one file joins it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from isthmus.api.app import App, create_app
from isthmus.api.contract import ROUTES
from isthmus.api.http.access import NO_WAY
from isthmus.api.http.listening import Listener
from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.http.users import set_user
from isthmus.api.openapi import document
from isthmus.api.routes import VERSIONED, Call, Route, Services, Table
from isthmus.api.schemas import ID, answer
from isthmus.intent.model import Json
from isthmus.intent.registry import KINDS
from isthmus.intent.versions import V5
from tests.api.conftest import Api
from tests.api.memory_north import MemoryNorth, SilentHosts
from tests.api.serving import serving

METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH")
PASSWORD = "correct horse battery staple"


def filled(route: Route, template: str) -> str:
    """A path of a template, with a version that has it."""
    for name in route.names:
        template = template.replace(f"{{{name}}}", "V7.1" if name == "version" else f"A-{name}")
    return template


def by_path() -> Mapping[str, Mapping[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        found.setdefault(route.path, {})[route.method] = route
    return found


# -- the contract ----------------------------------------------------------------------------------


def test_every_route_is_documented_and_nothing_else_is() -> None:
    paths = document("1", ROUTES)["paths"]
    assert isinstance(paths, dict)
    found = {
        (method.upper(), path)
        for path, item in paths.items()
        for method in item.keys() - {"parameters"}
    }
    assert found == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        told = paths[route.path][route.method.lower()]
        assert told["summary"] == route.summary
        assert {"200", "201"} & told["responses"].keys(), route.path


def test_every_route_is_found_in_any_letter_case_and_with_a_slash_at_its_end() -> None:
    table = Table(ROUTES)
    for route in ROUTES:
        for template in (route.path, *route.aliases):
            path = filled(route, template)
            for spelled in (path, path.upper(), path.lower(), f"{path}/", f"/{path}"):
                match = table.find(spelled)
                assert match.route(route.method) is route, spelled
                assert len(match.values) == len(route.names)
    match = table.find("/Networking/V1/NetworkInterfaces/N 1/")
    assert match.values == ("V1", "N 1")


@pytest.mark.parametrize("path", sorted(by_path()))
def test_another_method_is_answered_with_those_that_there_are(api: Api, path: str) -> None:
    routes = by_path()[path]
    allowed = {*routes} | ({"HEAD"} if "GET" in routes else set())
    for method in METHODS:
        if method not in allowed:
            reply = api.ask(method, filled(next(iter(routes.values())), path))
            assert reply.status_code == 405
            assert {*reply.headers["allow"].split(", ")} == allowed


def test_every_kind_has_its_paths_and_a_singleton_no_delete() -> None:
    paths = document("1", ROUTES)["paths"]
    assert isinstance(paths, dict)
    kinds = [path for path in paths if path.split("/")[3:4] and path.split("/")[3] in KINDS]
    assert len(kinds) == 2 * len(KINDS) - 1
    pool = "/networking/{version}/logicalNetworks/{logicalNetworkId}/subnets/{subnetId}/ipPools"
    assert set(paths[pool]) == {"parameters", "get"}
    assert set(paths[pool + "/{ipPoolId}"]) == {"parameters", "get", "put", "delete"}
    singleton = paths["/networking/{version}/virtualNetworkManager/configuration"]
    assert set(singleton) == {"parameters", "get", "put"}


def _references(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _references(inner)


def test_every_reference_of_the_document_is_resolved() -> None:
    whole = document("1", ROUTES)
    components = whole["components"]
    assert isinstance(components, dict)
    names = {f"#/components/schemas/{name}" for name in components["schemas"]}
    used = set(_references(whole))
    assert used <= names
    assert "#/components/schemas/Reference" in used
    assert "/networking/discovery" in msgspec.json.encode(whole).decode()


def test_one_route_alone_is_answered_to_everybody() -> None:
    assert [route.path for route in ROUTES if not route.ways] == ["/healthz"]


# -- the table -------------------------------------------------------------------------------------


async def _nothing(_services: Services, _call: Call) -> Reply:
    return Reply(200)


def route(path: str, method: str = "GET") -> Route:
    return Route(method=method, path=path, handler=_nothing, summary="s")


def test_what_is_spelled_out_goes_before_what_may_be_anything() -> None:
    anything, spelled, below = route("/a/{x}"), route("/a/b"), route("/a/{x}/c")
    table = Table((anything, spelled, below))
    assert table.find("/a/B").route("GET") is spelled
    assert table.find("/a/bb").route("GET") is anything
    assert table.find("/a/b/c").route("GET") is below
    for path in ("/", "", "/a", "/a//c", "/a/b/d", "/a/b/c/d", "/b"):
        assert table.find(path).routes == {}, path


def test_two_routes_of_one_method_and_path_are_refused() -> None:
    Table((route("/a/{x}"), route("/a/{x}", "PUT")))
    with pytest.raises(ValueError, match="two routes"):
        Table((route("/a/{x}"), route("/A/{y}")))


# -- a part of the contract of one file ------------------------------------------------------------


async def echo(services: Services, call: Call) -> Reply:
    told = {"heard": call.names["id"], "version": str(call.version), "by": call.request.identity}
    return json_reply(200, {**told, "software": services.software_version})


async def page(_services: Services, call: Call) -> Reply:
    return Reply(200, call.names["file"].encode(), ((b"content-type", b"text/html"),))


ECHO = (
    Route(
        method="PUT",
        path=f"{VERSIONED}/isthmus/echo/{{id}}",
        handler=echo,
        summary="What was said.",
        parameters=(ID,),
        answers=answer(),
        since=V5,
        offers=("echo",),
    ),
    Route(
        method="GET",
        path="/pages/{file}",
        handler=page,
        summary="A file.",
        answers={"200": {"description": "It.", "content": {"text/html": {}}}},
        ways=NO_WAY,
    ),
)


def extended() -> App:
    hosts = SilentHosts()
    return create_app(
        MemoryNorth(),
        states=hosts,
        operations=hosts,
        software_version="1",
        registry=CollectorRegistry(),
        routes=(*ROUTES, *ECHO),
    )


def test_an_extension_of_one_file_joins(tmp_path: Path) -> None:
    set_user(tmp_path / "users", "ann", PASSWORD)
    listener = Listener("127.0.0.1:0", users=tmp_path / "users")
    with (
        serving(extended(), listener=listener) as url,
        httpx.Client(base_url=url) as anybody,
        httpx.Client(base_url=url, auth=("ann", PASSWORD)) as ann,
    ):
        path = "/networking/v5/Isthmus/Echo/Hello"
        assert anybody.put(path, json={}).status_code == 401
        assert ann.put(path, json={}).json() == {
            **{"heard": "Hello", "version": "v5", "software": "1"},
            "by": {"name": "ann", "how": "password"},
        }
        older = ann.put(path.replace("v5", "v4"), json={})
        assert older.status_code == 404
        assert "came with API version v5" in older.json()["error"]["message"]
        refused = ann.get(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, "PUT")
        nowhere = ann.get("/networking/v5/isthmus/nothing").json()["error"]["message"]
        assert nowhere.endswith("echo/ID")
        found = ann.get("/networking/discovery").json()["properties"]["extensions"]
        assert "echo" in found
        told = ann.get("/networking/openapi.json").json()["paths"]
        assert told["/networking/{version}/isthmus/echo/{id}"]["put"]["summary"] == "What was said."
        assert {"401", "403"}.isdisjoint(told["/pages/{file}"]["get"]["responses"])
        # of other roots, and open to everybody
        served = anybody.get("/Pages/Index.html")
        assert (served.text, served.headers["content-type"]) == ("Index.html", "text/html")
        assert anybody.get("/pages/a/b").status_code == 401
        assert anybody.post("/pages/a").status_code == 401
        assert ann.post("/pages/a").headers["allow"] == "GET, HEAD"
