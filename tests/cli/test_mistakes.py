# SPDX-License-Identifier: Apache-2.0
"""What people get wrong: one sentence that says what, and what to do; never a traceback."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from isthmus.cli import files, terminal
from isthmus.cli.main import main
from isthmus.errors import Invalid
from tests.cli.conftest import Cli


def failing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str]:
    """Exit status and what is said of a command line."""
    monkeypatch.setattr(sys, "argv", ["isthmus", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    assert isinstance(code, int)
    return code, capsys.readouterr().err


def test_what_is_there_is_shown_beside_what_is_not(cli: Cli) -> None:
    there = "/servers/h1"
    assert cli.run("apply", "-f", "-", stdin="[{resourceRef: /servers/h1}]")[0] == 0
    code, out, _ = cli.run("get", "/servers/nope", there, "-o", "name")
    assert code == 1
    assert out.splitlines() == [there]
    code, out, err = cli.run("get", "/servers/nope", there, "/servers/none", "-o", "name")
    assert (code, out.splitlines()) == (1, [there])
    assert "/servers/nope" in err
    assert "/servers/none" in err


def test_a_port_is_explained_by_its_reference_as_well(cli: Cli) -> None:
    for name in ("web1", "/networkInterfaces/web1", "/networkInterfaces/web1/"):
        code, out, _ = cli.run("explain", "port", name)
        assert code == 0
        assert out.startswith("Request   /networkInterfaces/web1  ")


def test_nobody_waits_for_less_than_no_time(cli: Cli) -> None:
    assert cli.run("apply", "-f", "-", "--watch", "--timeout", "-1", stdin="[]")[0] == 2


def test_files_without_resources_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    with pytest.raises(Invalid, match=f"there is no resource in {empty}"):
        files.wanted_of([str(empty)])


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("ftp://host", 1, "is no address of a controller: write unix:/path"),
        ("..", 1, "is no address of a controller: write unix:/path"),
        ("http://127.0.0.1:1", 3, "Is it running"),
    ],
)
def test_an_address_that_nobody_answers_at(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    code: int,
    said: str,
) -> None:
    found, err = failing(capsys, monkeypatch, "get", "/servers", "--url", url)
    assert (found, said in err) == (code, True), err


# httpcore leaves the unix socket of a failed attempt to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_socket_that_one_may_not_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even root, who may use whatever there is: for the moment it is nobody."""
    connect, user = socket.socket.connect, os.geteuid()

    def as_nobody(one: socket.socket, place: str) -> None:
        if user == 0:
            os.seteuid(65534)
        try:
            connect(one, place)
        finally:
            os.seteuid(user)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        (tmp_path / "s").chmod(0)
        monkeypatch.setattr(socket.socket, "connect", as_nobody)
        code, err = failing(
            capsys, monkeypatch, "get", "/servers", "--url", f"unix:{tmp_path / 's'}"
        )
    gc.collect()
    assert code == 3
    assert "its owner's alone" in err


def test_the_operating_system_s_errors_are_sentences(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise FileNotFoundError(2, "No such file or directory", b"/nonexistent/x")

    monkeypatch.setattr("isthmus.cli.main.app", fails)
    code, err = failing(capsys, monkeypatch)
    assert (code, err) == (1, "isthmus: /nonexistent/x: No such file or directory\n")


def test_ctrl_c_in_the_first_moment_is_no_traceback() -> None:
    script = (
        "import builtins, os, signal\n"
        "real = builtins.__import__\n"
        "def interrupted(name, *more, **other):\n"
        "    if name == 'typer':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *more, **other)\n"
        "from isthmus.cli.start import main\n"
        "builtins.__import__ = interrupted\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_trees_are_drawn_in_ascii_where_the_terminal_has_no_more() -> None:
    terminal.prepare()
    assert "├─ └─ │".encode("ascii", "isthmus-plain") == b"|- `- |"
