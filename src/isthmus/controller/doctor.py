# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a cloud, each with the exact repair. Pure: from the network as it is known and
what hosts have answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from msgspec import UNSET

from isthmus.intent.model import Json
from isthmus.policy.answers import HealthAnswer, Reply
from isthmus.policy.host_kinds import kind_of
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
from isthmus.policy.rows import Heartbeat, HostStatus, Router, Segment
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

    reply: Reply[HealthAnswer]
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
            answers = told is not None and told.reply.answer is not None
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
    for address in sorted(world.hosts_by_address):
        hosts = world.hosts_by_address.get(address)
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
    for port in sorted({port for port, _ in world.wrong} & world.ports.keys()):
        status = world.status_of(port)
        if status is not None and status.state is PortState.ERROR:
            yield Finding(
                *(ERROR, port, status.code, f"on {status.host}: {status.detail}"),
                f"isthmus explain port {port}",
            )
    for port, host in world.unknown_claims():
        if port in world.ports:
            yield Finding(
                *(WARNING, port, "unknown-claim"),
                f"{host}, which is no server, claims it; this is ignored",
                f"isthmus apply a resource /servers/{host}, or unplug it there",
            )


def _answers(
    world: World,
    heard: Mapping[str, Heard],
    now_s: float,
    underlay_mtu: int,
    alive: frozenset[str],
) -> Iterator[Finding]:
    for host, told in sorted(heard.items()):
        answer, known = told.reply.answer, world.hosts.get(host)
        if answer is None:
            kind = None if known is None else known.kind
            yield Finding(
                *(ERROR, host, "no-answer", told.reply.error),
                f"on {host}: systemctl status {kind_of(kind).services}",
            )
            continue
        yield from _clock(host, answer, told)
        yield from _mtu(host, answer, underlay_mtu)
        peers = _Peers(world, world.host_statuses.get(host), alive)
        yield from _peers(host, answer, peers, underlay_mtu)
        yield from _certificate(host, answer, now_s)


def _clock(host: str, answer: HealthAnswer, told: Heard) -> Iterator[Finding]:
    if answer.time_us is UNSET:
        return
    at_s = answer.time_us / 1e6
    early, late = told.asked_s - at_s, at_s - told.answered_s
    apart = max(early, late)
    if apart > CLOCK_S:
        word = "behind" if early > late else "ahead of"
        yield Finding(
            *(WARNING, host, "clock", f"its clock is {apart:.0f} s {word} the controller's"),
            f"on {host}: timedatectl set-ntp true; timedatectl timesync-status",
        )


def _mtu(host: str, answer: HealthAnswer, underlay_mtu: int) -> Iterator[Finding]:
    mtu, interface = answer.mtu, answer.interface
    if mtu == 0:
        yield Finding(
            *(ERROR, host, PROVIDER_ADDRESS, "no interface has its provider address"),
            f"on {host}: ip address add it to the underlay's interface, or mend provider_address in"
            " /etc/isthmus/isthmus.toml",
        )
    elif mtu is not UNSET and mtu < underlay_mtu:
        yield Finding(
            *(ERROR, host, "mtu"),
            f"{interface} has MTU {mtu}, the underlay is said to carry {underlay_mtu}",
            f"on {host}: ip link set {interface} mtu {underlay_mtu}; or lower underlay_mtu_bytes of"
            f" the controllers to {mtu}",
        )


class _Peers(NamedTuple):
    """What is known of those of whom a host tells."""

    world: World
    teller: HostStatus | None
    alive: frozenset[str]

    def name(self, address: str) -> str:
        found = self.world.host_at(address)
        return address if found is None else found.host

    def encapsulation(self, address: str) -> str:
        """Of the pair; empty where that is not known."""
        peer = self.world.host_at(address)
        if self.teller is None or peer is None:
            return ""
        return encapsulation(self.teller.encapsulations, peer.encapsulations) or ""


