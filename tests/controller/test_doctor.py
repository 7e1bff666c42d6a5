# SPDX-License-Identifier: Apache-2.0
"""Each thing that can be wrong with a cloud is found once, and nothing in one that is well."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

from isthmus.controller.doctor import (
    ERROR,
    WARNING,
    Finding,
    Heard,
    certificates_told,
    findings,
    physical_mtu,
)
from isthmus.intent.model import Json
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import (
    Heartbeat,
    HostStatus,
    PhysicalNetwork,
    PortStatus,
    Router,
    Row,
    Segment,
)
from isthmus.reach.world import World
from tests.reach.cloud import port, red
from tests.switches.policy_rows import claim

NOW_S, MTU = 1_000_000.0, 1550
DAY_S = 86400
WEB = port("a", 4)
FINE: dict[str, Json] = {
    "timeUs": int(NOW_S * 1e6),
    "mtu": MTU,
    "interface": "eth0",
    "unreachable": [],
    "tooSmall": [],
}


class Watched(NamedTuple):
    rows: tuple[Row, ...]
    heard: Mapping[str, Heard]
    silent: Mapping[str, int] = MappingProxyType({})

    def found(self) -> list[Finding]:
        return findings(World(self.rows), self.heard, NOW_S, MTU, silent=self.silent)


def certificate(host: str, **other: Json) -> dict[str, Json]:
    return {"certificate": {"name": host, "expiresS": int(NOW_S) + 300 * DAY_S, **other}}


def well(*more: Row, says: Mapping[str, Mapping[str, Json]] | None = None) -> Watched:
    """Rows that come later replace those of the same key; `says` adds to a host's answer."""
    hosts = ("h1", "h2", "h3")
    beats = [Heartbeat(host=host, at_s=int(NOW_S) - 5) for host in hosts]
    heard = {
        host: Heard(
            {**FINE, **certificate(host), **(says or {}).get(host, {})}, NOW_S - 0.1, NOW_S + 0.1
        )
        for host in hosts
    }
    return Watched((*red(), *beats, WEB, claim(WEB, "h1"), *more), heard)


def without(cloud: Watched, row: type[Row], key: str) -> Watched:
    rows = tuple(one for one in cloud.rows if not (isinstance(one, row) and one.key == key))
    return cloud._replace(rows=rows)


def test_a_cloud_that_is_well_has_no_findings() -> None:
    assert well().found() == []


def authorities(signed_by: str, *trusts: str) -> dict[str, dict[str, Json]]:
    return {"h1": certificate("h1", signedBy=signed_by, trusts=trusts)}


def test_a_certificate_of_the_newest_authority_is_no_finding() -> None:
    assert well(says=authorities("new", "new", "old")).found() == []


@pytest.mark.parametrize(
    ("says", "severity"),
    [(authorities("old", "new", "old"), WARNING), (authorities("", "new"), ERROR)],
)
def test_a_certificate_of_an_old_or_a_retired_authority_is_found(
    says: dict[str, dict[str, Json]], severity: str
) -> None:
    (found,) = well(says=says).found()
    assert (found.severity, found.subject, found.code) == (severity, "h1", "certificate-authority")


def test_who_has_a_certificate_and_does_not_answer_is_told_as_unknown() -> None:
    cloud = well(status("h1", "172.31.0.1"), status("h2", "172.31.0.2"), says=authorities("a", "a"))
    heard = {"h1": cloud.heard["h1"]}
    assert certificates_told(World(cloud.rows), heard) == {
        "host h1": {"signedBy": "a", "trusts": ("a",)},
        **{f"host {name}": None for name in ("h2", "h3")},
    }


def status(host: str, address: str, speaks: str = "vxlan,nvgre") -> HostStatus:
    return HostStatus(host=host, provider_addresses=(address,), encapsulations=speaks)


def _segment(name: str, vsid: int) -> Segment:
    return Segment(id=name, physical_network="underlay", vsid=vsid, origin=f"/{name}")


BROKEN_TUNNEL = HostProblem(
    "unreachable-tunnel", "h1", "no VXLAN packet comes back from h1", "mend it"
)


def _beat(host: str, *problems: HostProblem) -> Heartbeat:
    return Heartbeat(host=host, at_s=int(NOW_S) - 5, problems=tuple(one.text for one in problems))


def without_answer(cloud: Watched, host: str) -> Watched:
    return cloud._replace(heard={name: one for name, one in cloud.heard.items() if name != host})


