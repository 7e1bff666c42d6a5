# SPDX-License-Identifier: Apache-2.0
"""A real virtual machine: Debian's kernel under QEMU, emulated, on a tap of a host's switch.

It asks for its address by DHCP, pings and talks TCP to a guest on another host, and answers it.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus_lab import namespaces, processes, resources
from isthmus_lab.daemon import marked_environment
from isthmus_lab.guest import Guest
from isthmus_lab.host import Host
from isthmus_lab.lab import Lab
from isthmus_lab.northbound import Northbound
from isthmus_lab.pings import ping
from isthmus_lab.state import HostSpec

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

BOOT_S = 150.0
LONGEST_S = 60.0
PORT, MAC = "machine", "02:00:00:00:0a:01"
TAP = "tap-machine"
SENT = b"isthmus " * 131072
"""A megabyte."""

# In the order in which they need each other.
MODULES = (
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
)

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko; done
ip link set lo up
ip link set eth0 up
udhcpc -i eth0 -q -n -t 20 -T 1 -s /lease && echo "GUEST: leased"
ip -o -4 addr show dev eth0 | sed 's/^/GUEST: address /'
cat /sys/class/net/eth0/mtu | sed 's/^/GUEST: mtu /'
ping -c 5 -W 2 {peer} | sed -n 's/.* \\([0-9]*\\) packets received.*/GUEST: pings \\1/p'
dd if=/dev/zero bs=1 count=0 2>/dev/null
yes 'isthmus ' | tr -d '\\n' | head -c 1048576 | nc {peer} 5001 && echo "GUEST: sent"
echo "GUEST: ready"
sleep 600
poweroff -f
"""

LEASE = """#!/bin/busybox sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev eth0
ip addr add $ip/$mask dev eth0
[ -n "$mtu" ] && ip link set eth0 mtu $mtu
ip route add default via $router dev eth0
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Debian's or Ubuntu's kernel for clouds, unpacked and not installed."""
    folder = tmp_path_factory.mktemp("kernel")
    for meta in ("linux-image-cloud-amd64", "linux-image-virtual"):
        told = _run("apt-cache", "depends", meta, check=False)
        names = [line.split()[-1] for line in told.splitlines() if "Depends: linux-image-" in line]
        if names:
            _run("apt-get", "download", names[0], cwd=folder)
            modules = names[0].replace("linux-image-", "linux-modules-")
            if meta.endswith("virtual"):
                _run("apt-get", "download", modules, cwd=folder)
            break
    for package in folder.glob("*.deb"):
        _run("dpkg-deb", "-x", str(package), str(folder))
    return folder


