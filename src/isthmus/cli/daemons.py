# SPDX-License-Identifier: Apache-2.0
"""``isthmus controller`` and ``isthmus agent``: in the foreground, ended by SIGTERM or Ctrl-C.

Logs go to the standard error output, one line an event. A lock in the run directory keeps a second
one from starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from importlib.metadata import version
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.configuration import Agent, Tls, load
from isthmus.errors import Conflict, Invalid

if TYPE_CHECKING:
    from isthmus.store.exposure import ServerTls
    from isthmus.switches.ovs.facts import Limits
    from isthmus.wire.encapsulations import Encapsulation

daemons = typer.Typer()

ConfigurationFile = Annotated[
    Path | None, typer.Option("--config", help="Instead of /etc/isthmus/isthmus.toml.")
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]


@daemons.command()
def controller(
    config: ConfigurationFile = None,
    name: Annotated[str, typer.Option(help="Of this controller; the host's name.")] = "",
    data_dir: Annotated[Path | None, typer.Option(help="Where the stores keep data.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Sockets, pid files, logs.")] = None,
    listen: Annotated[
        list[str] | None, typer.Option(help="unix:/path, 127.0.0.1:8080, 0.0.0.0:443; several.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="Of this controller, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Whom to trust, PEM.")] = None,
    client_certificate: Annotated[
        list[str] | None, typer.Option(help="Name or SHA-256 of a client's certificate; several.")
    ] = None,
    users: Annotated[Path | None, typer.Option(help="File of users (isthmus users).")] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(help="Servers that hold both stores: tcp:host:port, ssl:host:port; several."),
    ] = None,
    store_north: Annotated[list[str] | None, typer.Option(help="Servers of the north.")] = None,
    store_south: Annotated[list[str] | None, typer.Option(help="Servers of the south.")] = None,
    store_listen: Annotated[
        list[str] | None,
        typer.Option(help="Where our own south server also listens: pssl:6642; several."),
    ] = None,
    underlay_mtu: Annotated[int, typer.Option(help="Bytes; 0 as configured.")] = 0,
    transports: Annotated[str, typer.Option(help="vxlan,nvgre")] = "",
    log_level: LogLevel = "info",
) -> None:
    """Serve the REST API and derive policy, in the foreground."""
    from isthmus.controller import process

    found = load(config).controller
    run_directory = run_dir or Path(found.run_directory)
    tls = _tls(found.tls, certificate, key, ca)
    settings = process.Settings(
        name=name or found.name or socket.gethostname(),
        data_directory=data_dir or Path(found.data_directory),
        run_directory=run_directory,
        listen=tuple(listen or found.listen),
        certificate=_path(tls.certificate),
        key=_path(tls.key),
        ca=_path(tls.ca),
        client_certificates=tuple(client_certificate or found.client_certificates),
        users=users or _path(found.users),
        north=tuple(store_north or store or found.north),
        south=tuple(store_south or store or found.south),
        store_listen=tuple(store_listen or found.store_listen),
        north_tls=_server_tls(found.north_tls),
        underlay_mtu_bytes=_mtu(underlay_mtu or found.underlay_mtu_bytes),
        transports=_encapsulations(transports.split(",") if transports else found.transports),
        version=version("isthmus"),
    )
    with _alone(run_directory, "controller"):
        _serve(lambda: process.run(settings), log_level)


@daemons.command()
def agent(
    config: ConfigurationFile = None,
    host: Annotated[str, typer.Option(help="The resourceId of this host's server.")] = "",
    south: Annotated[
        list[str] | None, typer.Option(help="Servers of the south store; several.")
    ] = None,
    switch: Annotated[str, typer.Option(help="The switch's data base.")] = "",
    switch_run_dir: Annotated[
        Path | None, typer.Option(help="Where the switch has its sockets.")
    ] = None,
    provider_address: Annotated[
        str, typer.Option(help="Address of this host in the underlay, IPv4.")
    ] = "",
    encapsulations: Annotated[str, typer.Option(help="The preferred first: vxlan,nvgre")] = "",
    run_dir: Annotated[Path | None, typer.Option(help="Lock and pid file.")] = None,
    bridge: Annotated[str, typer.Option(help="The integration bridge.")] = "",
    datapath_type: Annotated[
        str, typer.Option(help="system or netdev; system where the kernel has Open vSwitch.")
    ] = "",
    underlay_interface: Annotated[
        str,
        typer.Option(
            help="The uplink, for the agent to put into a bridge with its IPv4 addresses and routes"
            " where the datapath is netdev."
        ),
    ] = "",
    certificate: Annotated[Path | None, typer.Option(help="Of this host, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Whom to trust, PEM.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Where Prometheus finds this host: 127.0.0.1:9477.")
    ] = "",
    log_level: LogLevel = "info",
) -> None:
    """Keep this host's Open vSwitch at the policy, in the foreground."""
    from isthmus.agent.ovs.serving import serve
    from isthmus.agent.ovs.settings import OvsSettings
    from isthmus.agent.settings import Settings
    from isthmus.host.facts import Identity

    found = load(config).agent
    run_directory = run_dir or Path(found.run_directory)
    identity = Identity(
        (host or found.host or socket.gethostname()).lower(),
        _address(provider_address or found.provider_address),
        _encapsulations(encapsulations.split(",") if encapsulations else found.encapsulations),
    )
    tls_files = _tls(found.tls, certificate, key, ca)
    settings = Settings(
        south=tuple(south or found.south),
        version=version("isthmus"),
        tls=_client_tls(tls_files),
        scope_file=run_directory / "scope.json",
    )
    ovs = OvsSettings(
        switch=switch or found.switch,
        switch_run_directory=switch_run_dir or Path(found.switch_run_directory),
        bridge=bridge or found.bridge,
        datapath_type=datapath_type or found.datapath_type or _datapath_type(),
        limits=limits(found),
        certificate=_path(tls_files.certificate),
        authorities=_path(tls_files.ca),
        metrics=metrics or found.metrics,
        underlay_interface=underlay_interface or found.underlay_interface,
    )
    with _alone(run_directory, "agent"):
        _serve(lambda: serve(identity, settings, ovs), log_level)


