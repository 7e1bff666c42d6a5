# SPDX-License-Identifier: Apache-2.0
"""Where in which file something stands, so that an error of the server can say the line.

The server speaks of requests by their number and of fields by their JSON path:
``[3].properties.subnets[0].properties.addressPrefix``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import yaml

from isthmus.errors import Detail, IsthmusError

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


class Place(NamedTuple):
    """An entry of a file: its reference, and the node that it was read from."""

    file: str
    reference: str
    node: yaml.Node

    def line_of(self, path: str) -> int:
        """The line of the field at a JSON path, or of the last part of it that is there."""
        node, line = self.node, self.node.start_mark.line + 1
        for index, name in _STEP.findall(path):
            found = _item(node, int(index)) if index else _member(node, name)
            if found is None:
                break
            node, line = found
        return line


def _item(node: yaml.Node, index: int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.SequenceNode) and index < len(node.value):
        item: yaml.Node = node.value[index]
        return item, item.start_mark.line + 1
    # A lone object stands for a list of one.
    return (node, node.start_mark.line + 1) if isinstance(node, yaml.MappingNode) else None


def _member(node: yaml.Node, name: str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if str(key.value).lower() == name.lower():
                return value, key.start_mark.line + 1
    return None


def located(error: IsthmusError, places: Sequence[Place], first: int = 0) -> IsthmusError:
    """The same error, with file, line and resource instead of the number of a request. `first` is
    how many requests were sent before those that the error counts from."""
    error.details = tuple(
        Detail(one.code, _placed(one.message, one.target, places, first), None)
        for one in error.details
    )
    if not error.details:
        error.message = _placed(error.message, error.target, places, first)
        error.target = None
    elif (error.target or "").startswith("["):
        error.target = None
    return error


def _placed(message: str, target: str | None, places: Sequence[Place], first: int) -> str:
    found = re.match(r"\[(\d+)\]\.?(.*)", target or "")
    if found is None or first + int(found[1]) >= len(places):
        return f"{message} (at {target})" if target and target not in message else message
    place, path = places[first + int(found[1])], found[2]
    where = f"{place.file}:{place.line_of(path)}: {place.reference}"
    return (
        f"{where}: {path}: {message}"
        if path and not path.startswith("/")
        else f"{where}: {message}"
    )
