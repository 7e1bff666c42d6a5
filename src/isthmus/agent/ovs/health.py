# SPDX-License-Identifier: Apache-2.0
"""What a host says of itself when the doctor asks: its clock, its certificate, the MTU of its
underlay, and whether its peers answer through their tunnels, also with packets of full size.

Peers whose switches answer no questions through tunnels are asked by ping, which says little of
their tunnels: they are named as unknown.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from isthmus.agent.ovs.links import name_of
from isthmus.agent.ovs.tunnel_probing import TunnelProbing, asked_through
from isthmus.errors import IsthmusError
from isthmus.policy.answers import Certificate, HealthAnswer
from isthmus.policy.questions import Health
from isthmus.wire.ethernet import checksum

WAIT_S = 0.6
"""For the answers of peers to a ping."""

_ICMP_ECHO, _ICMP_REPLY = 8, 0


async def health(
    question: Health,
    provider_address: IPv4Address,
    certificate: Path | None,
    authorities: Path | None,
    probing: TunnelProbing,
) -> HealthAnswer:
    """Raises Unavailable."""
    # pyroute2 has a loop of its own.
    interface, mtu = await asyncio.to_thread(_underlay, provider_address)
    tunnels = await asked_through(probing, question.peers, question.mtu)
    pinged = await _answering(provider_address, tunnels.unknown)
    return HealthAnswer(
        time_us=time.time_ns() // 1000,
        interface=interface,
        mtu=mtu,
        unreachable=tunnels.unreachable,
        too_small=tunnels.too_small,
        unknown=tunnels.unknown,
        seen_as=dict(tunnels.seen_as),
        unpinged=tuple(sorted(set(tunnels.unknown) - pinged)),
        certificate=None if certificate is None else _certificate(certificate, authorities),
    )


def _underlay(address: IPv4Address) -> tuple[str, int]:
    """The interface that has the provider address, and its MTU; nothing and 0 if none has."""
    from pyroute2 import IPRoute  # here, not above: it takes a third of an agent's imports

    with IPRoute() as links:
        for found in links.get_addr(family=socket.AF_INET, address=str(address)):
            (link,) = links.get_links(found["index"])
            return name_of(link.get("ifname") or ""), int(link.get("mtu"))
    return "", 0


async def _answering(source: IPv4Address, peers: Sequence[str]) -> set[str]:
    """Peers that answer an echo request."""
    if not peers:
        return set()
    loop, answered = asyncio.get_running_loop(), set[str]()
    identifier = os.getpid() & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.setblocking(False)
        sender.bind((str(source), 0))
        for number, peer in enumerate(peers):
            try:
                sender.sendto(_echo(identifier, number), (peer, 0))
            except OSError:
                continue  # no route: it does not answer
        try:
            async with asyncio.timeout(WAIT_S):
                while len(answered) < len(set(peers)):
                    data, address = await loop.sock_recvfrom(sender, 65536)
                    if _is_answer(data, identifier) and address[0] in peers:
                        answered.add(address[0])
        except TimeoutError:
            pass
    return answered


def _echo(identifier: int, number: int) -> bytes:
    blank = struct.pack("!BBHHH", _ICMP_ECHO, 0, 0, identifier, number)
    return blank[:2] + struct.pack("!H", checksum(blank)) + blank[4:]


def _is_answer(data: bytes, identifier: int) -> bool:
    body = data[(data[0] & 15) * 4 :] if data else b""
    return (
        len(body) >= 8 and body[0] == _ICMP_REPLY and int.from_bytes(body[4:6], "big") == identifier
    )


def _certificate(file: Path, authorities: Path | None) -> Certificate:
    from cryptography import x509  # as pyroute2 above
    from cryptography.x509.oid import NameOID

    from isthmus.api.certificate_checks import trust

    try:
        found = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        return Certificate(error=f"{file} cannot be read: {error}")
    try:
        signed_by, trusts = ("", ()) if authorities is None else trust(file, authorities)
    except IsthmusError as error:
        return Certificate(error=error.message)
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        file=str(file),
        name=str(names[0].value) if names else "",
        expires_s=int(found.not_valid_after_utc.timestamp()),
        signed_by=signed_by,
        trusts=tuple(trusts),
    )
