# SPDX-License-Identifier: Apache-2.0
"""The Debian packages: what their control files and scripts say. packaging/try-packages uses them
on a machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from isthmus.cli import units

ROOT = Path(__file__).parent.parent
DEBIAN = ROOT / "packaging" / "debian"

PACKAGES = ("isthmus", "isthmus-controller", "isthmus-agent", "isthmus-lab")
DAEMONS = ("isthmus-controller", "isthmus-agent")
KINDS = ("postinst", "prerm", "postrm")


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assemble", DEBIAN / "assemble.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


assemble = _loaded()


def _field(package: str, name: str) -> list[str]:
    lines = [
        line.partition(": ")[2]
        for line in assemble.stanzas()[package].splitlines()
        if line.startswith(f"{name}: ")
    ]
    return [part for line in lines for part in line.split(", ")]


def test_the_library_the_daemons_and_the_lab_are_packages_of_their_own() -> None:
    assert sorted(assemble.stanzas()) == sorted(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_what_runs_needs_the_library_of_the_same_build(package: str) -> None:
    assert "isthmus (= ${version})" in _field(package, "Depends")


def test_each_package_names_what_it_calls() -> None:
    assert "openvswitch-common" in _field("isthmus-controller", "Depends")  # the stores
    assert "openvswitch-switch" in _field("isthmus-agent", "Depends")
    assert {"iproute2", "iputils-ping", "openvswitch-switch"} <= set(
        _field("isthmus-lab", "Depends")
    )
    # The command alone works with a controller elsewhere: nothing but its interpreter.
    assert _field("isthmus", "Depends") == ["${python}", "${libraries}"]


def _script(folder: Path, package: str, kind: str) -> Path | None:
    text = assemble.script(package, kind)
    if text is None:
        return None
    file = folder / f"{package}.{kind}"
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("package", PACKAGES)
def test_every_script_is_one_that_a_shell_can_read(tmp_path: Path, package: str) -> None:
    scripts = [script for kind in KINDS if (script := _script(tmp_path, package, kind))]
    assert scripts
    for script in scripts:
        assert script.read_text().startswith("#!/bin/sh\n")
        assert "@" not in script.read_text()
        subprocess.run(["sh", "-n", script], check=True)


def _programs(folder: Path, answers: dict[str, str]) -> dict[str, str]:
    """An environment in which these programs answer so, and what they were asked for is noted."""
    for name, answer in answers.items():
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{folder}/asked\n{answer}\n')
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("package", DAEMONS)
def test_installing_enables_and_starts_nothing(tmp_path: Path, package: str) -> None:
    # As deb-systemd-helper answers where the unit was never there: it says that it was enabled.
    helper = 'case "$*" in *debian-installed*) exit 1 ;; esac'
    environment = _programs(
        tmp_path,
        {
            "deb-systemd-helper": helper,
            "deb-systemd-invoke": "",
            "systemctl": 'case "$*" in *is-enabled*) exit 1 ;; esac',
        },
    )
    script = _script(tmp_path, package, "postinst")
    assert script
    subprocess.run([script, "configure", ""], env=environment, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert f"deb-systemd-helper update-state {package}.service" in asked
    assert not [line for line in asked if " enable " in line or "deb-systemd-invoke" in line]


def test_data_is_kept_on_removal_and_only_purging_deletes_it() -> None:
    for script, place in (
        (assemble.script("isthmus-controller", "postrm"), "/var/lib/isthmus"),
        (assemble.script("isthmus", "postrm"), "/etc/isthmus"),
    ):
        before, purge, after = script.partition('[ "$1" = purge ] && [ -e ')
        assert purge
        assert "rm -rf" not in before
        branch, removal, rest = after.partition("elif")
        assert removal
        assert f"rm -rf {place}" in branch
        assert "rm -rf" not in rest
        # Both say it.
        assert f"removing {place}" in branch
        assert "stay" in rest


def test_the_lab_is_in_its_own_package_and_the_units_run_the_packaged_command(
    tmp_path: Path,
) -> None:
    site = tmp_path / "site"
    for name in ("isthmus", "isthmus_lab", "bin"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").touch()
    library, lab, agent = (tmp_path / name for name in ("library", "lab", "agent"))
    assemble.lay_out_libraries(library, lab, site)
    assemble.lay_out_unit(agent, "agent", site)
    assemble.lay_out_command(library)
    assert [path.name for path in (library / assemble.SITE_PACKAGES).iterdir()] == ["isthmus"]
    assert [path.name for path in (lab / assemble.SITE_PACKAGES).iterdir()] == ["isthmus_lab"]
    unit = units.packaged_unit(agent, "agent")
    assert unit
    assert unit.read_text() == units.text("agent", "/usr/bin/isthmus")
    # What `isthmus init` takes for the sign that Isthmus came from packages.
    assert Path("/") / assemble.PREFIX == units.PACKAGED_PREFIX


def test_a_package_holds_what_its_checksums_say(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("this machine has no dpkg")
    root, out = tmp_path / "root", tmp_path / "out"
    out.mkdir()
    assemble.write(root / "usr/share/doc/isthmus-agent/copyright", "ours\n", mode=0o600)
    values = {"version": "0.1.0+deb12", "maintainer": "A Name <name@example.org>"}
    package = assemble.build("isthmus-agent", root, values, out)
    assert package.name == "isthmus-agent_0.1.0+deb12_all.deb"
    unpacked = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "--raw-extract", package, unpacked], check=True)
    said = (unpacked / "DEBIAN/md5sums").read_text().splitlines()
    assert len(said) == 1
    digest, name = said[0].split("  ")
    assert hashlib.md5((unpacked / name).read_bytes()).hexdigest() == digest
    assert (unpacked / name).stat().st_mode & 0o777 == 0o644
    control = (unpacked / "DEBIAN/control").read_text()
    assert "Version: 0.1.0+deb12\n" in control
    assert "isthmus (= 0.1.0+deb12)" in control
    assert "$" not in control
