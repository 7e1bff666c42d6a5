# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a cloud, each with the exact repair. Pure: from the network as it is known and
what hosts have answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from isthmus.intent.model import Json, JsonObject
from isthmus.policy.host_problems import (
    PROVIDER_ADDRESS,
    SECOND_AGENT,
    TUNNEL,
    TUNNEL_SOURCE,
    TUNNEL_UNKNOWN,
    TUNNELS,
    is_news,
    shown,
)
from isthmus.policy.placement import encapsulation
from isthmus.policy.rows import Heartbeat, HostStatus, PhysicalNetwork, Router, Segment
from isthmus.policy.values import PortState
from isthmus.reach.world import World
from isthmus.wire.encapsulations import firewall_text

CLOCK_S = 2.0
"""More than this apart, and logs of two machines cannot be read together."""
EXPIRES_S = 30 * 86400
"""Before a certificate expires, how long it is worth a word."""


class Finding(NamedTuple):
    """`subject` is a host, a port, a store; `code` a word for programs."""

    severity: str
    subject: str
    code: str
    finding: str
    repair: str


class Heard(NamedTuple):
    """A host's answer, and when it was asked and had answered: seconds since the epoch."""

    answer: JsonObject
    asked_s: float
    answered_s: float


ERROR, WARNING = "error", "warning"


def findings(
    world: World,
    heard: Mapping[str, Heard],
    now_s: float,
    underlay_mtu: int,
    *,
    silent: Mapping[str, int],
) -> list[Finding]:
    """All of them, errors first. `silent`: hosts that have not been heard of, and for how many
    seconds by the controller's clock."""
    alive = frozenset(world.heartbeats.keys() - silent.keys())
    found = [
        *_hosts(world, heard, silent, alive),
        *_pairs(world),
        *_numbers(world),
        *_ports(world),
        *_answers(world, heard, now_s, underlay_mtu, alive),
    ]
    return sorted(found, key=lambda one: (one.severity != ERROR, one.subject, one.code))


def _hosts(
    world: World, heard: Mapping[str, Heard], silent: Mapping[str, int], alive: frozenset[str]
) -> Iterator[Finding]:
    for host in sorted(world.hosts):
        heartbeat = world.heartbeats.get(host)
        if heartbeat is None:
            yield Finding(
                *(ERROR, host, "never-heard", f"{host} is a server and was never heard of"),
                f"on {host}: isthmus join, or systemctl start isthmus-agent",
            )
        elif host in silent:
            yield Finding(
                *(ERROR, host, "stale-host", f"{host} has been silent for {silent[host]} s"),
                f"on {host}: systemctl restart isthmus-agent; journalctl -u isthmus-agent. If the"
                f" host is gone for good: isthmus host remove {host}, then isthmus delete"
                f" /servers/{host}",
            )
        else:
            told = heard.get(host)
            answers = told is not None and not told.answer.get("error")
            yield from _said(host, heartbeat, alive, asked=answers)
    strangers = {*world.host_statuses, *world.heartbeats} - {*world.hosts}
    for host in sorted(strangers & silent.keys()):
        yield Finding(
            *(WARNING, host, "dead-host"),
            f"{host} is no server, and has been silent for {silent[host]} s: what it has said is"
            " still in the store",
            f"isthmus host remove {host}",
        )
    for host in sorted(strangers - silent.keys()):
        heartbeat = world.heartbeats.get(host)
        if host.startswith(SECOND_AGENT) and heartbeat is not None:
            yield Finding(
                *(ERROR, host, "second-agent", "; ".join(heartbeat.problems)),
                "on that machine: mend host in /etc/isthmus/isthmus.toml, then systemctl restart"
                " isthmus-agent",
            )
            continue
        yield Finding(
            *(WARNING, host, "unknown-host", f"{host} speaks, and is no server: peers ignore it"),
            f"isthmus apply a resource /servers/{host}; or stop its agent, then isthmus host"
            f" remove {host}",
        )
    addresses: dict[str, list[str]] = defaultdict(list)
    for status in world.host_statuses.values():
        for address in map(str, status.provider_addresses):
            addresses[address].append(status.host)
    for address, hosts in sorted(addresses.items()):
        if len(hosts) > 1:
            names = ", ".join(sorted(hosts))
            yield Finding(
                *(ERROR, address, "provider-address-twice", f"{names} say that they are {address}"),
                "give each its own provider_address in /etc/isthmus/isthmus.toml, and restart it",
            )


def _said(
    host: str, heartbeat: Heartbeat, alive: frozenset[str], *, asked: bool
) -> Iterator[Finding]:
    """What a host has said is wrong with it. `asked`: it has just answered as well, and what it
    says then of its underlay is newer."""
    for problem in shown(heartbeat.problems, alive):
        if asked and problem.code in (TUNNEL, TUNNEL_SOURCE, TUNNELS, PROVIDER_ADDRESS):
            continue
        repair = f"on {host}: {problem.repair}" if problem.repair else f"see the log on {host}"
        yield Finding(ERROR, host, problem.code, problem.finding, repair)