# -- reading settings ------------------------------------------------------------------------------


def _tls(found: Tls, certificate: Path | None, key: Path | None, ca: Path | None) -> Tls:
    given = Tls(str(certificate or ""), str(key or ""), str(ca or ""))
    merged = Tls(
        given.certificate or found.certificate, given.key or found.key, given.ca or found.ca
    )
    if bool(merged.certificate) != bool(merged.key):
        raise Invalid("a certificate and its key come together: give both or neither")
    return merged


def limits(found: Agent) -> Limits:
    """How many connections a host follows, and how many fragments it puts together. Raises
    Invalid."""
    from isthmus.switches.ovs.facts import Limits

    if found.new_connections_per_port > 0 and not found.new_connections_burst:
        raise Invalid(
            "[agent] new_connections_burst is 0, so that no connection could be opened: let it be"
            " new_connections_per_port at least, or that 0, for no limit"
        )
    if found.fragments_per_port > 0 and not found.fragments_burst:
        raise Invalid(
            "[agent] fragments_burst is 0, so that no fragment could pass: let it be"
            " fragments_per_port at least, or that 0, for no limit"
        )
    return Limits(
        connections=found.connections_per_network,
        opened_pps=found.new_connections_per_port,
        opened_burst=found.new_connections_burst,
        fragments_pps=found.fragments_per_port,
        fragments_burst=found.fragments_burst,
    )


def _server_tls(tls: Tls) -> ServerTls | None:
    """Raises Invalid where a part is missing."""
    from isthmus.store.exposure import ServerTls

    if tls == Tls():
        return None
    if not (tls.certificate and tls.key and tls.ca):
        raise Invalid("[controller.north_tls] needs certificate, key and ca: give all or none")
    return ServerTls(Path(tls.certificate), Path(tls.key), Path(tls.ca))


def _client_tls(tls: Tls) -> Callable[[], ssl.SSLContext] | None:
    """How we prove ourselves to the south store. Raises Invalid."""
    from isthmus.store.client_tls import ClientTls

    if not tls.certificate:
        return None
    return ClientTls(Path(tls.certificate), Path(tls.key), _path(tls.ca)).context


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise Invalid(
            f"the provider address is {text!r}: give this host's IPv4 address in the underlay"
            " (--provider-address)"
        ) from error


def _encapsulations(names: Sequence[str]) -> tuple[Encapsulation, ...]:
    from isthmus.wire.encapsulations import ENCAPSULATIONS, Encapsulation

    found = tuple(name.strip().lower() for name in names if name.strip())
    wrong = [name for name in found if name not in ENCAPSULATIONS]
    if wrong or not found:
        raise Invalid(
            f"encapsulations are {', '.join(ENCAPSULATIONS)}, not {', '.join(wrong) or 'none'}"
        )
    return tuple(map(Encapsulation, dict.fromkeys(found)))


def _mtu(mtu_bytes: int) -> int:
    if not 576 <= mtu_bytes <= 65535:
        raise Invalid(f"an underlay MTU of {mtu_bytes} bytes: give 576 to 65535")
    return mtu_bytes


def _datapath_type() -> str:
    return "system" if Path("/sys/module/openvswitch").exists() else "netdev"


# -- running ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(run_directory: Path, name: str) -> Iterator[None]:
    """Hold the lock and the pid file of a daemon. Raises Conflict when it runs already. What a
    daemon writes from here on is for its owner alone."""
    os.umask(0o077)
    run_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pid_file = run_directory / f"{name}.pid"
    with pid_file.open("a+") as held:  # whoever could open it could hold the lock
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            held.seek(0)
            raise Conflict(
                f"an isthmus {name} runs in {run_directory} already (process {held.read().strip()})"
            ) from error
        held.truncate(0)
        held.write(f"{os.getpid()}\n")
        held.flush()
        yield


def _serve(work: Callable[[], Coroutine[Any, Any, None]], log_level: str) -> None:
    """Run until SIGTERM or SIGINT."""
    if log_level.lower() not in ("debug", "info", "warning", "error"):
        raise Invalid(f"{log_level!r} is no log level: say debug, info, warning or error")
    logging.basicConfig(
        level=log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # The pictures of the stores are no garbage, and hold no cycles: to look through all of them
    # again and again while they grow took a third of the time of ten thousand ports.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    asyncio.run(_until_told(work))


async def _until_told(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.ensure_future(work())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
