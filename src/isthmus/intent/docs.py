# SPDX-License-Identifier: Apache-2.0
"""The reference of the resources in Markdown, from their declarations."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.intent.address_values import IpAddress, IpPrefix, MacAddress
from isthmus.intent.fields import Access, Part, Rules
from isthmus.intent.kind import Kind
from isthmus.intent.model import Json
from isthmus.intent.references import Reference
from isthmus.intent.refusals import NotOffered
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.specs import FieldSpec, Nested, fields_of
from isthmus.intent.values import Boolean, Choice, Integer, Many, ValueType
from isthmus.intent.versions import V1, Version

_HEAD = "| property | type | rules | meaning |\n|---|---|---|---|"


def markdown(registry: Registry = REGISTRY) -> str:
    """The text of docs/resources.md."""
    parts = [
        "# Resources",
        "Paths are below `/networking/<version>`, found in any letter case. Every resource also has"
        " `resourceRef`, `resourceId`, `instanceId`, `etag`, `tags`, `resourceMetadata` and"
        " `properties.provisioningState`. Properties that are not in these tables are dropped;"
        " those that are kept as information are stored and shown, and change nothing.",
        f"Extensions to MS-NCNBI: {', '.join(f'`{name}`' for name in registry.capabilities)}.",
    ]
    for kind in registry.kinds.values():
        parts += _kind(kind)
    return "\n\n".join(parts) + "\n"


def _kind(kind: Kind) -> Iterator[str]:
    yield f"## {kind.name}"
    document = " ".join((kind.model.__doc__ or "").split())
    in_use = f" Deleting it while it is in use is refused with `{kind.in_use_code}`."
    singleton = f" There is one, `{kind.singleton}`, which always exists."
    since = "" if kind.since == V1 else f" Since {kind.since}: older versions do not find it."
    yield f"{document}{singleton if kind.singleton else in_use}{since}"
    yield "\n".join([_HEAD, *_rows(kind)])


def _rows(kind: Kind) -> Iterator[str]:
    yield from _field_rows(kind.model, "")
    for child in kind.children:
        since = "" if child.since == V1 else f"since {child.since}"
        yield _row(child.collection, "children", since, f"See {child.name}.")
    for back in kind.back_references:
        yield _row(back.wire, "list of references", _read_only(back.since), back.description)
    for computed in kind.computed:
        if computed.wire in kind.shown_elsewhere:
            continue
        yield _row(computed.wire, "object", _read_only(computed.since), computed.description)
    if kind.located is not None:
        shape = "list of references" if kind.located.as_list else "reference"
        yield _row(
            kind.located.wire, shape, _read_only(kind.located.since), kind.located.description
        )
    if kind.has_state:
        yield _row("configurationState", "object", "read only", "What hosts report.")


def _field_rows(model: type[Part], prefix: str) -> Iterator[str]:
    for spec in fields_of(model):
        if spec.rules.access is Access.INTERNAL:
            continue
        name = f"{prefix}{spec.wire}"
        yield _row(name, _shape(spec.type), _rules(spec), spec.description)
        inner, suffix = spec.type, "."
        if isinstance(inner, Many):
            inner, suffix = inner.item, "[]."
        if isinstance(inner, Nested):
            yield from _field_rows(inner.model, f"{name}{suffix}")


def _row(name: str, shape: str, rules: str, meaning: str) -> str:
    return f"| {name} | {shape} | {rules} | {meaning.replace('|', chr(92) + '|')} |"


def _read_only(since: Version) -> str:
    return "read only" if since == V1 else f"read only; since {since}"


def _shape(kind: ValueType) -> str:
    match kind:
        case Many():
            return f"list: {_shape(kind.item)}"
        case Nested():
            return "object"
        case Reference():
            return f"reference to {' or '.join(kind.kinds)}"
        case Choice():
            return ", ".join(member.value for member in kind.members)
        case Integer():
            limits = f"{kind.minimum} to {kind.maximum}" if kind.maximum < 2**63 - 1 else "number"
            return f"{limits}, as text" if kind.as_text else limits
        case Boolean():
            return "`True`, `False` as text" if kind.as_text else "true, false"
        case MacAddress():
            return "MAC address, `00-00-00-00-00-00`" if kind.dashes else "MAC address, 12 digits"
        case IpAddress():
            return "IP address"
        case IpPrefix():
            return "prefix"
        case NotOffered():
            return "not offered"
        case _:
            return "text"


def _rules(spec: FieldSpec) -> str:
    rules = spec.rules
    said = [
        _required(rules),
        f"fixed (`{rules.immutable}`)" if rules.immutable else "",
        "" if rules.access is Access.WRITABLE else rules.access.value,
        "kept as information" if rules.kept else "",
        "" if rules.since == V1 else f"since {rules.since}",
        f"extension `{rules.extension}`" if rules.extension else "",
        "" if spec.default in (None, ()) else f"default {_default(spec.type.write(spec.default))}",
    ]
    return "; ".join(text for text in said if text)


def _required(rules: Rules) -> str:
    if not rules.required:
        return ""
    # A PUT without what is fixed keeps it.
    when = " when it is made" if rules.immutable else ""
    return f"required{when} (`{rules.required}`)"


def _default(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