BROKEN = PortStatus(
    port=WEB.id, host="h1", segment=WEB.segment, state="error", code="PortBlocked", detail="why"
)


@pytest.mark.parametrize(
    ("cloud", "severity", "subject", "code", "text"),
    [
        (
            without(well(), Heartbeat, "h2"),
            *(ERROR, "h2", "never-heard", "h2 is a server and was never heard of"),
        ),
        (
            well()._replace(silent={"h2": 91}),
            *(ERROR, "h2", "stale-host", "h2 has been silent for 91 s"),
        ),
        (
            well(Heartbeat(host="h2", at_s=int(NOW_S), problems=("no bridge",))),
            *(ERROR, "h2", "host-problem", "no bridge"),
        ),
        (
            well(status("h9", "192.0.2.9")),
            *(WARNING, "h9", "unknown-host", "h9 speaks, and is no server: peers ignore it"),
        ),
        (
            well(status("h9", "192.0.2.9"))._replace(silent={"h9": 91}),
            *(WARNING, "h9", "dead-host"),
            "h9 is no server, and has been silent for 91 s: what it has said is still in the store",
        ),
        (
            well(status("h2", "192.0.2.1")),
            *(ERROR, "192.0.2.1", "provider-address-twice", "h1, h2 say that they are 192.0.2.1"),
        ),
        (
            well(status("h2", "192.0.2.2", "vxlan")),
            *(ERROR, "h2 h3", "encapsulation-mismatch"),
            "h2 speaks vxlan, h3 nvgre: no packet goes between them",
        ),
        (
            well(_segment("x", 9), _segment("y", 9), _segment("z", 0), _segment("zz", 0)),
            *(ERROR, "VSID 9", "vsid-collision", "/x, /y have the same VSID 9"),
        ),
        (
            well(Router(id="twin", rdid=1, mac=WEB.mac, origin="/twin")),
            *(ERROR, "RDID 1", "rdid-collision", "/twin, /virtualNetworks/red are one routing"),
        ),
        (well(BROKEN), ERROR, WEB.id, "PortBlocked", "on h1: why"),
        (
            well(claim(WEB, "h9")),
            *(WARNING, WEB.id, "unknown-claim", "h9, which is no server, claims it"),
        ),
        (
            well(says={"h2": {"error": "h2 did not answer in 3 s"}}),
            *(ERROR, "h2", "no-answer", "h2 did not answer in 3 s"),
        ),
        (
            well(says={"h2": {"timeUs": int((NOW_S - 10) * 1e6)}}),
            *(WARNING, "h2", "clock", "its clock is 10 s behind the controller's"),
        ),
        (
            well(says={"h2": {"timeUs": int((NOW_S + 10) * 1e6)}}),
            *(WARNING, "h2", "clock", "its clock is 10 s ahead of the controller's"),
        ),
        (
            well(says={"h2": {"mtu": 0}}),
            *(ERROR, "h2", "provider-address", "no interface has its provider address"),
        ),
        (
            well(says={"h2": {"mtu": 1500}}),
            *(ERROR, "h2", "mtu", "eth0 has MTU 1500, the underlay is said to carry 1550"),
        ),
        (
            well(says={"h2": {"unreachable": ["192.0.2.1"]}}),
            *(ERROR, "h2 h1", "unreachable-tunnel"),
            "h1 (192.0.2.1) answers no packet through its tunnel, asked from h2",
        ),
        (
            well(says={"h2": {"tooSmall": ["192.0.2.77"]}}),
            *(ERROR, "h2 192.0.2.77", "path-mtu"),
            "192.0.2.77 (192.0.2.77) answers through its tunnel, but not to packets of 1550 bytes",
        ),
        (
            well(says={"h2": {"unknown": ["192.0.2.1"]}}),
            *(WARNING, "h2 h1", "tunnel-unknown"),
            "h1 (192.0.2.1) answers no questions through tunnels: whether packets pass is unknown,",
        ),
        (
            well(says={"h2": {"unknown": ["192.0.2.1"], "unpinged": ["192.0.2.1"]}}),
            *(WARNING, "h2 h1", "tunnel-unknown"),
            "h1 (192.0.2.1) answers no questions through tunnels: whether packets pass is unknown,"
            " and it answers no ping, asked from h2",
        ),
        (
            well(says={"h2": {"seenAs": {"192.0.2.1": "192.0.2.99"}}}),
            *(ERROR, "h2 h1", "tunnel-source"),
            "h1 (192.0.2.1) sees the tunnel packets of h2 come from 192.0.2.99, and drops them",
        ),
        (
            well(_beat("h2", HostProblem("interface-no-port", "wbe", "tap0 names wbe", "set it"))),
            *(ERROR, "h2", "interface-no-port", "tap0 names wbe"),
        ),
        (
            without_answer(well(_beat("h2", BROKEN_TUNNEL)), "h2"),
            *(ERROR, "h2", "unreachable-tunnel", "no VXLAN packet comes back from h1"),
        ),
        (
            well(says={"h2": {"certificate": {"error": "cannot be read"}}}),
            *(ERROR, "h2", "certificate", "cannot be read"),
        ),
        (
            well(says={"h2": certificate("h3")}),
            *(ERROR, "h2", "certificate-name", "its certificate is of 'h3'"),
        ),
        (
            well(says={"h2": certificate("H2", expiresS=int(NOW_S) + 3 * DAY_S)}),
            *(WARNING, "h2", "certificate-dates", "its certificate expires in 3 days"),
        ),
        (
            well(says={"h2": certificate("h2", expiresS=int(NOW_S) - 1)}),
            *(ERROR, "h2", "certificate-dates", "it has expired"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_is_wrong_is_found_once_with_what_to_do(
    cloud: Watched, severity: str, subject: str, code: str, text: str
) -> None:
    (found,) = cloud.found()
    assert (found.severity, found.subject, found.code) == (severity, subject, code)
    assert found.finding.startswith(text)
    assert found.repair
    assert "{" not in found.repair


def test_a_broken_tunnel_is_said_once_and_not_of_a_host_that_is_silent() -> None:
    # It has just been asked, and its tunnels are well again.
    assert well(_beat("h2", BROKEN_TUNNEL)).found() == []
    cloud = without_answer(well(_beat("h2", BROKEN_TUNNEL))._replace(silent={"h1": 91}), "h2")
    assert [one.code for one in cloud.found()] == ["stale-host"]


@pytest.mark.parametrize("told", ["unreachable", "unknown"])
def test_nobody_who_lives_is_accused_of_the_tunnel_to_a_host_that_is_silent(told: str) -> None:
    """The one finding is the cause, whether the others have said so unasked or were asked."""
    says: dict[str, dict[str, Json]] = {name: {told: ["192.0.2.1"]} for name in ("h2", "h3")}
    cloud = well(_beat("h2", BROKEN_TUNNEL), _beat("h3", BROKEN_TUNNEL), says=says)
    cloud = without_answer(cloud, "h1")._replace(silent={"h1": 91})
    assert [(one.subject, one.code) for one in cloud.found()] == [("h1", "stale-host")]


@pytest.mark.parametrize(
    ("host", "peer", "wire"),
    [("h1", "192.0.2.2", "UDP port 4789 (VXLAN)"), ("h1", "192.0.2.3", "IP protocol 47 (NVGRE)")],
)
def test_the_repair_of_a_tunnel_names_what_the_pair_speaks(host: str, peer: str, wire: str) -> None:
    (found,) = well(says={host: {"unreachable": [peer]}}).found()
    assert found.repair.startswith(f"let {wire} pass between both")


def test_a_host_that_is_gone_for_good_is_removed_before_its_server() -> None:
    (found,) = well()._replace(silent={"h2": 91}).found()
    assert found.repair.endswith("isthmus host remove h2, then isthmus delete /servers/h2")


def test_errors_come_before_warnings() -> None:
    cloud = well(status("a9", "192.0.2.9"), BROKEN)
    assert [one.severity for one in cloud.found()] == [ERROR, WARNING]


def test_the_underlay_carries_what_its_smallest_network_does() -> None:
    assert physical_mtu(World(())) == 1500
    networks = [PhysicalNetwork(name=str(mtu), mtu_bytes=mtu) for mtu in (9000, 1600)]
    assert physical_mtu(World(networks)) == 1600


def test_a_host_that_answers_something_else_is_not_misread() -> None:
    odd: dict[str, Json] = {
        **{"timeUs": "soon", "mtu": None, "unreachable": 3, "tooSmall": None, "certificate": "x"}
    }
    assert well(says={"h1": odd}).found() == []
