# SPDX-License-Identifier: Apache-2.0
"""Where ports are, here or elsewhere (`policy.placement`), and how their hosts are reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.derive.engine import Engine, Item, Read, unit
from isthmus.host.facts import THIS, LocalPort, Location, Plugged, Problem, Reach, ThisHost
from isthmus.host.indexes import CLAIMS_BY_PORT
from isthmus.host.interfaces import interface_read
from isthmus.policy import closed
from isthmus.policy.placement import encapsulation, is_believed, may_have, winner
from isthmus.policy.rows import Claim, Host, HostStatus, Port
from isthmus.policy.values import ClaimState


def believed_claims(port: Port, engine: Engine) -> list[Claim]:
    """The claims of a port that peers act on."""
    claims, hosts = engine.rows(Claim), engine.rows(Host)
    found = (claims[key] for key in engine.entry(CLAIMS_BY_PORT, port.id))
    return [one for one in found if is_believed(one, port, exists=one.host in hosts)]


def locate(port: Port, read: Read) -> Iterator[Item]:
    """Over Port: gives its Location, if any host has it, and Plugged if it is on our switch."""
    this = read.get(ThisHost, THIS)
    if this is None:
        return
    local = interface_read(port, read)
    if local is not None:
        yield Item(Plugged, port.id, Plugged(port.id, local.ofport))
    believed = []
    for key in read.find(CLAIMS_BY_PORT, port.id):
        claim = read.get(Claim, key)
        if claim is None:
            continue
        if is_believed(claim, port, exists=read.get(Host, claim.host) is not None):
            believed.append(claim)
    if local is None:
        # Our own claim of a port that has left us is on its way out.
        believed = [claim for claim in believed if claim.host != this.host]
    elif may_have(port, this.host) and not any(
        claim.host == this.host or claim.state is ClaimState.ACTIVE for claim in believed
    ):
        # Ours at once: the claim is still on its way to the store.
        others = _addresses(believed)
        yield Item(
            Location, port.id, Location(port.id, this.host, this.provider_address, others, False)
        )
        return
    best = winner(believed)
    if best is not None:
        others = _addresses([claim for claim in believed if claim is not best])
        superseded = local is not None and best.host != this.host
        address = int(best.provider_address)
        yield Item(Location, port.id, Location(port.id, best.host, address, others, superseded))


def _addresses(claims: Sequence[Claim]) -> tuple[int, ...]:
    return tuple(sorted(int(claim.provider_address) for claim in claims))


def forbidden(local: Plugged, read: Read) -> Iterator[Item]:
    """Over Plugged: why nothing of a port passes that this host may not have."""
    port, this = read.get(Port, local.port), read.get(ThisHost, THIS)
    if port is not None and this is not None and not may_have(port, this.host):
        detail = f"{this.host} may not have this port, only {', '.join(port.hosts)}"
        blocked = Problem(port.id, "PortBlocked", detail, closed.PORT)
        yield Item(Problem, (port.id, blocked.code, detail), blocked)


def reach(status: HostStatus, read: Read) -> Iterator[Item]:
    """Over HostStatus: gives the Reach of every other host that exists, by provider address."""
    this = read.get(ThisHost, THIS)
    if this is None or status.host == this.host or read.get(Host, status.host) is None:
        return
    theirs = status.encapsulations
    spoken = encapsulation(this.encapsulations, theirs) or ""
    detail = (
        ""
        if spoken
        else f"{this.host} speaks {', '.join(this.encapsulations)} and {status.host}"
        f" {', '.join(theirs) or 'nothing'}: configure an encapsulation in common"
    )
    for address in map(int, status.provider_addresses):
        yield Item(Reach, address, Reach(status.host, address, spoken, detail))


UNITS = (unit(HostStatus, reach), unit(Port, locate), unit(Plugged, forbidden))
TABLES: tuple[type, ...] = (ThisHost, LocalPort, Location, Plugged, Reach, Problem)
