# SPDX-License-Identifier: Apache-2.0
"""Inside a tenant everybody reaches everybody, on every kind of path, as the hosts' encapsulations
say.
"""

from __future__ import annotations

import functools

from isthmus.addresses import mac_bytes
from isthmus_lab import frames
from isthmus_lab.demo.check import Check, expect
from isthmus_lab.demo.cloud import CARRIAGES, SUBNET_KINDS, TENANTS, Cloud, PathKind
from isthmus_lab.guest import Guest
from isthmus_lab.pings import ping, ping_all
from isthmus_lab.rawsocket import Capture
from isthmus_lab.transfers import tcp_transfer

_TRANSFER_BYTES = 4 << 20
_PINGS = 3

KINDS = [PathKind(subnets, carriage) for subnets in SUBNET_KINDS for carriage in CARRIAGES]


def checks() -> list[Check]:
    pings = [
        Check("Everybody answers", f"{tenant}: {kind}", functools.partial(answer, tenant, kind))
        for tenant in TENANTS
        for kind in KINDS
    ]
    wires = [
        Check("Each pair of hosts by its best encapsulation", claim, check)
        for claim, check in (
            ("h1 and h2 use VXLAN", functools.partial(carried, "web1", "web2", "vxlan")),
            ("h1 and h3 use NVGRE", functools.partial(carried, "web1", "web3", "nvgre")),
            ("h2 and h3 use NVGRE", functools.partial(carried, "web2", "web3", "nvgre")),
            ("one segment, one VSID, in both", same_vsid),
        )
    ]
    transfers = [
        Check("TCP arrives whole", f"{tenant}: {kind}", functools.partial(transfer, tenant, kind))
        for tenant in TENANTS
        for kind in KINDS
    ]
    return [*pings, *wires, *transfers]


def answer(tenant: str, kind: PathKind, cloud: Cloud) -> str:
    pairs = [(one, other) for found, one, other in cloud.pairs(tenant) if found == kind]
    asked = [(sender, cloud.address(receiver)) for sender, receiver in pairs]
    results = ping_all(asked, count=_PINGS)
    silent = [
        f"{sender.name} → {receiver.name} {result.received}/{result.sent}"
        for (sender, receiver), result in zip(pairs, results, strict=True)
        if result.lost or result.sent < _PINGS
    ]
    expect(not silent, f"every ping of {len(pairs)} pairs answered", f"only {', '.join(silent)}")
    return f"{len(pairs)} pairs, {sum(result.received for result in results)} pings answered"


def transfer(tenant: str, kind: PathKind, cloud: Cloud) -> str:
    sender, receiver = next((a, b) for found, a, b in cloud.pairs(tenant) if found == kind)
    done = tcp_transfer(sender, receiver, cloud.address(receiver), size_bytes=_TRANSFER_BYTES)
    size = f"{_TRANSFER_BYTES >> 20} MiB, {done.megabits_per_s:.0f} Mbit/s"
    return f"{sender.name} → {receiver.name}: {size}"


def carried(sender: str, receiver: str, encapsulation: str, cloud: Cloud) -> str:
    counts: list[int] = []
    for tenant in TENANTS:
        one, other = cloud.guest(tenant, sender), cloud.guest(tenant, receiver)
        packets = underlay_packets(cloud, one, other)
        saw = sorted({packet.encapsulation for packet in packets})
        expect(saw == [encapsulation], f"{encapsulation} only on the underlay", saw or "nothing")
        counts.append(len(packets))
    return f"{sum(counts)} packets seen on the underlay"


def same_vsid(cloud: Cloud) -> str:
    """And another tenant has another."""
    by_tenant = {}
    for tenant in TENANTS:
        sender = cloud.guest(tenant, "web1")
        receivers = [cloud.guest(tenant, name) for name in ("web2", "web3")]
        packets = [p for receiver in receivers for p in underlay_packets(cloud, sender, receiver)]
        saw = {packet.vsid for packet in packets}
        expect(len(saw) == 1, f"one VSID for {tenant}'s subnet web", saw)
        by_tenant[tenant] = saw.pop()
    expect(len(set(by_tenant.values())) == len(TENANTS), "a VSID for each tenant", by_tenant)
    return ", ".join(f"{tenant} web: {vsid}" for tenant, vsid in by_tenant.items())


def underlay_packets(cloud: Cloud, sender: Guest, receiver: Guest) -> list[frames.Tunnelled]:
    """What the underlay carries between the two guests' hosts for one ping of theirs."""
    macs = {mac_bytes(sender.mac), mac_bytes(receiver.mac)}

    def between(frame: bytes) -> bool:
        packet = frames.read_tunnelled(frame)
        return packet is not None and {packet.inner[0:6], packet.inner[6:12]} == macs

    namespace, port = cloud.lab.underlay.namespace, str(sender.state.host)
    with Capture(namespace, port, between, outgoing=True) as capture:
        result = ping(sender, cloud.address(receiver), count=1)
        expect(result.lost == 0, f"{sender.name} to reach {receiver.name}", "no answer")
        # The reply passes last, and the guest may see it before we do.
        capture.wait_for(
            lambda frame: (
                (packet := frames.read_tunnelled(frame)) is not None
                and packet.inner[6:12] == mac_bytes(receiver.mac)
            )
        )
        seen = capture.frames
    return [packet for packet in map(frames.read_tunnelled, seen) if packet is not None]