def _pairs(world: World) -> Iterator[Finding]:
    known = [status for status in world.host_statuses.values() if status.host in world.hosts]
    for one, other in combinations(sorted(known, key=lambda status: status.host), 2):
        if encapsulation(one.encapsulations, other.encapsulations) is None:
            yield Finding(
                *(ERROR, f"{one.host} {other.host}", "encapsulation-mismatch"),
                f"{one.host} speaks {','.join(one.encapsulations) or 'nothing'}, {other.host}"
                f" {','.join(other.encapsulations) or 'nothing'}: no packet goes between them",
                "give both one in common: encapsulations in /etc/isthmus/isthmus.toml, then"
                " systemctl restart isthmus-agent",
            )


def _numbers(world: World) -> Iterator[Finding]:
    by_vsid: dict[int, list[Segment]] = defaultdict(list)
    for segment in world.segments.values():
        by_vsid[segment.vsid].append(segment)
    for vsid, segments in sorted(by_vsid.items()):
        if len(segments) > 1 and vsid:
            names = ", ".join(sorted(segment.origin or segment.id for segment in segments))
            yield Finding(
                *(ERROR, f"VSID {vsid}", "vsid-collision", f"{names} have the same VSID {vsid}"),
                f"delete and apply again one of {names}: it gets another VSID",
            )
    by_rdid: dict[int, list[Router]] = defaultdict(list)
    for router in world.routers.values():
        by_rdid[router.rdid].append(router)
    for rdid, routers in sorted(by_rdid.items()):
        if len(routers) > 1:
            names = ", ".join(sorted(router.origin or router.id for router in routers))
            yield Finding(
                *(ERROR, f"RDID {rdid}", "rdid-collision", f"{names} are one routing domain"),
                f"delete and apply again one of {names}",
            )


def _ports(world: World) -> Iterator[Finding]:
    for port in sorted(world.ports):
        status = world.status_of(port)
        if status is not None and status.state is PortState.ERROR:
            yield Finding(
                *(ERROR, port, status.code, f"on {status.host}: {status.detail}"),
                f"isthmus explain port {port}",
            )
        for claim in world.claims_by_port.get(port, ()):
            if claim.host not in world.hosts:
                yield Finding(
                    *(WARNING, port, "unknown-claim"),
                    f"{claim.host}, which is no server, claims it; this is ignored",
                    f"isthmus apply a resource /servers/{claim.host}, or unplug it there",
                )


def _answers(
    world: World,
    heard: Mapping[str, Heard],
    now_s: float,
    underlay_mtu: int,
    alive: frozenset[str],
) -> Iterator[Finding]:
    by_address = {
        str(address): status
        for status in world.host_statuses.values()
        for address in status.provider_addresses
    }
    for host, told in sorted(heard.items()):
        if told.answer.get("error"):
            yield Finding(
                *(ERROR, host, "no-answer", str(told.answer["error"])),
                f"on {host}: systemctl status isthmus-agent openvswitch-switch",
            )
            continue
        yield from _clock(host, told)
        yield from _mtu(host, told.answer, underlay_mtu)
        peers = _Peers(world.host_statuses.get(host), by_address, alive)
        yield from _peers(host, told.answer, peers, underlay_mtu)
        yield from _certificate(host, told.answer, now_s)


def _clock(host: str, told: Heard) -> Iterator[Finding]:
    at = told.answer.get("timeUs")
    if not isinstance(at, int):
        return
    early, late = told.asked_s - at / 1e6, at / 1e6 - told.answered_s
    apart = max(early, late)
    if apart > CLOCK_S:
        word = "behind" if early > late else "ahead of"
        yield Finding(
            *(WARNING, host, "clock", f"its clock is {apart:.0f} s {word} the controller's"),
            f"on {host}: timedatectl set-ntp true; timedatectl timesync-status",
        )


def _mtu(host: str, answer: JsonObject, underlay_mtu: int) -> Iterator[Finding]:
    mtu, interface = answer.get("mtu"), answer.get("interface")
    if mtu == 0:
        yield Finding(
            *(ERROR, host, PROVIDER_ADDRESS, "no interface has its provider address"),
            f"on {host}: ip address add it to the underlay's interface, or mend provider_address in"
            " /etc/isthmus/isthmus.toml",
        )
    elif isinstance(mtu, int) and mtu < underlay_mtu:
        yield Finding(
            *(ERROR, host, "mtu"),
            f"{interface} has MTU {mtu}, the underlay is said to carry {underlay_mtu}",
            f"on {host}: ip link set {interface} mtu {underlay_mtu}; or lower underlay_mtu_bytes of"
            f" the controllers to {mtu}",
        )


