# SPDX-License-Identifier: Apache-2.0
"""Files of resources for ``isthmus apply``: YAML or JSON, one or many in a file, folders of files.

An entry is ``{resourceRef, properties, tags?, resourceMetadata?, etag?}``, or with ``method:
DELETE`` the reference alone. A list of entries, several YAML documents, and what ``isthmus get -o
json`` prints of a collection are all good.

What is read is JSON, however it is written: a plain word is a number, true, false or null only
where JSON has it (or where it is empty or ``~``), and a text otherwise: ``yes``, ``2020-01-01``,
``0x1f``. What JSON has not (a key twice, infinity, a thing within itself) is refused with its line.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from isthmus.cli.places import Place
from isthmus.errors import Detail, Invalid, NotFound
from isthmus.intent.values import MOST_DEPTH, is_deeper

Entry = Mapping[str, Any]

_PLAIN = (
    ("null", r"(?:null|~|)\Z", ("n", "~", "")),
    ("bool", r"(?:true|false)\Z", tuple("tf")),
    ("int", r"-?(?:0|[1-9][0-9]*)\Z", tuple("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\Z", tuple("-0123456789")),
)


class _Loader(yaml.SafeLoader):
    """YAML whose plain words are numbers, true, false and null only where JSON has them: to YAML
    1.1 the MAC address 02:11:22:33:44:55 is a number to the base of sixty, 001122334455 an octal.
    """

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        """YAML 1.2 section 3.2.1.1: keys are unique. PyYAML takes the last one."""
        first: dict[object, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(key_node, f"{key!r} is no key: write it in quotes")
            if key in first:
                raise _refused(
                    key_node,
                    f"the key {key!r} is there twice, first in line {first[key]}: only one of them"
                    " could hold",
                )
            first[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _refused(node: yaml.Node, why: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node))
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise _refused(node, f"{text} is no number that JSON has")
    return found


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    try:
        return int(text)
    except ValueError as error:
        raise _refused(node, f"{text[:40]} is no number that JSON has") from error


_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {
    tag: made
    for tag, made in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in ("null", "bool", "str", "seq", "map")
}
for _tag, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)

_SUFFIXES = (".yaml", ".yml", ".json")
_FIELDS = ("properties", "tags", "resourceMetadata", "etag", "resourceId", "instanceId")
_KNOWN = {*_FIELDS, "resourceRef", "method", "ifMatch", "ifNoneMatch"}


class Wanted(NamedTuple):
    """What files ask for: requests as a batch takes them, and where each stands."""

    requests: list[dict[str, Any]]
    places: list[Place]


def wanted_of(paths: list[str]) -> Wanted:
    """The entries of all files as a batch takes them: in order, but none before what it mentions.
    ``-`` is the standard input.

    Raises NotFound, Invalid with file and line, of all entries that are wrong.
    """
    found: list[tuple[dict[str, Any], Place]] = []
    wrong: list[Invalid] = []
    for path in paths:
        for name, text in _texts(path):
            for entry, node in _entries(name, text):
                try:
                    request = _request(f"{name}:{node.start_mark.line + 1}", entry)
                except Invalid as error:
                    wrong.append(error)
                else:
                    found.append((request, Place(name, request["resourceRef"], node)))
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        details = tuple(Detail(error.code, error.message) for error in wrong)
        raise Invalid(f"{len(wrong)} entries are no resources; nothing was sent", details=details)
    if not found:
        raise Invalid(f"there is no resource in {', '.join(paths)}")
    order = _mentioned_first([request for request, _ in found])
    return Wanted([found[index][0] for index in order], [found[index][1] for index in order])


def _mentioned_first(wanted: list[dict[str, Any]]) -> list[int]:
    """The order of the requests in which each comes after those that make what it mentions. With a
    deletion among them they stay as written: what is deleted and made anew means its order.
    """
    if any(request["method"] != "PUT" for request in wanted):
        return list(range(len(wanted)))
    made = {
        _key(request["resourceRef"]): index for index, request in reversed([*enumerate(wanted)])
    }
    ordered: dict[int, None] = {}
    entered: set[int] = set()
    for first in range(len(wanted)):
        waiting = [first]
        while waiting:
            index = waiting[-1]
            if index in entered:
                ordered[waiting.pop()] = None
                continue
            entered.add(index)
            needed = (_maker(ref, made) for ref in _mentions(wanted[index]))
            waiting += [one for one in needed if one is not None and one not in entered]
    return list(ordered)


def _key(reference: str) -> str:
    return "/" + reference.strip("/").lower()


def _maker(reference: str, made: Mapping[str, int]) -> int | None:
    """Of the request that makes a reference, or what it stands within."""
    key = _key(reference)
    while key:
        if key in made:
            return made[key]
        key = key.rpartition("/")[0]
    return None


def _mentions(request: Mapping[str, Any]) -> list[str]:
    """References in a request's body, and what its own reference stands within; last ones first."""
    above = _key(request["resourceRef"]).rpartition("/")[0]
    found = [above] if above else []
    left: list[object] = [request["body"]]
    while left:
        match left.pop():
            case list() as several:
                left += several
            case dict() as one:
                found += [ref for ref in (one.get("resourceRef"),) if isinstance(ref, str)]
                left += one.values()
    return found[::-1]


