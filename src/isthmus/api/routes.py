# SPDX-License-Identifier: Apache-2.0
"""Routes as values, and the table that finds the one that a request means.

A `Route` says all that there is to say of one method of one path: who answers it, what it takes and
answers, since which version, and who may ask. Matching, 405 with its Allow, discovery and the
OpenAPI document follow from the table. A part of the contract is a module with handlers and a tuple
``ROUTES``, and a line in `contract`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from isthmus.api.http.access import EVERY_WAY, How
from isthmus.api.http.replies import Reply
from isthmus.api.http.request import HttpRequest
from isthmus.api.interfaces import North, Operations
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.render import States
from isthmus.intent.versions import V1, Version

VERSION = "version"
"""The name of the parameter that is an API version."""
VERSIONED = f"/networking/{{{VERSION}}}"

_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
"""In the order of an Allow header."""


class Services(NamedTuple):
    """What handlers answer from."""

    north: North
    states: States
    operations: Operations
    software_version: str
    registry: CollectorRegistry
    routes: tuple[Route, ...]


class Call(NamedTuple):
    """A request at its route."""

    request: HttpRequest
    route: Route
    values: tuple[str, ...]
    """Of the parameters of the path, as sent."""
    version: Version
    """The newest where the path has none."""

    @property
    def names(self) -> Mapping[str, str]:
        """The parameters of the path, as sent."""
        return dict(zip(self.route.names, self.values, strict=True))


Handler = Callable[[Services, Call], Awaitable[Reply]]
"""Raises IsthmusError for what is refused."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Route:
    """One method of one path.

    `path` is a template: ``{name}`` stands for one part, not empty; the rest matches in any letter
    case, with or without a slash at its end. One that begins with `VERSIONED` is found from version
    `since` on. A GET answers HEAD as well.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    parameters: tuple[JsonObject, ...] = ()
    """In OpenAPI's words. A parameter of the path that is not described is a resourceId."""
    body: Json = None
    """The schema of a body of JSON."""
    answers: JsonObject = field(default_factory=dict)
    """OpenAPI's responses but for errors, by status."""
    errors: tuple[str, ...] = ("404",)
    """Statuses of its errors, beside those that whoever must be known may get everywhere."""
    identifier: str = ""
    """OpenAPI's operationId."""
    since: Version = V1
    aliases: tuple[str, ...] = ()
    """Other templates of the same parameters that lead here too, and are not documented."""
    offers: tuple[str, ...] = ()
    """Capabilities beyond MS-NCNBI that discovery lists because of it."""
    told: str = ""
    """What is at the path, for who has asked for a thing beside it; empty: the end of `path`."""
    ways: frozenset[How] = EVERY_WAY
    """By which the sender may be known; without any, everybody is answered."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameters of the path."""
        return tuple(part[1:-1] for part in _parts(self.path) if _is_parameter(part))

    @cached_property
    def is_versioned(self) -> bool:
        """Then the version is the first parameter."""
        return self.path.startswith(VERSIONED)


class Match(NamedTuple):
    """What a table knows of a path."""

    routes: Mapping[str, Route]
    """By method; empty where nothing is."""
    values: tuple[str, ...]
    """Of the parameters of the path."""

    def route(self, method: str) -> Route | None:
        return self.routes.get("GET" if method == "HEAD" else method)

    @property
    def allowed(self) -> str:
        """The Allow header (RFC 9110 section 10.2.1). What can be read has a head (section
        9.3.2)."""
        methods = {*self.routes} | ({"HEAD"} if "GET" in self.routes else set())
        return ", ".join(method for method in _METHODS if method in methods)


@dataclass(slots=True)
class _Node:
    """A part of paths."""

    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    routes: dict[str, Route] = field(default_factory=dict)

    def below(self, part: str) -> _Node:
        if not _is_parameter(part):
            return self.literals.setdefault(part.lower(), _Node())
        if self.parameter is None:
            self.parameter = _Node()
        return self.parameter

    def find(self, parts: Sequence[str], words: Sequence[str], at: int = 0) -> Match | None:
        """`words` are the parts in lower case. What is spelled out goes before what may be
        anything."""
        if at == len(words):
            return Match(self.routes, ()) if self.routes else None
        literal = self.literals.get(words[at])
        if literal is not None:
            found = literal.find(parts, words, at + 1)
            if found is not None:
                return found
        if self.parameter is None or not words[at]:
            return None
        found = self.parameter.find(parts, words, at + 1)
        return None if found is None else Match(found.routes, (parts[at], *found.values))


NOTHING = Match({}, ())


class Table:
    """Routes by path. Finding one costs O(length of the path)."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Raises ValueError for two routes of one method and path."""
        self._root = _Node()
        self.routes = tuple(routes)
        for route in self.routes:
            for path in (route.path, *route.aliases):
                self._add(path, route)

    def _add(self, path: str, route: Route) -> None:
        node = self._root
        for part in _parts(path):
            node = node.below(part)
        if route.method in node.routes:
            raise ValueError(f"there are two routes for {route.method} {path}")
        node.routes[route.method] = route

    def find(self, path: str) -> Match:
        """`path` is percent-decoded."""
        parts, words = _parts(path), _parts(path.lower())
        node, values = self._root, []
        for part, word in zip(parts, words, strict=False):
            literal = node.literals.get(word)
            if literal is not None:
                node = literal
            elif node.parameter is not None and word:
                values.append(part)
                node = node.parameter
            else:
                break
        else:
            if node.routes:
                return Match(node.routes, tuple(values))
        # What is spelled out has led nowhere, and what may be anything may lead on.
        return self._root.find(parts, words) or NOTHING

    def places(self, word: str) -> Collection[str]:
        """What there is below ``/networking/<version>/<word>``, for who has found nothing."""
        start = f"{VERSIONED}/{word}/".lower()
        found = [route for route in self.routes if route.path.lower().startswith(start)]
        return [*dict.fromkeys(one.told or _shown(one.path[len(start) :]) for one in found)]


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def _is_parameter(part: str) -> bool:
    return part.startswith("{")


def _shown(path: str) -> str:
    """A template as people read it: ``explain/ports/ID``."""
    return "/".join(p[1:-1].upper() if _is_parameter(p) else p for p in path.split("/"))
