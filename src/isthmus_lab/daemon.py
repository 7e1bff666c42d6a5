# SPDX-License-Identifier: Apache-2.0
"""Processes that the lab starts, and how it recognises them later, perhaps from another process.

Everything the lab starts carries the mark ``ISTHMUS_LAB=<run directory>`` in its environment, and
so do its children, whoever their parent is by then. A process is ended only if it carries the
mark: a pid file says which process is which, never that it is ours. So a stale pid file harms
nobody, and what a killed lab left is found.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.errors import Unavailable
from isthmus_lab.namespaces import entered

MARK = "ISTHMUS_LAB"


def marked_environment(
    run_directory: Path, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    return {**os.environ, **(extra or {}), MARK: str(run_directory)}


def marked_processes(run_directory: Path) -> Iterator[int]:
    """Process ids that carry the lab's mark, but for the caller and its ancestors (a shell in the
    lab).
    """
    spared = set(_ancestry(os.getpid()))
    for entry in Path("/proc").iterdir():
        pid = int(entry.name) if entry.name.isdigit() else 0
        if pid and pid not in spared and _is_marked(pid, run_directory):
            yield pid


def start_process(
    command: Sequence[str],
    *,
    run_directory: Path,
    namespace: str | None = None,
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in `namespace`, in a session of its own so that Ctrl-C at the terminal is
    not sent to it.

    Output is appended to `log`; without one it can be read from the result (both streams as one).
    """
    with ExitStack() as stack:
        output: int = subprocess.PIPE
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context(log.open("ab")).fileno()
        if namespace is not None:
            stack.enter_context(entered(namespace))
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=marked_environment(run_directory, environment),
            start_new_session=True,
        )
    # Popen returns when exec has begun; the mark can be read a moment later.
    while process.poll() is None and not _is_marked(process.pid, run_directory):
        time.sleep(0.0002)
    return process


@dataclass(slots=True)
class Daemon:
    """A long-running process of the lab, known by its pid file.

    Any `Daemon` with the same run directory and pid file speaks of the same process: a lab that is
    opened again finds what another process started.
    """

    name: str
    command: tuple[str, ...]
    run_directory: Path
    pid_file: Path
    log: Path
    namespace: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start it and write its pid file; it is ready when it says so in its own way. Running is
        success.
        """
        if self.pid is not None:
            return
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        process = start_process(
            self.command,
            run_directory=self.run_directory,
            namespace=self.namespace,
            log=self.log,
            environment=self.environment,
        )
        self.pid_file.write_text(f"{process.pid}\n")
        _children[process.pid] = process

    @property
    def pid(self) -> int | None:
        """Its process id while it runs and is ours, else None."""
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        _reap(pid)
        return pid if _is_marked(pid, self.run_directory) else None

    def kill(self, signal_number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal and, if that is SIGKILL, wait until the process is gone. Absent is
        success.
        """
        pid = self.pid
        if pid is not None and signal_number is signal.SIGKILL:
            end([pid], self.run_directory, grace_s=0)
        elif pid is not None:
            os.kill(pid, signal_number)

    def stop(self, grace_s: float = 5.0) -> None:
        """Ask it to end, and insist after `grace_s`."""
        pid = self.pid
        if pid is not None:
            end([pid], self.run_directory, grace_s=grace_s)
        self.pid_file.unlink(missing_ok=True)

    def restart(self) -> None:
        self.stop()
        self.start()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log, for error texts."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return f"({self.log} was not written)"
        return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"


def end_all(run_directory: Path, grace_s: float) -> None:
    """End every process that carries the mark, and what they start meanwhile."""
    quiet = 0
    while quiet < 2:
        # A process in the middle of exec shows no environment: look twice.
        pids = list(marked_processes(run_directory))
        end(pids, run_directory, grace_s)
        quiet = 0 if pids else quiet + 1
        time.sleep(0 if pids else 0.005)


def end(pids: Collection[int], run_directory: Path, grace_s: float) -> None:
    """End marked processes: SIGTERM, then SIGKILL to those that are left after `grace_s` seconds.

    Returns when all are gone. A process that does not carry the mark (its number was used again)
    is left alone.
    """
    handles = dict(_handles(pids, run_directory))
    try:
        if grace_s > 0:
            _signal_all(handles.values(), signal.SIGTERM)
            _wait_all(handles, grace_s)
        _signal_all(handles.values(), signal.SIGKILL)
        if not _wait_all(handles, 5.0):
            raise Unavailable(
                f"processes {sorted(handles)} do not end, even by SIGKILL: see ps -o pid,stat,wchan"
            )
    finally:
        for descriptor in handles.values():
            os.close(descriptor)
        for pid in pids:
            _reap(pid)


_children: dict[int, subprocess.Popen[bytes]] = {}
"""Daemons that are our own children: they must be waited for, or they stay as zombies."""


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]


def _is_marked(pid: int, run_directory: Path) -> bool:
    try:
        environment = Path("/proc", str(pid), "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return f"{MARK}={run_directory}".encode() in environment.split(b"\0")


def _ancestry(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        # proc(5): the name, in parentheses, may hold anything; the parent is the second field
        # after it.
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
        pid = int(fields[1])


def _handles(pids: Collection[int], run_directory: Path) -> Iterator[tuple[int, int]]:
    """Process descriptors; once open they never mean another process."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if _is_marked(pid, run_directory):
            yield pid, descriptor
        else:
            os.close(descriptor)


def _signal_all(descriptors: Collection[int], number: signal.Signals) -> None:
    for descriptor in descriptors:
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            continue


def _wait_all(handles: Mapping[int, int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    waiting = set(handles.values())
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            waiting.discard(descriptor)
            poll.unregister(descriptor)
    return not waiting
