# SPDX-License-Identifier: Apache-2.0
"""The order in which files of resources are applied."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import yaml

from isthmus.cli.files import wanted_of
from isthmus.errors import Invalid
from isthmus.intent.values import MOST_DEPTH

NETWORK = {"resourceRef": "/virtualNetworks/v"}
LIST = {"resourceRef": "/accessControlLists/a"}
SUBNET = {
    "resourceRef": "/VirtualNetworks/V/subnets/s",
    "properties": {"accessControlList": {"resourceRef": "/accesscontrollists/A"}},
}
INTERFACE = {
    "resourceRef": "/networkInterfaces/n",
    "properties": {
        "ipConfigurations": [
            {"properties": {"subnet": {"resourceRef": "/virtualNetworks/v/subnets/s"}}}
        ]
    },
}


def _order(folder: Path, *entries: object) -> list[str]:
    for number, entry in enumerate(entries):
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(entry))
    return [str(one["resourceRef"]).rpartition("/")[2] for one in wanted_of([str(folder)]).requests]


@pytest.mark.parametrize("entries", permutations([NETWORK, LIST, SUBNET, INTERFACE]))
def test_what_is_mentioned_comes_first(tmp_path: Path, entries: tuple[object, ...]) -> None:
    order = _order(tmp_path, *entries)
    assert sorted(order) == ["a", "n", "s", "v"]
    assert order.index("s") > max(order.index("v"), order.index("a"))
    assert order.index("n") > order.index("s")


def test_otherwise_as_written(tmp_path: Path) -> None:
    again = {**NETWORK, "tags": {"again": "1"}}
    assert _order(tmp_path, LIST, NETWORK, INTERFACE, again) == ["a", "v", "n", "v"]
    assert wanted_of([str(tmp_path)]).requests[3]["body"]["tags"] == {"again": "1"}


def test_a_circle_of_mentions_is_as_written(tmp_path: Path) -> None:
    def peering(name: str, other: str) -> object:
        properties = {"remoteVirtualNetwork": {"resourceRef": f"/virtualNetworks/{other}"}}
        return {
            "resourceRef": f"/virtualNetworks/{name}",
            "properties": {"virtualNetworkPeerings": [{"properties": properties}]},
        }

    assert sorted(_order(tmp_path, peering("v", "w"), peering("w", "v"))) == ["v", "w"]


def test_with_a_deletion_everything_is_as_written(tmp_path: Path) -> None:
    gone = {"resourceRef": "/virtualNetworks/v", "method": "DELETE"}
    assert _order(tmp_path, INTERFACE, gone, NETWORK) == ["n", "v", "v"]


# -- what is no JSON -------------------------------------------------------------------------------


def _value(folder: Path, text: str) -> object:
    """What is read where the file says `text`."""
    file = folder / "one.yaml"
    file.write_text(f"resourceRef: /servers/x\nproperties:\n  a: {text}\n")
    return wanted_of([str(file)]).requests[0]["body"]["properties"]["a"]


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "No", "on", "off", "True", "Null", "2020-01-01", "2020-01-01T00:00:00Z", "0x1f"),
        *("0o17", "017", "190:20:30", "1_000", "+1", "1.", ".5", ".inf", ".nan", "<<", "="),
    ],
)
def test_a_word_that_older_readers_take_for_something_else_is_a_text(
    tmp_path: Path, text: str
) -> None:
    assert _value(tmp_path, text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), ("~", None), ("null", None), ("true", True), ("-7", -7), ("1e3", 1000.0)],
)
def test_a_word_that_json_has_or_nothing_is_what_it_says(
    tmp_path: Path, text: str, value: object
) -> None:
    found = _value(tmp_path, text)
    assert (found, type(found)) == (value, type(value))


def test_a_key_that_is_there_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text(
        "- resourceRef: /servers/x\n"
        "- resourceRef: /servers/y\n"
        "  properties:\n"
        "    a: 1\n"
        "    b: {c: 1}\n"
        "    a: 2\n"
    )
    with pytest.raises(Invalid, match=r"twice\.yaml line 6.*'a' is there twice, first in line 4"):
        wanted_of([str(file)])
    file.write_text('{"resourceRef": "/servers/x",\n "tags": {"k": "v",\n"k": "w"}}')
    with pytest.raises(Invalid, match=r"line 3.*'k' is there twice, first in line 2"):
        wanted_of([str(file)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1e400", "line 3.*no number"),
        ("!!float .inf", "line 3.*no number"),
        ("!!int 0x1f", "line 3.*no number"),
        ("!!timestamp 2020-01-01", "line 3.*timestamp"),
        ("!!python/object:os.system {}", "line 3"),
        ("{1: 2}", "line 3.*in quotes"),
        ("{[a]: 2}", "line 3.*in quotes"),
        ("&x [*x]", "within itself"),
        ("[" * 3000, "64 levels"),
    ],
)
def test_what_json_has_not_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        _value(tmp_path, text)


def test_a_file_of_a_folder_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match=r"a\.yaml cannot be read"):
        wanted_of([str(tmp_path)])


def test_an_entry_is_as_deep_as_a_body_may_be(tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    for levels, fits in ((MOST_DEPTH - 1, True), (MOST_DEPTH, False), (150, False)):
        tags = '{"a":' * levels + "1" + "}" * levels
        deep = f'{{"resourceRef": "/servers/y", "tags": {tags}}}'
        file.write_text(f'[{{"resourceRef": "/servers/x"}},\n{deep}]')
        if fits:
            assert len(wanted_of([str(file)]).requests) == 2
        else:
            with pytest.raises(Invalid, match=rf"deep\.json:2 .*more than {MOST_DEPTH} levels"):
                wanted_of([str(file)])
