# SPDX-License-Identifier: Apache-2.0
"""``isthmus init`` and ``isthmus join``: a first machine, and further hosts.

Both can be repeated: what exists is left as it is. ``--root`` puts everything under another
directory, for packagers and tests; ``--dry-run`` only says.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli import units
from isthmus.errors import Invalid, NotFound

install = typer.Typer()

Root = Annotated[Path, typer.Option(help="Under which everything is put.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Host = Annotated[str, typer.Option(help="Id of this host; its name.")]
ProviderAddress = Annotated[str, typer.Option(help="Of this host in the underlay, IPv4.")]
UnderlayInterface = Annotated[
    str,
    typer.Option(
        help="The uplink, where Open vSwitch forwards in userspace: the agent puts it into a bridge"
        " with its IPv4 addresses and routes."
    ),
]

ETC, LIB = Path("etc/isthmus"), Path("var/lib/isthmus")
ETC_TLS = Path("/") / ETC / "tls"
NORTH = "north"
"""Beside the authority that hosts have certificates of: that of the north store, which only its
servers and controllers have certificates of. OVSDB asks who has signed, not who it is."""


@dataclass(frozen=True)
class Maker:
    """Makes what is missing, and says so."""

    root: Path
    dry_run: bool

    def at(self, path: Path) -> Path:
        return self.root / path

    def say(self, text: str) -> None:
        typer.echo(f"{'would ' if self.dry_run else ''}{text}")

    def write(self, path: Path, content: str, mode: int = 0o644) -> None:
        target = self.at(path)
        if target.exists():
            typer.echo(f"{target} exists, left as it is")
            return
        self.say(f"write {target}")
        if not self.dry_run:
            target.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w") as out:
                out.write(content)


@install.command()
def init(
    host: Host = "",
    provider_address: ProviderAddress = "",
    underlay_interface: UnderlayInterface = "",
    listen: Annotated[
        str, typer.Option(help="Where others than this machine reach the API: 0.0.0.0:443.")
    ] = "",
    mtu: Annotated[int, typer.Option(help="Of the underlay, bytes.")] = 1500,
    root: Root = Path("/"),
    dry_run: DryRun = False,
) -> None:
    """Prepare a single machine: certificates, configuration, default resources, services."""
    make = Maker(root, dry_run)
    need_packages(make, ("controller", "agent"))
    name = (host or socket.gethostname()).lower()
    address = _checked(provider_address) or _guessed_address()
    _certificates(make, name, address)
    make.write(ETC / "isthmus.toml", _first_machine(name, address, listen, mtu, underlay_interface))
    make.write(ETC / "defaults.json", _defaults_text(name))
    make.say(f"store the default logical network, MAC pool and VSID range, and the server {name}")
    if not dry_run:
        asyncio.run(_store_defaults(make, name))
    services(make, ("controller", "agent"))


@install.command()
def join(
    south: Annotated[
        list[str], typer.Argument(help="Servers of the south store: ssl:192.0.2.1:6642; several.")
    ],
    certificates: Annotated[
        Path, typer.Option(help="Folder with ca.pem, HOST.pem and HOST-key.pem (isthmus certs).")
    ],
    host: Host = "",
    provider_address: ProviderAddress = "",
    underlay_interface: UnderlayInterface = "",
    root: Root = Path("/"),
    dry_run: DryRun = False,
) -> None:
    """Make this machine a host of a network that runs elsewhere. Its server resource must exist
    there: isthmus apply."""
    make = Maker(root, dry_run)
    need_packages(make, ("agent",))
    name = (host or socket.gethostname()).lower()
    copy_certificates(make, certificates, name, make.at(ETC / "tls"))
    address = _checked(provider_address) or _guessed_address()
    make.write(ETC / "isthmus.toml", _further_host(name, south, address, underlay_interface))
    services(make, ("agent",))


# -- steps -----------------------------------------------------------------------------------------


def need_packages(make: Maker, daemons: Sequence[str]) -> None:
    """Raises NotFound before anything is made where a daemon's package is not installed."""
    missing = units.missing_packages(make.root, Path(sys.prefix), daemons)
    if missing:
        raise NotFound(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed:"
            f" apt-get install {' '.join(missing)}"
        )