class _Peers(NamedTuple):
    """What is known of those of whom a host tells, by provider address."""

    teller: HostStatus | None
    by_address: Mapping[str, HostStatus]
    alive: frozenset[str]

    def name(self, address: str) -> str:
        return self.by_address[address].host if address in self.by_address else address

    def encapsulation(self, address: str) -> str:
        """Of the pair; empty where that is not known."""
        peer = self.by_address.get(address)
        if self.teller is None or peer is None:
            return ""
        return encapsulation(self.teller.encapsulations, peer.encapsulations) or ""


def _peers(host: str, answer: JsonObject, peers: _Peers, underlay_mtu: int) -> Iterator[Finding]:
    unpinged = _texts(answer.get("unpinged"))
    for field, severity, code, text, repair in (
        (
            *("unreachable", ERROR, TUNNEL, "answers no packet through its tunnel"),
            "let {wire} pass between both, both ways; on {host}: ip route get {peer}",
        ),
        (
            *("tooSmall", ERROR, "path-mtu"),
            f"answers through its tunnel, but not to packets of {underlay_mtu} bytes",
            "on {host}: tracepath {peer}; raise the MTU on the way, or lower underlay_mtu_bytes",
        ),
        (
            *("unknown", WARNING, TUNNEL_UNKNOWN),
            "answers no questions through tunnels: whether packets pass is unknown",
            "an older isthmus agent there: upgrade it; another kind of switch: ping a port of it",
        ),
    ):
        for peer in _texts(answer.get(field)):
            name = peers.name(peer)
            if not is_news(code, name, peers.alive):
                continue
            wire = firewall_text(peers.encapsulation(peer))
            also = ", and it answers no ping" if field == "unknown" and peer in unpinged else ""
            yield Finding(
                *(severity, f"{host} {name}", code),
                f"{name} ({peer}) {text}{also}, asked from {host}",
                repair.format(host=host, peer=peer, wire=wire),
            )
    seen_as = answer.get("seenAs")
    for peer, seen in sorted(seen_as.items()) if isinstance(seen_as, Mapping) else ():
        name = peers.name(peer)
        yield Finding(
            *(ERROR, f"{host} {name}", TUNNEL_SOURCE),
            f"{name} ({peer}) sees the tunnel packets of {host} come from {seen}, and drops them",
            f"no address translation may be between hosts; on {host}: ip route get {peer}",
        )


def _texts(value: Json) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(map(str, value))) if isinstance(value, list | tuple) else []


def _certificate(host: str, answer: JsonObject, now_s: float) -> Iterator[Finding]:
    found = answer.get("certificate")
    if not isinstance(found, Mapping):
        return
    again = (
        f"where the authority is: isthmus certs host {host} --into FOLDER; on {host}:"
        " isthmus certs install FOLDER"
    )
    if found.get("error"):
        yield Finding(ERROR, host, "certificate", str(found["error"]), again)
        return
    name, expires_s = str(found.get("name")), found.get("expiresS")
    if name.lower() != host:
        yield Finding(*(ERROR, host, "certificate-name", f"its certificate is of {name!r}"), again)
    trusts, signed_by = found.get("trusts"), found.get("signedBy")
    if isinstance(trusts, Sequence) and trusts and signed_by != trusts[0]:
        text = (
            "its certificate is signed by an older authority than the newest that it trusts"
            if signed_by
            else "it does not trust the authority that signed its own certificate"
        )
        severity = WARNING if signed_by else ERROR
        yield Finding(severity, host, "certificate-authority", text, again)
    if isinstance(expires_s, int) and expires_s - now_s < EXPIRES_S:
        days = int((expires_s - now_s) // 86400)
        text = f"its certificate expires in {days} days" if days >= 0 else "it has expired"
        severity = WARNING if days >= 0 else ERROR
        yield Finding(severity, host, "certificate-dates", text, again)


def certificates_told(world: World, heard: Mapping[str, Heard]) -> dict[str, Json]:
    """By host with a certificate, which authority signed it and which it trusts, as thumbprints;
    None for a host that does not answer or cannot say. A server that was never heard of uses none:
    whether it was given one is in the authority's register."""
    found: dict[str, Json] = {}
    for host in sorted(world.host_statuses.keys() & world.hosts.keys()):
        told = heard[host].answer if host in heard else {}
        said = told.get("certificate")
        if "certificate" in told and said is None:
            continue  # it reaches the store by a socket of its own machine
        found[f"host {host}"] = None
        if isinstance(said, Mapping) and "signedBy" in said:
            found[f"host {host}"] = {
                "signedBy": said["signedBy"],
                "trusts": said.get("trusts", []),
            }
    return found


def physical_mtu(world: World) -> int:
    """What the underlay is said to carry; 1500 where nothing is said."""
    found = [r.mtu_bytes for r in world.table(PhysicalNetwork).values()]
    return min(found, default=1500)
