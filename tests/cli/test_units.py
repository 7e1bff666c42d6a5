# SPDX-License-Identifier: Apache-2.0
"""systemd's units: one text for the source tree, a virtual environment and the packages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from isthmus.cli import units

DAEMONS = ("agent", "controller")


def _lines(daemon: str) -> list[str]:
    return units.text(daemon, "/usr/bin/isthmus").splitlines()


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_unit_runs_the_command_that_it_is_given(daemon: str) -> None:
    assert [line for line in _lines(daemon) if line.startswith("ExecStart=")] == [
        f"ExecStart=/usr/bin/isthmus {daemon}"
    ]


@pytest.mark.parametrize("daemon", DAEMONS)
def test_nothing_starts_before_it_is_configured(daemon: str) -> None:
    assert "ConditionPathExists=/etc/isthmus/isthmus.toml" in _lines(daemon)


def test_the_agent_brings_open_vswitch_up_with_it() -> None:
    assert "Wants=network-online.target openvswitch-switch.service" in _lines("agent")
    assert "After=network-online.target openvswitch-switch.service" in _lines("agent")


def test_systemd_finds_nothing_wrong_in_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine")
    for daemon in DAEMONS:
        text = units.text(daemon, shutil.which("true") or "/bin/true")
        (tmp_path / units.file_name(daemon)).write_text(text)
    files = [str(tmp_path / units.file_name(daemon)) for daemon in DAEMONS]
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", *files],
        capture_output=True,
        text=True,
    )
    # systemd-analyze ends well where it has only warned: an unknown key, for one.
    assert (done.returncode, done.stderr) == (0, "")


def test_a_unit_of_a_package_is_found_wherever_the_release_keeps_units(tmp_path: Path) -> None:
    assert units.packaged_unit(tmp_path, "agent") is None
    for folder in ("lib/systemd/system", "usr/lib/systemd/system"):
        file = tmp_path / folder / "isthmus-agent.service"
        file.parent.mkdir(parents=True)
        file.touch()
        assert units.packaged_unit(tmp_path, "agent") == file


def test_from_packages_each_daemon_needs_its_own(tmp_path: Path) -> None:
    missing = units.missing_packages
    assert missing(tmp_path, Path("/srv/venv"), DAEMONS) == []
    assert missing(tmp_path, units.PACKAGED_PREFIX, DAEMONS) == [
        "isthmus-agent",
        "isthmus-controller",
    ]
    file = tmp_path / "usr/lib/systemd/system/isthmus-agent.service"
    file.parent.mkdir(parents=True)
    file.touch()
    assert missing(tmp_path, units.PACKAGED_PREFIX, DAEMONS) == ["isthmus-controller"]
