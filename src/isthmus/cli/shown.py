# SPDX-License-Identifier: Apache-2.0
"""How things look: tables on a terminal, plain columns in a pipe, YAML for one resource."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from isthmus.cli.terminal import BAD, GOOD, plain
from isthmus.errors import Invalid

Row = Mapping[str, Any]

NO_STYLES: Mapping[str, str] = {}


def console() -> Console:
    """For people; in a pipe it neither colours nor wraps."""
    # No emoji: an address like 2001:db8:100::1 holds what rich takes for the name of one.
    return Console(highlight=False, emoji=False, markup=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """Raises Invalid for what is nested too deeply."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError as error:
        raise Invalid(
            "the answer is nested too deeply to be printed: ask for it by REST"
        ) from error
    print(text)


def print_yaml(value: object) -> None:
    """Raises Invalid for what is nested too deeply."""
    try:
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)
    except RecursionError as error:
        raise Invalid("the answer is nested too deeply for YAML: try -o json") from error
    sys.stdout.write(text)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    styles: Mapping[str, str] = NO_STYLES,
) -> None:
    """Cells are plain text. A pipe gets tabs between them, which cut(1) and awk(1) can read; on a
    terminal a cell has the style of its text."""
    found = [tuple(plain(cell) for cell in row) for row in rows]
    if not sys.stdout.isatty():
        for row in (columns, *found):
            print("\t".join(row))
        return
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, header_style="bold", overflow="fold")
    for row in found:
        table.add_row(*(Text(cell, styles.get(cell, "")) for cell in row))
    console().print(table)


# -- collections ---------------------------------------------------------------------------------


def print_collection(resources: Sequence[Row], *, wide: bool = False) -> None:
    """One line a resource: what most people look for first; `wide`: and everything else that has
    one value."""
    rows = [{**_line(resource), **(_rest(resource) if wide else {})} for resource in resources]
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_table(
        names,
        [[row.get(name, "") for name in names] for row in rows],
        styles={"Success": GOOD, "Failure": BAD},
    )


def _line(resource: Row) -> dict[str, str]:
    properties: Row = resource.get("properties", {})
    line = {"ID": str(resource.get("resourceId", ""))}
    for name, shown in (
        ("addressPrefix", "PREFIX"),
        ("privateIPAddress", "ADDRESS"),
        ("privateMacAddress", "MAC"),
        ("startMacAddress", "FROM"),
        ("endMacAddress", "TO"),
        ("networkVirtualizationEnabled", "VIRTUALIZATION"),
        ("type", "TYPE"),
    ):
        if name in properties:
            line[shown] = str(properties[name])
    if "addressSpace" in properties:
        line["PREFIXES"] = ", ".join(properties["addressSpace"].get("addressPrefixes", ()))
    if "subnets" in properties:
        line["SUBNETS"] = ", ".join(_subnet(one) for one in properties["subnets"])
    configs = properties.get("ipConfigurations", ())
    if any("properties" in one for one in configs):
        line["ADDRESSES"] = ", ".join(
            str(one["properties"].get("privateIPAddress", "")) for one in configs
        )
        subnets = {one["properties"].get("subnet", {}).get("resourceRef", "") for one in configs}
        line["SUBNET"] = ", ".join(sorted(_short(ref) for ref in subnets))
    if "server" in properties:
        line["HOST"] = _short(properties["server"].get("resourceRef", ""))
    state = properties.get("configurationState")
    if state:
        line["STATE"] = _state(state)
    return line


_SHOWN_BEFORE = {
    *("addressPrefix", "privateIPAddress", "privateMacAddress", "startMacAddress", "endMacAddress"),
    *("networkVirtualizationEnabled", "type", "addressSpace", "subnets", "ipConfigurations"),
    *("server", "configurationState"),
}


def _rest(resource: Row) -> dict[str, str]:
    line: dict[str, str] = {}
    for name, value in resource.get("properties", {}).items():
        if name in _SHOWN_BEFORE:
            continue
        if isinstance(value, Mapping) and isinstance(value.get("resourceRef"), str):
            line[name.upper()] = value["resourceRef"]
        elif not isinstance(value, Mapping | list):
            line[name.upper()] = str(value)
    tags = resource.get("tags", {})
    line["TAGS"] = ", ".join(f"{name}={value}" for name, value in tags.items())
    line["INSTANCEID"] = str(resource.get("instanceId", ""))
    line["ETAG"] = str(resource.get("etag", ""))
    return line


def _subnet(subnet: Row) -> str:
    return f"{subnet.get('resourceId')} {subnet.get('properties', {}).get('addressPrefix', '')}"


def _short(ref: str) -> str:
    """``/virtualNetworks/v/subnets/s`` → ``v/s``."""
    return "/".join(ref.strip("/").split("/")[1::2])


def _state(state: Row) -> str:
    status = str(state.get("status", ""))
    details = state.get("detailedInfo") or [{}]
    return status if status == "Success" else f"{status}: {details[0].get('message', '')}"
