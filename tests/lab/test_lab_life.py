# SPDX-License-Identifier: Apache-2.0
"""A lab comes up, and whatever happens to it or its owner, nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.addresses import Mac
from isthmus.errors import Conflict, Invalid, NotFound, Unavailable
from isthmus_lab import namespaces
from isthmus_lab.daemon import Daemon, marked_processes, start_process
from isthmus_lab.lab import Lab, end_abandoned
from isthmus_lab.links import Links
from isthmus_lab.state import HostSpec
from tests.lab.remains import machine_links, remains_of, unique_name

pytestmark = pytest.mark.system

LONGEST_S = 60.0
HOSTS = [HostSpec("h1", "172.31.0.1"), HostSpec("h2", "172.31.0.2")]

OWNER = """
import signal, sys, time
from pathlib import Path
from isthmus_lab.lab import Lab
from isthmus_lab.state import HostSpec
# What a shell starts in the background ignores Ctrl-C, and so does all that this starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
print("starting", flush=True)
with Lab(sys.argv[1], Path(sys.argv[2])) as lab:
    lab.up([HostSpec("h1", "172.31.0.1"), HostSpec("h2", "172.31.0.2")])
    lab.add_guest("a1", "02:00:00:00:00:01", "p1")
    print("up", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def name() -> Iterator[str]:
    chosen = unique_name()
    yield chosen
    Lab(chosen).down()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where no other run of the tests looks for labs whose owner is dead."""
    made = Path(tempfile.mkdtemp(prefix="ll", dir="/run"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Owner:
    """Another process that has a lab, as soon as it prints `until`; ended with the block."""

    def __init__(self, name: str, directory: Path, until: str) -> None:
        self.lab = Lab(name, directory)
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, name, str(directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        said = map(str.strip, self.process.stdout)
        assert until in said, f"the owner ended before it printed {until!r}"

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.lab.down()

    def ends_by(self, number: signal.Signals) -> int:
        """Its exit status after a signal."""
        self.process.send_signal(number)
        return self.process.wait(LONGEST_S)

    def remains(self) -> dict[str, list[str]]:
        return remains_of(self.lab.name, self.lab.run_directory.parent)


def test_a_lab_that_ends_leaves_nothing(name: str) -> None:
    links = machine_links()
    with Lab(name) as lab:
        lab.up(HOSTS)
        lab.add_guest("a1", "02:00:00:00:00:01", "p1")
        assert set(remains_of(name)) == {"namespaces", "processes", "files", "mounts"}
        assert machine_links() == links
    assert remains_of(name) == {}
    assert machine_links() == links


def test_taking_down_an_absent_lab_is_success(name: str) -> None:
    lab = Lab(name)
    lab.down()
    lab.down()
    assert remains_of(name) == {}


def test_hosts_reach_each_other_on_the_underlay(name: str) -> None:
    with Lab(name) as lab:
        lab.up(HOSTS)
        with namespaces.entered(lab.host("h1").namespace):
            ping = ["ping", "-q", "-c", "2", "-i", "0.05", "-W", "30", "172.31.0.2"]
            assert subprocess.run(ping, stdout=subprocess.DEVNULL).returncode == 0
        known = lab.host("h1").switch.appctl("tnl/neigh/show")
        assert "172.31.0.2" in known and "02:50:ac:1f:00:02" in known


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_its_owner_ends_the_lab(
    name: str, directory: Path, number: signal.Signals
) -> None:
    with Owner(name, directory, "up") as owner:
        assert owner.remains() != {}
        assert owner.ends_by(number) != 0
        assert owner.remains() == {}


@pytest.mark.parametrize("after_s", [0.02, 0.08, 0.15, 0.25, 0.4])
def test_ctrl_c_while_it_starts_leaves_nothing(name: str, directory: Path, after_s: float) -> None:
    with Owner(name, directory, "starting") as owner:
        time.sleep(after_s)
        assert owner.ends_by(signal.SIGINT) != 0
        assert owner.remains() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_takes_for_its_own_mistake_ends_the_lab_nevertheless(
    name: str, directory: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pyroute2 does, which has bare excepts where it decodes."""

    def disturbed(here: Links, name: str, mac: Mac | None = None) -> None:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), number)
            time.sleep(LONGEST_S)
        add_bridge(here, name, mac)

    add_bridge = Links.add_bridge
    monkeypatch.setattr(Links, "add_bridge", disturbed)
    # Where the tests themselves ignore it, as a job in the background does.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)), Lab(name, directory) as lab:
            lab.up(HOSTS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert remains_of(name, directory) == {}


def test_what_a_killed_owner_left_is_ended_by_whoever_asks(name: str, directory: Path) -> None:
    with Owner(name, directory, "up") as owner:
        owner.ends_by(signal.SIGKILL)
        assert set(owner.remains()) == {"namespaces", "processes", "files", "mounts"}
        assert end_abandoned(directory) == [name]
        assert owner.remains() == {}


def test_a_lab_takes_over_from_a_killed_owner(name: str, directory: Path) -> None:
    with Owner(name, directory, "up") as owner:
        owner.ends_by(signal.SIGKILL)
        with Lab(name, directory) as lab:
            lab.up(HOSTS[:1])
            found = namespaces.existing(f"is-{name}-")
        assert found == [f"is-{name}-h1", f"is-{name}-underlay"]


def test_a_lab_of_a_living_owner_is_not_touched(name: str) -> None:
    with Lab(name) as lab:
        lab.up(HOSTS[:1])
        assert name not in end_abandoned()
        with Lab(name) as second, pytest.raises(Conflict, match="is up already, by process"):
            second.up(HOSTS)
        assert lab.host("h1").switch.vsctl("list-br").split() == ["br-phy"]


def test_a_lab_that_was_released_is_found_again(name: str) -> None:
    with Lab(name) as lab:
        lab.up(HOSTS)
        lab.release()
    found = Lab.opened(name)
    assert sorted(found.hosts) == ["h1", "h2"]
    found.add_guest("a1", "02:00:00:00:00:01", "p1")
    assert Lab.opened(name).guest("a1").state.port == "p1"
    found.down()
    with pytest.raises(NotFound, match="isthmus lab up"):
        Lab.opened(name)


def test_only_processes_with_the_mark_are_ended(name: str) -> None:
    with Lab(name) as lab:
        lab.up(HOSTS[:1])
        stranger = subprocess.Popen(["sleep", "60"])
        ours = start_process(["sleep", "60"], run_directory=lab.run_directory)
        assert ours.pid in set(marked_processes(lab.run_directory))
        stale = Daemon("x", ("true",), lab.run_directory, Path(lab.run_directory / "x.pid"), Path())
        stale.pid_file.write_text(str(stranger.pid))
        stale.kill()
        lab.down()
        assert ours.wait(LONGEST_S) == -signal.SIGTERM
        assert ours.stdout is not None
        ours.stdout.close()
        assert stranger.poll() is None
        stranger.kill()
        stranger.wait()


def test_a_failed_start_says_why_and_leaves_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "ovs-vswitchd"
    broken.write_text("#!/bin/sh\necho it is broken\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match="it is broken"):
        Lab(name).up(HOSTS[:1])
    assert remains_of(name) == {}


def test_a_machine_without_open_vswitch_is_told_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        Unavailable, match=r"not installed: ovs-vswitchd, .*, udhcpc; .* make setup"
    ):
        Lab(name).up(HOSTS)
    assert remains_of(name) == {}


@pytest.mark.parametrize("wrong", ["a-b", "", "A", "x" * 17, "../x"])
def test_a_name_that_could_mean_two_labs_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid, match="cannot name a lab"):
        Lab(wrong)
