# SPDX-License-Identifier: Apache-2.0
"""A controller whose ovsdb-servers die under it: they run again, and what was asked is derived."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.system.controllers import Controller, add_port, furnish, ports, until

pytestmark = pytest.mark.system


@pytest.fixture
def controller() -> Iterator[Controller]:
    folder = Path(tempfile.mkdtemp(prefix="ct", dir="/tmp"))
    made = Controller(folder, "c1")
    try:
        made.start()
        until(made.answers)
        furnish(made)
        yield made
    finally:
        made.kill()
        store(made, "stop")
        shutil.rmtree(folder, ignore_errors=True)


def store(controller: Controller, verb: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "isthmus.cli.main", "store", verb),
        *("--run-dir", str(controller.run_directory)),
        *("--data-dir", str(controller.run_directory.parent / "data")),
    ]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def healthz(controller: Controller) -> tuple[int, str]:
    transport = httpx.HTTPTransport(uds=str(controller.socket))
    with httpx.Client(transport=transport, base_url="http://isthmus") as client:
        answer = client.get("/healthz")
    return answer.status_code, answer.text


def process(controller: Controller, name: str) -> int | None:
    """None while no server has written its pid."""
    try:
        return int((controller.run_directory / f"{name}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None


@pytest.mark.parametrize("name", ["north", "south"])
def test_a_store_that_is_killed_comes_back_and_nothing_is_lost(
    controller: Controller, name: str
) -> None:
    add_port(controller, "before")
    until(lambda: ports(controller) == 1)
    for round_ in range(1, 4):
        until(lambda: process(controller, name))
        dead = process(controller, name)
        assert dead is not None
        os.kill(dead, signal.SIGKILL)
        until(lambda: process(controller, name) not in (dead, None))  # noqa: B023  # awaited here
        until(lambda: healthz(controller) == (200, "ok"))
        add_port(controller, f"after{round_}")
        until(lambda: ports(controller) == 1 + round_)  # noqa: B023  # awaited here
    with controller.client() as client:
        found = {one["name"]: one for one in client.status()["stores"]}
    assert found[name]["restarts"] == 3
    assert "its ovsdb-server has ended" in (controller.run_directory / "log").read_text()
    assert store(controller, "status").returncode == 0


def test_stopped_by_the_operator_they_stay_so_and_it_is_said(controller: Controller) -> None:
    assert store(controller, "stop").returncode == 0
    until(lambda: healthz(controller) == (503, "no store: north, south"))

    def problems() -> list[str]:
        with controller.client() as client:
            return [one["problem"] for one in client.status()["stores"]]

    until(lambda: all("isthmus store start" in one for one in problems()))
    assert store(controller, "status").returncode == 1
    started = store(controller, "start")
    assert started.returncode == 0, started.stderr
    assert "south started" in started.stdout
    until(lambda: healthz(controller) == (200, "ok"))
    add_port(controller, "after")
    until(lambda: ports(controller) == 1)