def _certificates(make: Maker, host: str, address: str) -> None:
    from isthmus.api.certificates import BOTH, Kind, issue, make_authority

    folder = make.at(ETC / "tls")
    for authority in (folder, folder / NORTH):
        if not (authority / "authority.pem").exists():
            make.say(f"make a certificate authority in {authority}")
            if not make.dry_run:
                make_authority(authority)
    for name, kinds in (
        ("controller", BOTH),
        (f"{NORTH}/controller", BOTH),
        (host, BOTH),
        ("operator", (Kind.CLIENT,)),
    ):
        if (folder / f"{name}.pem").exists():
            continue
        make.say(f"issue the certificate {folder / name}.pem")
        if not make.dry_run:
            place, common_name = (folder / name).parent, Path(name).name
            names, addresses = (host, "localhost"), (address, "127.0.0.1")
            issue(place, common_name, kinds, dns=names, addresses=addresses)


def copy_certificates(
    make: Maker, source: Path, name: str, folder: Path, *, kind: str = "host"
) -> None:
    """Put the certificate of `name`, its key and the authorities from `source` into `folder`.
    Raises NotFound, Invalid for what does not fit together."""
    from isthmus.api.certificate_checks import check
    from isthmus.files import locked, pair, replace_files

    files = [source / f"{name}.pem", source / f"{name}-key.pem", source / "ca.pem"]
    for file in files:
        if not file.exists():
            raise NotFound(
                f"there is no {file}: make it with `isthmus certs {kind} {name} --into FOLDER`"
                " where the authority is, and copy the folder here",
                target=str(file),
            )
    check(files[0], files[1], files[2], name=name)
    make.say(f"copy the certificates of {name} to {folder}")
    if not make.dry_run:
        certificate, key, bundle = ((folder / file.name, file.read_bytes()) for file in files)
        with locked(folder):
            replace_files([(*bundle, False), *pair(*certificate, *key)])


def _checked(address: str) -> str:
    """Raises Invalid for what is no IPv4 address."""
    try:
        return address and str(IPv4Address(address))
    except AddressValueError as error:
        raise Invalid(f"{address!r} is no IPv4 address for --provider-address") from error


