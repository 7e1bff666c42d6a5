# SPDX-License-Identifier: Apache-2.0
"""A deletion says first what it opens or cuts, asks on a terminal, and is done as a whole."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Cli

PLAN = {
    "resources": [{"action": "delete", "resourceRef": "/servers/h1"}],
    "ports": {"reruled": {"count": 1, "first": ["web"]}},
    "reachability": [
        {
            "tenant": "shop",
            "direction": "inbound",
            "ports": {"count": 1, "first": ["web"]},
            "ruleSets": [],
            "gained": ["all from any"],
            "lost": [],
            "whole": True,
        }
    ],
    "shadowed": [],
}


@pytest.fixture
def furnished(cli: Cli) -> Iterator[Cli]:
    cli.hosts.answers["plan"] = PLAN
    cli.run("apply", "-f", "-", stdin="[{resourceRef: /servers/h1}, {resourceRef: /servers/h2}]")
    yield cli


def servers(cli: Cli) -> str:
    return cli.run("get", "/servers")[1]


def answered(cli: Cli, answer: str, *arguments: str) -> tuple[int, str]:
    """The command on a terminal of its own, on which somebody types an answer."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "isthmus.cli.main", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "ISTHMUS_URL": cli.url},
        )
        os.close(theirs)
        os.write(ours, answer.encode())
        said = b""
        while True:
            try:
                said += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        return process.wait(), said.decode()
    finally:
        os.close(ours)


def test_where_nobody_can_be_asked_nothing_is_deleted_without_yes(furnished: Cli) -> None:
    code, _, said = furnished.run("delete", "/servers/h1")
    assert code == 1
    assert "--yes" in said
    assert "h1" in servers(furnished)


def test_a_dry_run_says_what_it_opens_and_deletes_nothing(furnished: Cli) -> None:
    code, out, _ = furnished.run("delete", "--dry-run", "/servers/h1")
    assert code == 0
    assert "delete   /servers/h1" in out
    assert "+ all from any" in out
    assert "h1" in servers(furnished)


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, False), ("n\n", 1, True)])
def test_on_a_terminal_it_is_shown_and_asked(
    furnished: Cli, answer: str, code: int, left: bool
) -> None:
    found, said = answered(furnished, answer, "delete", "/servers/h1")
    assert found == code
    assert "+ all from any" in said
    assert "delete /servers/h1? [y/N]" in said
    assert ("h1" in servers(furnished)) is left


def test_several_are_deleted_all_or_none(furnished: Cli) -> None:
    code, _, said = furnished.run("delete", "-y", "/servers/h1", "/logicalNetworks")
    assert code == 1
    assert "collection" in said
    assert "h1" in servers(furnished)
    code, out, _ = furnished.run("delete", "-y", "/servers/h1", "/servers/h2")
    assert (code, out) == (0, "/servers/h1 deleted\n/servers/h2 deleted\n")
