# SPDX-License-Identifier: Apache-2.0
"""How the lab runs Isthmus itself: the command lines of the controller and of an agent, and their
files.

The lab knows Isthmus by its command and its REST API only. What a change of the command line
touches is here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from isthmus_lab.daemon import Daemon
from isthmus_lab.host import Host

ISTHMUS = (sys.executable, "-m", "isthmus.cli.main")


def controller_directory(run_directory: Path, name: str = "controller") -> Path:
    return run_directory / name


def rest_socket(run_directory: Path, name: str = "controller") -> Path:
    return controller_directory(run_directory, name) / "rest.sock"


def south_store(run_directory: Path, name: str = "controller") -> str:
    """How agents reach the store that controller `name` started."""
    return f"unix:{controller_directory(run_directory, name)}/south.sock"


def controller(
    run_directory: Path,
    name: str = "controller",
    arguments: Sequence[str] = (),
    tcp: str | None = None,
) -> Daemon:
    """A controller with a store of its own, in the machine's own namespace.

    It serves REST on `rest_socket`, and on `tcp` (``127.0.0.1:port``) if given. `arguments` are
    passed on.
    """
    directory = controller_directory(run_directory, name)
    listen = [f"unix:{rest_socket(run_directory, name)}", *([tcp] if tcp else [])]
    command = (
        *(
            *ISTHMUS,
            "controller",
            "--data-dir",
            str(directory / "data"),
            "--run-dir",
            str(directory),
        ),
        *(part for where in listen for part in ("--listen", where)),
        *arguments,
    )
    return _daemon(run_directory, name, directory, command, None)


def agent(
    run_directory: Path, host: Host, arguments: Sequence[str] = (), south: str | None = None
) -> Daemon:
    """The agent of `host`, in the host's namespace; `south` is the store's address unless the
    usual one.
    """
    directory = run_directory / host.name / "agent"
    switch = host.switch
    command = (
        *(*ISTHMUS, "agent", "--host", host.name, "--south", south or south_store(run_directory)),
        *("--switch", f"unix:{switch.database_socket}", "--switch-run-dir", str(switch.directory)),
        *("--provider-address", host.spec.provider_address),
        *("--encapsulations", ",".join(host.spec.encapsulations)),
        *("--run-dir", str(directory)),
        *arguments,
    )
    return _daemon(run_directory, f"agent-{host.name}", directory, command, host.namespace)


def _daemon(
    run_directory: Path, name: str, directory: Path, command: tuple[str, ...], namespace: str | None
) -> Daemon:
    return Daemon(
        name=name,
        command=command,
        run_directory=run_directory,
        pid_file=run_directory / "pids" / f"{name}.pid",
        log=directory / f"{name}.log",
        namespace=namespace,
        environment={"PYTHONUNBUFFERED": "1"},
    )
