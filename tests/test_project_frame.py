# SPDX-License-Identifier: Apache-2.0
"""The frame holds what it says: pinned versions, dry runs, rules that catch."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PIN = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*)==[A-Za-z0-9.+!]+"
    r"( ; (python_full_version|python_version) [<>=!]+ '[0-9.]+')? \\"
)
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")

COMMANDS_THAT_RUN = ("setup", "demo", "docs", "lab", "dist")
"""They install what the product runs with."""
COMMANDS_THAT_TEST = ("test", "test-long", "test-fresh", "check", "coverage", "bench")
"""They install what tests and checks need as well."""

RUNTIME, BUILD, DEV = "constraints.txt", "constraints-build.txt", "constraints-dev.txt"


def hashes_by_name(lock: str) -> dict[str, int]:
    """How many files of each package a lock allows."""
    counts: dict[str, int] = {}
    name = ""
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if pin := PIN.fullmatch(line):
            name = normalised(pin["name"])
            counts.setdefault(name, 0)
        elif HASH.fullmatch(line):
            counts[name] += 1
        else:
            pytest.fail(f"{lock}: neither a pin nor a hash: {line!r}")
    return counts


def normalised(requirement: str) -> str:
    """The package's name of a requirement, as PEP 503 spells it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def requirements() -> dict[str, set[str]]:
    """What pyproject.toml asks for, by the locks that must hold it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    return {
        RUNTIME: {normalised(name) for name in project["project"]["dependencies"]},
        BUILD: {normalised(name) for name in project["build-system"]["requires"] + groups["build"]},
        DEV: {normalised(name) for name in groups["dev"]},
    }


@pytest.mark.parametrize("lock", [RUNTIME, BUILD, DEV])
def test_a_lock_holds_names_versions_and_hashes_only(lock: str) -> None:
    assert all(count > 0 for count in hashes_by_name(lock).values())


@pytest.mark.parametrize("lock", [RUNTIME, BUILD, DEV])
def test_every_requirement_is_pinned_with_its_hashes(lock: str) -> None:
    assert requirements()[lock] - hashes_by_name(lock).keys() == set()


def test_what_the_product_runs_with_is_locked_apart_from_what_tests_it() -> None:
    """A package in both locks could be pinned to two versions."""
    assert hashes_by_name(RUNTIME).keys() & hashes_by_name(DEV).keys() == set()


def imports_of(folder: str) -> set[str]:
    """The modules that the files below a folder import, by the first word of their names."""
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found


MODULE_OF = {"pyyaml": "yaml", "prometheus-client": "prometheus_client"}
"""Where the module has another name than the package."""

RUN_AS_COMMANDS = {
    *("coverage", "mypy", "ruff", "import-linter", "pytest-timeout", "pytest-xdist"),
    "types-pyyaml",  # read by mypy
}


def test_every_dependency_is_used() -> None:
    in_src = imports_of("src")
    in_tests = imports_of("tests") | imports_of("bench")
    runtime = {MODULE_OF.get(name, name) for name in requirements()[RUNTIME]}
    dev = {MODULE_OF.get(name, name) for name in requirements()[DEV] - RUN_AS_COMMANDS}
    assert runtime - in_src == set()
    assert dev - in_tests == set()
    assert (in_src - sys.stdlib_module_names) - runtime == {"isthmus", "isthmus_lab"}


def frame_in(folder: Path) -> Path:
    """A copy of what `make` needs, without .venv, as in a fresh clone."""
    tree = folder / "tree"
    tree.mkdir()
    for name in ("Makefile", "pyproject.toml", RUNTIME, BUILD, DEV, "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "packaging", tree / "packaging")
    return tree


def bare_machine(folder: Path) -> dict[str, str]:
    """The environment of a machine that has no package yet and notes whoever tries to change it."""
    programs = folder / "programs"
    programs.mkdir()
    for program in ("apt-get", "ip", "ovs-vsctl", "systemctl", "pip", "python3"):
        write_program(programs / program, f'echo "$0 $*" >>{folder / "changes"}; exit 1')
    write_program(programs / "dpkg-query", "exit 0")
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return {**kept, "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"}


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("how", ["DRY_RUN=1", "--dry-run"])
@pytest.mark.parametrize("command", COMMANDS_THAT_RUN + COMMANDS_THAT_TEST)
def test_a_dry_run_says_what_it_would_install_and_changes_nothing(
    tmp_path: Path, command: str, how: str
) -> None:
    tree, environment = frame_in(tmp_path), bare_machine(tmp_path)
    before = contents(tree)

    said = subprocess.run(
        ["make", command, how],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "would install with apt-get" in said
    assert "openvswitch-switch" in said
    assert ("ovn-central" in said) == (command == "bench")
    assert ("qemu-system-x86" in said) == (command == "test-long")
    assert ("  openssl " in said) == (command in COMMANDS_THAT_TEST)
    locks = [RUNTIME, DEV] if command in COMMANDS_THAT_TEST else [RUNTIME]
    pins = sum(len(hashes_by_name(lock)) for lock in locks)
    assert f"would install {pins} packages" in said
    assert contents(tree) == before
    assert not (tmp_path / "changes").exists()


@pytest.mark.parametrize("how", ["DRY_RUN=1", "--dry-run"])
def test_a_dry_run_of_clean_removes_nothing(tmp_path: Path, how: str) -> None:
    tree = frame_in(tmp_path)
    (tree / ".venv").mkdir()
    subprocess.run(["make", "clean", how], cwd=tree, capture_output=True, check=True)
    assert (tree / ".venv").exists()


def test_nothing_is_installed_where_all_packages_are_there(tmp_path: Path) -> None:
    environment = bare_machine(tmp_path)
    wanted = subprocess.run(
        [ROOT / "packaging" / "install-packages", "--dry-run"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [line.split()[0] for line in wanted.splitlines() if line.startswith("  ")]
    assert "iproute2" in names
    # busybox serves for busybox-static, which it excludes.
    there = ["busybox" if name == "busybox-static" else name for name in names]
    lines = "".join(f"installed {name}\\n" for name in there)
    write_program(tmp_path / "programs" / "dpkg-query", f"printf '{lines}'")

    second = subprocess.run(
        [ROOT / "packaging" / "install-packages"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert second == "packages: nothing to install\n"
    assert not (tmp_path / "changes").exists()


def test_help_names_every_command() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    said = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    described = re.findall(r"^  make (\S+) +\S", said, re.MULTILINE)
    assert sorted(described) == sorted(phony[1].split())


def check_tree(folder: Path, files: dict[str, str]) -> tuple[int, list[str]]:
    """What packaging/check-tree says of a work tree of these files: exit status, lines."""
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, ROOT / "packaging" / "check-tree", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


LICENCE = "# SPDX-License-Identifier: Apache-2.0\n"


def test_a_tree_in_order_passes(tmp_path: Path) -> None:
    files = {
        "src/one.py": LICENCE + "\n" * 399,
        "tests/test_one.py": LICENCE + "\n" * 599,
        "src/isthmus/store/north.py": LICENCE + "\n" * 400,  # listed as longer
        "run": "#!/bin/sh\n" + LICENCE,
        "README.md": "text\n",
    }
    assert check_tree(tmp_path, files) == (0, ["tree: in order"])


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("src/one.py", "x = 1\n", "src/one.py:1: the line 'SPDX"),
        ("bare", "#!/bin/sh\n", "bare:1: the line 'SPDX"),
        ("src/one.py", LICENCE + "\n" * 400, "src/one.py: 401 lines; it may have 400"),
        ("tests/one.py", LICENCE + "\n" * 600, "tests/one.py: 601 lines; it may have 600"),
        (
            "src/isthmus/store/north.py",
            LICENCE + "\n" * 433,
            "src/isthmus/store/north.py: 434 lines",
        ),
        (
            "src/isthmus/store/north.py",
            LICENCE + "\n" * 399,
            "src/isthmus/store/north.py: 400 lines; take it off the list",
        ),
        ("a.txt", "https://" + "pypi" + ".org\n", "a.txt:1: names the download host"),
    ],
)
def test_a_broken_rule_of_the_tree_is_named_with_its_place(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    status, lines = check_tree(tmp_path, {name: text})
    assert status == 1
    assert lines[0].replace("'# SPDX", "'SPDX").startswith(complaint)
    assert lines[1:] == ["tree: 1 rules broken"]


EMPTY_HOUSE = {
    f"src/{name}": ""
    for name in (
        "isthmus/__init__.py",
        "isthmus/agent/__init__.py",
        "isthmus/api/__init__.py",
        "isthmus/cli/__init__.py",
        "isthmus/controller/__init__.py",
        "isthmus/derive/__init__.py",
        "isthmus/derive/from_intent/__init__.py",
        "isthmus/derive/from_intent/program.py",
        "isthmus/reach/__init__.py",
        "isthmus/intent/__init__.py",
        "isthmus/policy/__init__.py",
        "isthmus/reach/__init__.py",
        "isthmus/store/__init__.py",
        "isthmus/store/north.py",
        "isthmus/switches/__init__.py",
        "isthmus/switches/ovs/__init__.py",
        "isthmus/switches/ovs/arp.py",
        "isthmus/switches/ovs/apply.py",
        "isthmus/switches/ovs/program.py",
        "isthmus/wire/__init__.py",
        "isthmus_lab/__init__.py",
        "isthmus_lab/hosts.py",
    )
}


def broken_contracts(folder: Path, files: dict[str, str]) -> list[str]:
    """The import contracts that an otherwise empty house breaks when these files are in it."""
    for name, text in {**EMPTY_HOUSE, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache", "--config", ROOT / ".importlinter"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts" in done.stdout, done.stdout + done.stderr
    return re.findall(r"^(.*) BROKEN$", done.stdout, re.MULTILINE)


DOWNWARDS = "Imports go downwards only"
HOSTS = "A host never sees what tenants asked for"
PURE = "Pure rooms know no I/O, clock, chance or log"
LAB = "The lab knows the wire and the REST contract only"
CIRCLES = "No two modules or packages import each other, be it by way of others"


@pytest.mark.parametrize(
    ("files", "broken"),
    [
        ({}, []),
        ({"src/isthmus/wire/x.py": "import isthmus.intent\n"}, [DOWNWARDS]),
        ({"src/isthmus/utils.py": ""}, [DOWNWARDS]),
        ({"src/isthmus/agent/x.py": "import isthmus.intent\n"}, [HOSTS]),
        ({"src/isthmus/agent/x.py": "import isthmus.derive.from_intent.program\n"}, [HOSTS]),
        (
            {
                "src/isthmus/agent/x.py": "import isthmus.store.north\n",
                "src/isthmus/store/north.py": "import isthmus.intent\n",
            },
            [HOSTS],
        ),
        ({"src/isthmus/wire/x.py": "import socket\n"}, [PURE]),
        (
            {
                "src/isthmus/switches/ovs/program.py": "import isthmus.switches.ovs.arp\n",
                "src/isthmus/switches/ovs/arp.py": "from time import monotonic\n",
            },
            [PURE],
        ),
        ({"src/isthmus/switches/ovs/apply.py": "import asyncio\n"}, []),
        ({"src/isthmus_lab/hosts.py": "import isthmus.api, isthmus.wire\n"}, []),
        ({"src/isthmus_lab/hosts.py": "import isthmus.store.north\n"}, [LAB]),
        (
            {
                "src/isthmus_lab/hosts.py": "import isthmus.api\n",
                "src/isthmus/api/__init__.py": "import isthmus.store\n",
            },
            [],
        ),
        (
            {
                "src/isthmus/wire/x.py": "import isthmus.wire.y\n",
                "src/isthmus/wire/y.py": "import isthmus.wire.z\n",
                "src/isthmus/wire/z.py": "def late():\n    import isthmus.wire.x\n",
            },
            [CIRCLES],
        ),
        (
            {
                "src/isthmus/switches/ovs/arp.py": "import isthmus.switches.ovs.apply\n",
                "src/isthmus/switches/ovs/apply.py": (
                    "from typing import TYPE_CHECKING\n"
                    "if TYPE_CHECKING:\n    import isthmus.switches.ovs.arp\n"
                ),
            },
            [CIRCLES],
        ),
        (
            {
                "src/isthmus/intent/x.py": "import isthmus.intent.kinds.a\n",
                "src/isthmus/intent/y.py": "",
                "src/isthmus/intent/kinds/__init__.py": "",
                "src/isthmus/intent/kinds/a.py": "",
                "src/isthmus/intent/kinds/b.py": "import isthmus.intent.x\n",
            },
            [CIRCLES],
        ),
        (
            {
                "src/isthmus/intent/x.py": "import isthmus.intent.kinds.a\n",
                "src/isthmus/intent/kinds/__init__.py": "",
                "src/isthmus/intent/kinds/a.py": "import isthmus.intent.y\n",
                "src/isthmus/intent/y.py": "",
            },
            [],
        ),
    ],
)
def test_the_house_keeps_its_rooms_apart(
    tmp_path: Path, files: dict[str, str], broken: list[str]
) -> None:
    assert broken_contracts(tmp_path, files) == broken