def _texts(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "the standard input", sys.stdin.read()
        return
    file = Path(path)
    if file.is_dir():
        inside = sorted(one for one in file.iterdir() if one.suffix in _SUFFIXES)
        for one in inside:
            yield str(one), _text(str(one))
        return
    yield path, _text(path)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", target=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} cannot be read: {error}", target=path) from error


def _entries(name: str, text: str) -> Iterator[tuple[object, yaml.Node]]:
    try:
        # JSON is YAML, and this parser says the line of a mistake in either.
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None, "check_node has seen one"
            document = loader.construct_document(node)
            json.dumps(document)  # refuses what stands within itself, before anybody follows it
            yield from _flattened(document, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Invalid(f"{name}{where}: {error.problem}", target=name) from error
    except yaml.YAMLError as error:
        raise Invalid(f"{name}: {error}", target=name) from error
    except (ValueError, RecursionError) as error:
        raise Invalid(
            f"{name}: something stands within itself, or in more than {MOST_DEPTH} levels",
            target=name,
        ) from error


def _flattened(document: object, node: yaml.Node) -> Iterator[tuple[object, yaml.Node]]:
    if isinstance(document, list):
        for entry, inner in zip(document, node.value, strict=True):
            yield from _flattened(entry, inner)
    elif isinstance(document, Mapping) and isinstance(document.get("value"), list):
        inner = next(value for key, value in node.value if key.value == "value")
        yield from zip(document["value"], inner.value, strict=True)
    elif document is not None:
        yield document, node


def _request(where: str, entry: object) -> dict[str, Any]:
    name = where.rpartition(":")[0]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("resourceRef"), str):
        raise Invalid(f"{where} names no resourceRef, like /virtualNetworks/web", target=name)
    if is_deeper(entry, MOST_DEPTH):
        raise Invalid(
            f"{where} ({entry['resourceRef']}) is nested in more than {MOST_DEPTH} levels",
            target=name,
        )
    unknown = sorted(str(key) for key in entry.keys() - _KNOWN)
    if unknown:
        raise Invalid(
            f"{where} ({entry['resourceRef']}) has {', '.join(unknown)}, which no resource has:"
            " settings of a resource stand under `properties`",
            target=name,
        )
    request: dict[str, Any] = {
        "method": str(entry.get("method", "PUT")).upper(),
        "resourceRef": entry["resourceRef"],
    }
    for condition in ("ifMatch", "ifNoneMatch"):
        if condition in entry:
            request[condition] = entry[condition]
    if request["method"] == "PUT":
        body = {field: entry[field] for field in _FIELDS if field in entry}
        body.setdefault("properties", {})
        request["body"] = body
    return request
