# SPDX-License-Identifier: Apache-2.0
"""The schemas of the two stores (RFC 7047 section 3.2), made from the rows' declarations.

A change of columns raises the version: `tests/store/schemas/` holds what each version was. When a
controller finds an older data base it converts it, which keeps every column that both know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from isthmus.errors import Invalid
from isthmus.policy import rows as policy
from isthmus.store import north_rows
from isthmus.wire.ovsdb import shapes

NORTH, SOUTH = "Isthmus_North", "Isthmus_South"
NORTH_VERSION = "1.2.0"
SOUTH_VERSION = "1.3.0"

Schema = Mapping[str, object]
_Reference = tuple[str, str]


def north_schema() -> Schema:
    """Of intent."""
    return _schema(NORTH, NORTH_VERSION, north_rows.TABLES, north_rows.REFERENCES)


def south_schema() -> Schema:
    """Of policy, and of what hosts say."""
    return _schema(SOUTH, SOUTH_VERSION, policy.TABLES, {})


def _schema(
    name: str,
    version: str,
    row_types: Sequence[type[policy.Row] | type[north_rows.NorthRow]],
    references: Mapping[_Reference, _Reference],
) -> Schema:
    return {
        "name": name,
        "version": version,
        "tables": {row_type.TABLE: _table(row_type, references) for row_type in row_types},
    }


def _table(
    row_type: type[policy.Row] | type[north_rows.NorthRow],
    references: Mapping[_Reference, _Reference],
) -> Schema:
    return {
        "columns": {
            column: {"type": _type(shape, references.get((row_type.TABLE, column)))}
            for column, shape in shapes(row_type).items()
        },
        "indexes": [
            list(columns) for columns in (row_type.KEY, *getattr(row_type, "ALSO_UNIQUE", ()))
        ],
        "isRoot": getattr(row_type, "ROOT", True),
    }


def _type(shape: tuple[str, str, str], reference: _Reference | None) -> object:
    form, atom, of_map = shape
    key: object = atom
    if reference is not None:
        table, kind = reference
        key = {"type": "uuid", "refTable": table, "refType": kind}
    match form:
        case "scalar":
            return {"key": key}
        case "optional":
            return {"key": key, "min": 0, "max": 1}
        case "set":
            return {"key": key, "min": 0, "max": "unlimited"}
    return {"key": key, "value": of_map, "min": 0, "max": "unlimited"}


def refuse_other_version(schema: Schema, found: str, remotes: Sequence[str]) -> None:
    """Servers that are somebody else's are not converted by us. Raises Invalid for a data base of
    theirs that is not of the schema's version, with what to do."""
    name, wanted = str(schema["name"]), str(schema["version"])
    store = name.rpartition("_")[2].lower()
    if numbers(found) > numbers(wanted):
        raise Invalid(
            f"{name} at {', '.join(remotes)} has schema version {found}, this program knows"
            f" {wanted}: use the newer program that converted it",
            target=name,
        )
    if numbers(found) < numbers(wanted):
        file = f"{store}.ovsschema"
        raise Invalid(
            f"{name} at {', '.join(remotes)} has schema version {found or 'none'}, this program"
            f" needs {wanted}: `isthmus store schema {store} > {file}`, then `ovsdb-client convert"
            f" {remotes[0]} {file}` (what is stored stays; with TLS also -p, -c and -C)",
            target=name,
        )


def numbers(version: str) -> tuple[int, ...]:
    """Of a version, to compare. Raises ValueError for what is none."""
    return tuple(int(part) for part in version.split(".") if part)


def encoded(schema: Schema) -> bytes:
    """As a file for ovsdb-tool(1)."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"