def _run(*command: str, check: bool = True, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def _initial_disk(kernel: Path, folder: Path, peer: str) -> Path:
    root = folder / "root"
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    (base,) = (kernel / "lib" / "modules").iterdir()
    for module in MODULES:
        shutil.copy(base / "kernel" / f"{module}.ko", root / "modules")
    names = " ".join(module.rsplit("/", 1)[-1] for module in MODULES)
    for name, text in (("init", INIT.format(modules=names, peer=peer)), ("lease", LEASE)):
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    disk = folder / "initrd"
    with disk.open("wb") as out:
        subprocess.run(
            "find . | cpio --quiet -o -H newc", shell=True, cwd=root, stdout=out, check=True
        )
    return disk


@pytest.fixture
def cloud() -> Iterator[tuple[Lab, Northbound, Guest]]:
    """Two hosts, a subnet with the machine's port in it, and a guest on h2."""
    with Lab("realguest") as lab:
        specs = [HostSpec(f"h{n}", f"172.31.0.{n}") for n in (1, 2)]
        lab.up(specs)
        controller = lab.start_controller()
        with Northbound(processes.rest_socket(lab.run_directory)) as north:
            north.wait_until_ready(controller)
            for ref, body in resources.fabric("172.31.0.0/24", specs):
                north.put(ref, body)
            north.put(
                "/virtualNetworks/v",
                resources.virtual_network("10.7.0.0/16", [("s", "10.7.0.0/24")]),
            )
            subnet = "/virtualNetworks/v/subnets/s"
            north.put(f"/networkInterfaces/{PORT}", resources.network_interface(subnet, mac=MAC))
            made = north.put("/networkInterfaces/peer", resources.network_interface(subnet))
            for host in lab.hosts.values():
                lab.start_agent(host)
            peer = lab.add_guest("peer", _with_colons(resources.mac_of(made)), "peer")
            lab.plug(peer, lab.host("h2"))
            peer.dhcp()
            yield lab, north, peer


def _with_colons(mac: str) -> str:
    digits = mac.replace("-", "").replace(":", "").lower()
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


@contextlib.contextmanager
def _machine(lab: Lab, host: Host, kernel: Path, disk: Path, log: Path) -> Iterator[None]:
    """QEMU in the host's namespace; without hardware acceleration, and without the offloads that
    a userspace switch cannot follow."""
    (image,) = (kernel / "boot").glob("vmlinuz-*")
    command = [
        *("qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-display", "none", "-no-reboot"),
        *("-kernel", str(image), "-initrd", str(disk), "-serial", f"file:{log}"),
        *("-append", "console=ttyS0 quiet panic=-1", "-nodefaults"),
        *("-netdev", f"tap,id=n,ifname={TAP},script=no,downscript=no,vnet_hdr=off"),
        *("-device", f"virtio-net-pci,netdev=n,mac={MAC}"),
    ]
    errors = log.parent / "qemu.log"
    with namespaces.entered(host.namespace), errors.open("wb") as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            env=marked_environment(lab.run_directory),
        )
    try:
        until = time.monotonic() + LONGEST_S
        while TAP not in _run("ip", "-n", host.namespace, "-o", "link"):
            assert process.poll() is None, errors.read_text() + _text(log)
            assert time.monotonic() < until, errors.read_text() + _text(log)
            time.sleep(0.05)
        _run("ip", "-n", host.namespace, "link", "set", TAP, "up")
        host.switch.add_port(TAP, PORT, MAC)
        yield
    finally:
        process.kill()
        process.wait()


class Receiver(threading.Thread):
    """Takes one TCP connection in the guest's namespace."""

    def __init__(self, guest: Guest) -> None:
        super().__init__(daemon=True)
        self.received = b""
        with namespaces.entered(guest.namespace):
            self._listener = socket.create_server(("", 5001))

    def run(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            pieces = []
            while piece := connection.recv(65536):
                pieces.append(piece)
            self.received = b"".join(pieces)


def test_a_real_machine_gets_its_address_and_talks_across_hosts(
    cloud: tuple[Lab, Northbound, Guest], kernel: Path, tmp_path: Path
) -> None:
    lab, north, peer = cloud
    (peer_address,) = peer.addresses()
    address = resources.address_of(north.get(f"/networkInterfaces/{PORT}"))
    disk = _initial_disk(kernel, tmp_path, peer_address)
    log = tmp_path / "console"
    receiver = Receiver(peer)
    receiver.start()
    with _machine(lab, lab.host("h1"), kernel, disk, log):
        until = time.monotonic() + BOOT_S
        while "GUEST: ready" not in _text(log):
            assert time.monotonic() < until, _text(log)[-2000:]
            time.sleep(0.2)
        told = _text(log)
        assert "GUEST: leased" in told
        assert f" {address}/24 " in told
        assert "GUEST: mtu 1450" in told
        assert "GUEST: pings 5" in told, told[-2000:]
        receiver.join(LONGEST_S)
        assert hashlib.sha256(receiver.received).digest() == hashlib.sha256(SENT).digest()
        assert ping(peer, address, count=5).lost == 0
        # While it is there: its interface goes with it, and its state with that.
        until = time.monotonic() + LONGEST_S
        while not _state(north).startswith("Success"):
            assert time.monotonic() < until, _state(north)
            time.sleep(0.2)


def _state(north: Northbound) -> str:
    return resources.configuration_of(north.get(f"/networkInterfaces/{PORT}"))


def _text(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""
