# SPDX-License-Identifier: Apache-2.0
"""What is printed on a real terminal, in a pipe, and where the encoding is poor."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from isthmus.cli.terminal import plain

TABLE = """
from isthmus.cli import shown, terminal
terminal.prepare()
shown.print_table(("ID", "STATE"), [("2001:db8:1:100:/64 [bold]x", "alive"), ("a\\nb", "silent")],
    styles={"alive": terminal.GOOD})
terminal.say("a → b ≥ ü", terminal.BAD)
"""


def on_a_terminal(script: str, **environment: str) -> str:
    """What a script writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment},
        )
        os.close(theirs)
        written = b""
        while True:
            try:
                written += os.read(ours, 4096)
            except OSError:  # Linux says so when the other end is closed
                break
        assert process.wait() == 0, written.decode()
    finally:
        os.close(ours)
    return written.decode(errors="replace").replace("\r\n", "\n")


def in_a_pipe(script: str, **environment: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout


def test_an_address_is_shown_as_it_is_and_no_cell_has_a_line_break() -> None:
    shown = on_a_terminal(TABLE)
    assert "2001:db8:1:100:/64 [bold]x" in shown
    assert "a b" in shown
    assert "\x1b[32malive" in shown
    assert "\x1b[1;31ma → b ≥ ü\x1b[0m" in shown


def test_no_color_is_obeyed() -> None:
    assert "\x1b[3" not in on_a_terminal(TABLE, NO_COLOR="1")


def test_a_pipe_gets_tabs_and_no_colour() -> None:
    lines = in_a_pipe(TABLE, PYTHONIOENCODING="utf-8").decode().splitlines()
    assert lines == [
        "ID\tSTATE",
        "2001:db8:1:100:/64 [bold]x\talive",
        "a b\tsilent",
        "a → b ≥ ü",
    ]


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("latin-1", "a -> b >= ü".encode("latin-1")), ("ascii", b"a -> b >= \\xfc")],
)
def test_what_an_encoding_has_not_is_shown_plainly(encoding: str, expected: bytes) -> None:
    assert in_a_pipe(TABLE, PYTHONIOENCODING=encoding).splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü → x", "plain ü → x"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\tb\rc", "a\\tb\\rc"),
        ("two\nlines", "two lines"),
        ("\u202eright to left", "\\u202eright to left"),
    ],
)
def test_nothing_in_a_text_moves_the_cursor(text: str, expected: str) -> None:
    assert plain(text) == expected


ROWS = """
from isthmus.cli.rows import Rows
from isthmus.cli.terminal import BAD, GOOD
rows = Rows(("TIME", "HOST", "VERDICT", "PACKET", "WHY"))
styles = {"allowed": GOOD, "dropped": BAD}
rows.say(("10:00:00.001", "h1", "allowed", "tcp 10.0.0.4:49152 → 10.0.0.5:443", "by a/b"), styles)
rows.say(("10:00:00.002", "h10", "dropped", "tcp 10.0.0.4:49152 → 10.0.0.5:443",
    "at IN_INTERFACE by default of web: an inbound rule of the interface, or its default"), styles)
rows.say(("10:00:00.004", "h1", "allowed",
    "tcp [2001:db8:1:100::1004]:49152 → [2001:db8:1:100::1005]:443", "by a/b"), styles)
rows.say(("10:00:00.003", "h1\\x1b[2J", "allowed", "udp a → b", "by\\na/b"), styles)
"""


def test_rows_that_come_one_by_one_have_columns_and_no_line_is_too_long() -> None:
    shown = on_a_terminal(ROWS, NO_COLOR="1")
    assert shown.splitlines() == [
        "TIME          HOST  VERDICT  PACKET                             WHY",
        "10:00:00.001  h1    allowed  tcp 10.0.0.4:49152 → 10.0.0.5:443  by a/b",
        "10:00:00.002  h10   dropped  tcp 10.0.0.4:49152 → 10.0.0.5:443",
        "    at IN_INTERFACE by default of web: an inbound rule of the interface, or its",
        "    default",
        "10:00:00.004  h1    allowed",
        "    tcp [2001:db8:1:100::1004]:49152 → [2001:db8:1:100::1005]:443  by a/b",
        "10:00:00.003  h1\\x1b[2J  allowed  udp a → b",
        "    by a/b",
    ]
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_verdicts_are_coloured_on_a_terminal_alone() -> None:
    shown = on_a_terminal(ROWS)
    assert "\x1b[32mallowed\x1b[0m" in shown
    assert "\x1b[1;31mdropped\x1b[0m" in shown
    piped = in_a_pipe(ROWS, PYTHONIOENCODING="utf-8").decode().splitlines()
    assert piped[:2] == [
        "TIME\tHOST\tVERDICT\tPACKET\tWHY",
        "10:00:00.001\th1\tallowed\ttcp 10.0.0.4:49152 → 10.0.0.5:443\tby a/b",
    ]
    assert len(piped) == 5
