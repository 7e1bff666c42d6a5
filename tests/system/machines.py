# SPDX-License-Identifier: Apache-2.0
"""Machines for what operators do: each a network namespace with an address on one wire, and /etc,
/var/lib and /run of its own, in which the commands of docs/operators.md run as they are written.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.remains import unique_name

LONGEST_S = 60.0
DOCUMENT = Path(__file__).parents[2] / "docs" / "operators.md"
_PROMPT = re.compile(r"^(kvm\d)# (.*)$", re.MULTILINE)

_BEGIN = """
mount --make-rprivate /
for place in etc lib run; do mkdir -p {0}/$place; done
cp -a /etc/. {0}/etc
rm -rf {0}/etc/isthmus
mount --bind {0}/etc /etc
mount --bind {0}/lib /var/lib
mount --bind {0}/run /run
hostname {1}
ip link set lo up
echo ready
exec sleep infinity
"""
_COPY = """#!/bin/sh
# As scp does: the folder comes to lie in the home of the other machine.
cp -r "$2" "{0}/${{3%%:*}}/home/"
"""


class Machine:
    """One of them. `run` is a shell on it, as root in its home."""

    def __init__(self, name: str, namespace: str, folder: Path) -> None:
        self.name = name
        self.namespace = namespace
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self._controller: subprocess.Popen[bytes] | None = None
        self._init = subprocess.Popen(
            [
                *("ip", "netns", "exec", namespace, "unshare", "--mount", "--uts", "sh", "-ec"),
                _BEGIN.format(folder, name),
            ],
            stdout=subprocess.PIPE,
        )
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == b"ready\n"

    def _enter(self) -> list[str]:
        return [
            "nsenter",
            "-t",
            str(self._init.pid),
            "-m",
            "-n",
            "-u",
            "-r",
            "env",
            "-C",
            str(self.home),
        ]

    def _environment(self) -> dict[str, str]:
        own = f"{self.folder.parent}/bin:{Path(sys.executable).parent}"
        names = {"PATH": f"{own}:{os.environ['PATH']}", "HOME": str(self.home)}
        return {**os.environ, **names, "COLUMNS": "200"}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter(), "bash", "-c", command],
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
            timeout=4 * LONGEST_S,
        )

    def succeeds(self, command: str) -> str:
        """What it prints. Fails the test with what it says otherwise."""
        done = self.run(command)
        assert done.returncode == 0, (self.name, command, done.stdout, done.stderr)
        return done.stdout

    # -- the controller, which systemd would run -----------------------------------------------

    def start_controller(self) -> None:
        if self._controller is None:
            with (self.folder / "controller.log").open("ab") as log:
                self._controller = subprocess.Popen(
                    [*self._enter(), "isthmus", "controller"],
                    env=self._environment(),
                    stdout=log,
                    stderr=log,
                )
        until(lambda: self.run("isthmus status --json").returncode in (0, 1))

    def stop_controller(self) -> None:
        if self._controller is not None:
            self._controller.terminate()
            self._controller.wait()
            self._controller = None

    def server(self, store: str) -> int:
        """The process of its server of a store. Raises OSError, ValueError where none was."""
        return int((self.folder / "run" / "isthmus" / f"{store}.pid").read_text())

    def log(self) -> str:
        return (self.folder / "controller.log").read_text()

    def lose_power(self) -> None:
        """End all its processes at once; it can be started again."""
        command = ["ip", "netns", "pids", self.namespace]
        listed = subprocess.run(command, check=True, capture_output=True, text=True)
        for pid in map(int, listed.stdout.split()):
            if pid != self._init.pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._controller is not None:
            self._controller.wait()
            self._controller = None

    def close(self) -> None:
        self.lose_power()
        self._init.kill()
        self._init.wait()
        assert self._init.stdout is not None
        self._init.stdout.close()


@contextmanager
def machines(count: int) -> Iterator[dict[str, Machine]]:
    """kvm1, kvm2, …, with 192.0.2.1, 192.0.2.2, … on one wire."""
    series = unique_name()
    folder = Path(tempfile.mkdtemp(prefix="mc", dir="/tmp"))
    wire = f"{series}-wire"
    names = [f"kvm{number}" for number in range(1, count + 1)]
    found: dict[str, Machine] = {}
    (folder / "bin").mkdir()
    (folder / "bin" / "scp").write_text(_COPY.format(folder))
    (folder / "bin" / "scp").chmod(0o755)
    try:
        _ip("netns", "add", wire)
        _ip("-n", wire, "link", "add", "wire", "type", "bridge")
        _ip("-n", wire, "link", "set", "wire", "up")
        for number, name in enumerate(names, start=1):
            namespace = f"{series}-{name}"
            _ip("netns", "add", namespace)
            ends = ("link", "add", name, "type", "veth", "peer", "eth0", "netns", namespace)
            _ip("-n", wire, *ends)
            _ip("-n", wire, "link", "set", name, "master", "wire", "up")
            _ip("-n", namespace, "address", "add", f"192.0.2.{number}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            found[name] = Machine(name, namespace, folder / name)
        yield found
    finally:
        for machine in found.values():
            machine.close()
        for namespace in (wire, *(f"{series}-{name}" for name in names)):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def chapter(title: str) -> Sequence[Sequence[tuple[str, str]]]:
    """The blocks of commands of a chapter of docs/operators.md: on which machine, and what."""
    _, _, rest = DOCUMENT.read_text().partition(f"\n## {title}\n")
    assert rest, title
    text = rest.partition("\n## ")[0]
    blocks = text.split("```")[1::2]
    return [found for block in blocks if (found := _PROMPT.findall(block))]


def follow(found: dict[str, Machine], block: Sequence[tuple[str, str]]) -> list[str]:
    """Run a block's commands where they are to be run, as they are written, and start what systemd
    would start; what each prints. All must succeed."""
    printed = []
    for name, command in block:
        printed.append(found[name].succeeds(command))
        if command.startswith(("isthmus init", "isthmus store join")):
            assert "isthmus controller &" in printed[-1]  # there is no systemd
            found[name].start_controller()
    return printed


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < end, holds
        time.sleep(0.1)