def _peers(host: str, answer: HealthAnswer, peers: _Peers, underlay_mtu: int) -> Iterator[Finding]:
    for those, severity, code, text, repair in (
        (
            *(answer.unreachable, ERROR, TUNNEL, "answers no packet through its tunnel"),
            "let {wire} pass between both, both ways; on {host}: ip route get {peer}",
        ),
        (
            *(answer.too_small, ERROR, "path-mtu"),
            f"answers through its tunnel, but not to packets of {underlay_mtu} bytes",
            "on {host}: tracepath {peer}; raise the MTU on the way, or lower underlay_mtu_bytes",
        ),
        (
            *(answer.unknown, WARNING, TUNNEL_UNKNOWN),
            "answers no questions through tunnels: whether packets pass is unknown",
            "an older isthmus agent there: upgrade it; another kind of switch: ping a port of it",
        ),
    ):
        for peer in dict.fromkeys(those):
            name = peers.name(peer)
            if not is_news(code, name, peers.alive):
                continue
            wire = firewall_text(peers.encapsulation(peer))
            also = (
                ", and it answers no ping"
                if code == TUNNEL_UNKNOWN and peer in answer.unpinged
                else ""
            )
            yield Finding(
                *(severity, f"{host} {name}", code),
                f"{name} ({peer}) {text}{also}, asked from {host}",
                repair.format(host=host, peer=peer, wire=wire),
            )
    for peer, seen in sorted(answer.seen_as.items()):
        name = peers.name(peer)
        yield Finding(
            *(ERROR, f"{host} {name}", TUNNEL_SOURCE),
            f"{name} ({peer}) sees the tunnel packets of {host} come from {seen}, and drops them",
            f"no address translation may be between hosts; on {host}: ip route get {peer}",
        )


def _certificate(host: str, answer: HealthAnswer, now_s: float) -> Iterator[Finding]:
    found = answer.certificate
    if found is UNSET or found is None:
        return
    again = (
        f"where the authority is: isthmus certs host {host} --into FOLDER; on {host}:"
        " isthmus certs install FOLDER"
    )
    if found.error:
        yield Finding(ERROR, host, "certificate", found.error, again)
        return
    name, expires_s, signed_by = found.name, found.expires_s, found.signed_by
    if name.lower() != host:
        yield Finding(*(ERROR, host, "certificate-name", f"its certificate is of {name!r}"), again)
    if found.trusts and signed_by != found.trusts[0]:
        text = (
            "its certificate is signed by an older authority than the newest that it trusts"
            if signed_by
            else "it does not trust the authority that signed its own certificate"
        )
        severity = WARNING if signed_by else ERROR
        yield Finding(severity, host, "certificate-authority", text, again)
    if expires_s is not None and expires_s - now_s < EXPIRES_S:
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
        answer = heard[host].reply.answer if host in heard else None
        said = UNSET if answer is None else answer.certificate
        if said is None:
            continue  # it reaches the store by a socket of its own machine
        found[f"host {host}"] = None
        if said is not UNSET and said.signed_by is not UNSET:
            found[f"host {host}"] = {"signedBy": said.signed_by, "trusts": said.trusts}
    return found


def not_derived(failures: Json, foreign: str) -> list[Finding]:
    """What derivation could not do, and what resources say differently: of the controller that is
    asked. That rows were changed by somebody else (`foreign`) is a finding of its own."""
    repair = (
        "isthmus get what it names, and make it anew; journalctl -u isthmus-controller says more"
    )
    return [
        Finding(ERROR, "deriver", "derivation", text, repair)
        for text in dict.fromkeys(failures if isinstance(failures, list | tuple) else ())
        if isinstance(text, str)
        if text != foreign
    ]


def physical_mtu(world: World) -> int:
    """What the underlay is said to carry; 1500 where nothing is said."""
    return min((one.mtu_bytes for one in world.physical_networks.values()), default=1500)
