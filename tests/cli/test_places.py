# SPDX-License-Identifier: Apache-2.0
"""An error of the server says file, line, resource and field; all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.cli.files import wanted_of
from isthmus.cli.places import located
from isthmus.errors import Detail, Invalid
from tests.cli.conftest import Cli

TEXT = """\
resourceRef: /accessControlLists/web
properties:
  inboundDefaultActions: Deny
  aclRules:
    - resourceId: https
      properties: {type: Inbound,
                   protocl: TCP}
---
resourceRef: /servers/h1
propertys: {}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "web.yaml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("command", ["apply", "plan"])
def test_each_typing_error_is_told_with_its_line_and_nothing_is_stored(
    cli: Cli, file: Path, command: str
) -> None:
    file.write_text(TEXT.replace("propertys", "properties"))
    status, _, _ = cli.run(command, "-f", str(file))
    assert status == 1
    assert cli.run("get", "/accessControlLists", "-o", "json")[1].count("resourceRef") == 0


def test_what_stands_where_is_found_by_the_path_of_the_field(file: Path) -> None:
    file.write_text(TEXT.replace("propertys", "properties"))
    wanted = wanted_of([str(file)])
    error = Invalid(
        "2 things are wrong",
        details=(
            Detail("A", "one", "[0].properties.inboundDefaultActions"),
            Detail("B", "two", "[0].properties.aclRules[0].properties.protocl"),
            Detail("C", "three", "[1].properties.nothing"),
        ),
    )
    assert [one.message for one in located(error, wanted.places).details] == [
        f"{file}:3: /accessControlLists/web: properties.inboundDefaultActions: one",
        f"{file}:7: /accessControlLists/web: properties.aclRules[0].properties.protocl: two",
        f"{file}:10: /servers/h1: properties.nothing: three",
    ]


def test_a_lone_error_says_its_line_in_its_sentence(file: Path) -> None:
    file.write_text(TEXT.replace("propertys", "properties"))
    wanted = wanted_of([str(file)])
    error = located(Invalid("no", target="[1].properties"), wanted.places)
    assert error.message == f"{file}:10: /servers/h1: properties: no"
    assert error.target is None


def test_the_second_part_of_many_counts_from_its_own_beginning(file: Path) -> None:
    file.write_text(TEXT.replace("propertys", "properties"))
    wanted = wanted_of([str(file)])
    error = located(Invalid("no", target="[0]"), wanted.places, first=1)
    assert error.message == f"{file}:9: /servers/h1: no"


def test_all_entries_that_are_no_resources_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: x\n---\nresourceRef: /servers/h\npropertys: {}\n")
    with pytest.raises(Invalid, match="2 entries") as caught:
        wanted_of([str(tmp_path)])
    told = [one.message for one in caught.value.details]
    assert "a.yaml:1 names no resourceRef" in told[0]
    assert "a.yaml:3 (/servers/h) has propertys" in told[1]


def test_a_reference_that_leads_nowhere_is_told_with_its_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_text(
        "resourceRef: /networkInterfaces/n\n"
        "properties:\n"
        "  privateMacAddress: 02-00-00-00-00-01\n"
        "  ipConfigurations:\n"
        "    - resourceId: ip\n"
        "      properties: {subnet: {resourceRef: /virtualNetworks/none/subnets/s}}\n"
    )
    status, _, said = cli.run("apply", "-f", str(path))
    assert status == 1
    assert f"{path}:6: /networkInterfaces/n: " in said