def _guessed_address() -> str:
    """The address that this machine speaks to others from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent; RFC 5737
        except OSError as error:
            raise Invalid(
                "this machine has no route to others, so its address in the underlay is not known:"
                " give --provider-address"
            ) from error
        address: str = probe.getsockname()[0]
        return address


def _toml(values: Sequence[tuple[str, object]]) -> str:
    return "".join(f"{name} = {_toml_value(value)}\n" for name, value in values)


def _toml_value(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(one) for one in value)}]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tls_section(of: str, name: str, folder: Path = ETC_TLS) -> str:
    return f"\n[{of}]\n" + _toml(
        (
            ("certificate", folder / f"{name}.pem"),
            ("key", folder / f"{name}-key.pem"),
            ("ca", folder / "ca.pem"),
        )
    )


_HEADING = "# Isthmus: made by `isthmus {}`. Options of a command override what is here.\n"


def _first_machine(host: str, address: str, listen: str, mtu: int, interface: str) -> str:
    return (
        _HEADING.format("init")
        + controller_section(host, ETC_TLS, listen=listen, mtu=mtu)
        + "\n[agent]\n"
        + _toml((("host", host), ("provider_address", address), *_uplink(interface)))
    )


def controller_section(
    name: str,
    tls: Path,
    *,
    listen: str,
    certificate: str = "controller",
    mtu: int,
    south_port: int = 6642,
    places: Sequence[tuple[str, object]] = (),
    run_directory: Path = Path("/run/isthmus"),
) -> str:
    """The configuration of a controller with servers of its own. `tls` is where certificates are,
    by the name `certificate`; `places` what else it is told."""
    listeners = (f"unix:{run_directory}/rest.sock", *((listen,) if listen else ()))
    return (
        "\n[controller]\n"
        + _toml(
            (
                ("name", name),
                ("listen", listeners),
                ("client_certificates", ("operator",)),
                ("store_listen", (f"pssl:{south_port}",)),
                ("underlay_mtu_bytes", mtu),
                *places,
            )
        )
        + _tls_section("controller.tls", certificate, tls)
        + _tls_section("controller.north_tls", certificate, tls / NORTH)
    )


def _uplink(interface: str) -> tuple[tuple[str, object], ...]:
    return (("underlay_interface", interface),) if interface else ()


def _further_host(host: str, south: Sequence[str], address: str, interface: str) -> str:
    return (
        _HEADING.format("join")
        + "\n[agent]\n"
        + _toml(
            (
                *(("host", host), ("provider_address", address), *_uplink(interface)),
                ("south", tuple(south)),
            )
        )
        + _tls_section("agent.tls", host)
    )


def defaults(host: str) -> list[dict[str, Any]]:
    """What a first network needs: an underlay, MAC addresses, VSIDs, a host."""
    return [
        {
            "resourceRef": "/logicalNetworks/underlay",
            "properties": {"networkVirtualizationEnabled": "True"},
        },
        {
            "resourceRef": "/macPools/default",
            # Locally administered (IEEE 802), so that they meet no manufacturer's.
            "properties": {
                "startMacAddress": "02-1D-D8-00-00-00",
                "endMacAddress": "02-1D-D8-FF-FF-FF",
            },
        },
        {
            "resourceRef": "/virtualNetworkManager/configuration",
            "properties": {
                "virtualSubnetIdRange": {
                    "startId": 4096,
                    "endId": 16777214,
                }
            },
        },
        {"resourceRef": f"/servers/{host}", "properties": {}},
    ]


def _defaults_text(host: str) -> str:
    import json

    return json.dumps(defaults(host), indent=2) + "\n"


async def _store_defaults(make: Maker, host: str) -> None:
    """Write the default resources that are missing into the north store, by its own server."""
    from isthmus.intent.planning import Put, plan_batch
    from isthmus.store import schema
    from isthmus.store.exposure import ServerTls
    from isthmus.store.north import North
    from isthmus.store.servers import ServerFiles, ensure_server, stop_server

    run_directory, north = make.at(Path("run/isthmus")), make.at(ETC / "tls" / NORTH)
    server = await ensure_server(
        "north",
        schema.north_schema(),
        directory=make.at(LIB),
        run_directory=run_directory,
        tls=ServerTls(north / "controller.pem", north / "controller-key.pem", north / "ca.pem"),
    )
    store = North([server.remote], replica="", leader_only=False)
    try:
        await store.start()
        await store.loaded(30.0)
        missing = [
            Put(path=one["resourceRef"], body={"properties": one["properties"]})
            for one in defaults(host)
            if store.view.get(one["resourceRef"].lower()) is None
        ]
        await store.write(lambda view, ids: plan_batch(view, ids, missing))
    finally:
        await store.stop()
        if server.started:
            await stop_server(ServerFiles("north", make.at(LIB), run_directory))


def services(make: Maker, names: Sequence[str]) -> None:
    """Units where systemd runs, unless a package has put them there; else what to start by hand."""
    if not (make.root / "run/systemd/system").is_dir():
        typer.echo("there is no systemd here; start by hand:")
        for name in names:
            typer.echo(f"  isthmus {name} &")
        return
    for name in names:
        if units.packaged_unit(make.root, name) is None:
            make.write(Path("etc/systemd/system") / units.file_name(name), units.text(name))
    if make.root == Path("/") and not make.dry_run:
        files = [units.file_name(name) for name in names]
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "enable", "--now", *files], check=True)
        typer.echo(f"{', '.join(files)} run; `isthmus status` tells how they are")
