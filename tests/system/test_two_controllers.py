# SPDX-License-Identifier: Apache-2.0
"""Two controllers on the same stores: both serve REST, one derives, the other takes over."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.controllers import (
    LONGEST_S,
    Controller,
    add_port,
    furnish,
    ports,
    server_of_others,
    until,
)

pytestmark = pytest.mark.system


@pytest.fixture
def pair() -> Iterator[tuple[Controller, Controller]]:
    folder = Path(tempfile.mkdtemp(prefix="ct", dir="/tmp"))
    first = Controller(folder, "c1")
    second = Controller(folder, "c2", stores=first.run_directory)
    try:
        first.start()
        until(first.answers)
        until(lambda: first.deriver()[0] == "c1")
        second.start()
        until(second.answers)
        yield first, second
    finally:
        for controller in (first, second):
            if controller.process is not None:
                controller.signal(signal.SIGCONT)
            controller.kill()
        subprocess.run(
            [
                *(sys.executable, "-m", "isthmus.cli.main", "store", "stop"),
                *("--run-dir", str(first.run_directory), "--data-dir", str(folder / "data")),
            ],
            check=True,
            capture_output=True,
        )
        shutil.rmtree(folder, ignore_errors=True)


def heartbeats(controller: Controller) -> set[str]:
    """Whose it sees, moving or not."""
    with controller.client() as client:
        return {one["name"] for one in client.status()["controllers"]}


def test_both_serve_and_what_either_takes_is_derived_by_one(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    furnish(second)
    for number in range(5):
        add_port(first, f"a{number}")
        add_port(second, f"b{number}")
    until(lambda: ports(first) == ports(second) == 10)
    until(lambda: first.deriver()[:2] == second.deriver()[:2] == ("c1", 1))


def test_when_the_deriver_is_killed_the_other_takes_over_and_loses_nothing(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    furnish(first)
    add_port(first, "before")
    first.kill()
    add_port(second, "meanwhile")
    until(lambda: second.deriver() == ("c2", 2, True))
    until(lambda: ports(second) == 2)
    first.start()
    until(first.answers)
    add_port(first, "after")
    until(lambda: ports(second) == ports(first) == 3)
    until(lambda: first.deriver()[0] == "c2")


def test_a_deriver_that_hung_writes_nothing_after_its_successor(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    furnish(first)
    first.signal(signal.SIGSTOP)
    add_port(second, "meanwhile")
    until(lambda: second.deriver() == ("c2", 2, True))
    first.signal(signal.SIGCONT)
    for number in range(10):
        add_port(first, f"late{number}")
    until(lambda: ports(first) == ports(second) == 11)
    until(lambda: first.deriver()[:2] == ("c2", 2))
    # That it was replaced is in order, and nothing for the operator to look after.
    until(lambda: first.problem() == "")
    log = (first.run_directory / "log").read_text()
    assert "Traceback" not in log


def test_one_that_ends_orderly_is_replaced_at_once(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    first.signal(signal.SIGTERM)
    assert first.process is not None
    assert first.process.wait(LONGEST_S) == 0
    first.process = None
    assert not first.socket.exists()
    # It takes its heartbeat along: that of one that was killed would stay, and be waited for.
    until(lambda: heartbeats(second) == {"c2"})
    until(lambda: second.deriver()[0] == "c2")
    assert os.path.exists(first.run_directory / "north.sock")  # noqa: PTH110  # a socket


@pytest.mark.parametrize("store", ["north", "south"])
@pytest.mark.parametrize(
    ("version", "advice"), [("0.1.0", "ovsdb-client convert"), ("99.0.0", "newer program")]
)
def test_a_schema_of_others_that_is_not_ours_is_refused_with_what_to_do(
    folder: Path, store: str, version: str, advice: str
) -> None:
    controller = Controller(folder, "c1")
    with server_of_others(folder, {store: version}) as remote:
        controller.use_store(remote)
        controller.start()
        assert controller.process is not None
        try:
            assert controller.process.wait(LONGEST_S) == 1
        finally:
            controller.kill()
    log = (controller.run_directory / "log").read_text()
    assert f"{remote} has schema version {version}" in log
    assert advice in log
    assert "Traceback" not in log


def test_a_controller_works_on_any_server_that_holds_both_data_bases(folder: Path) -> None:
    controller = Controller(folder, "c1")
    with server_of_others(folder, {}) as remote, contextlib.closing(controller):
        controller.use_store(remote)
        controller.start()
        until(controller.answers)
        furnish(controller)
        add_port(controller, "n")
        until(lambda: controller.deriver() == ("c1", 1, True) and ports(controller) == 1)
        assert not (folder / "data" / "north.db").exists()
