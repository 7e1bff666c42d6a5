# SPDX-License-Identifier: Apache-2.0
"""What is forged on the underlay arrives nowhere, with packets: by a host that has been taken over,
and by strangers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import NamedTuple

import pytest

from isthmus.addresses import mac_bytes
from isthmus_lab import frames
from isthmus_lab.rawsocket import Capture, send_frames
from isthmus_lab.underlay import Stranger
from tests.system.cloud import FAMILIES, HOSTS, Frame, Nic, RunningCloud, arrivals_at, until
from tests.system.forgeries import ALL_NODES, MACS, Attack, Scene, of_family
from tests.system.forging import AT_ONCE, attacked_cloud, has, honest

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with attacked_cloud() as made:
        yield made


# -- from the underlay -----------------------------------------------------------------------------

CLAIMED = {"vxlan": "victim2", "nvgre": "victim3"}
"""Whom h1 hears by which encapsulation."""


@pytest.fixture(scope="module")
def stranger(cloud: RunningCloud) -> Stranger:
    return cloud.lab.add_stranger("stranger", "172.31.0.66")


def vsid_of(cloud: RunningCloud, network: str, subnet: str = "web") -> int:
    found = cloud.north.get(f"/virtualNetworks/{network}/subnets/{subnet}")
    return int(found["properties"]["virtualSubnetId"])


class Tunnel(NamedTuple):
    """How a stranger's frame comes to h1."""

    stranger: Stranger
    encapsulation: str
    vsid: int
    source: str

    def wrap(self, inner: bytes) -> bytes:
        host = HOSTS[0]
        return frames.tunnelled(
            *(self.encapsulation, self.vsid, inner),
            (self.stranger.mac, self.source),
            (host.provider_mac, host.provider_address),
        )


def provider_of(cloud: RunningCloud, nic: Nic) -> str:
    return cloud.lab.host(nic.plan.host).spec.provider_address


@pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)
@pytest.mark.parametrize("encapsulation", CLAIMED)
def test_what_a_host_forges_for_its_guests_arrives_nowhere(
    cloud: RunningCloud, stranger: Stranger, encapsulation: str, family: int
) -> None:
    """A host that has been taken over sends from its own provider address all that a guest there
    could forge; the MAC address of its guests alone is not believed but set."""
    claimed = cloud[CLAIMED[encapsulation]]
    tunnel = Tunnel(stranger, encapsulation, vsid_of(cloud, "red"), provider_of(cloud, claimed))
    attacks = {
        name: attack
        for name, attack in of_family(family).items()
        if name not in MACS or name == "MAC and address of a peer"
    }
    left = iter(attacks.items())
    while part := dict(islice(left, AT_ONCE)):
        forged = injected(cloud, tunnel, claimed, family, part)
        assert wandered(cloud, tunnel, claimed, family, forged) == {}
    opened = {"MAC of a peer", "MAC of nobody", "MAC of the router"}
    forged = injected(cloud, tunnel, claimed, family, {name: MACS[name] for name in opened})
    victim = cloud["victim1"]
    with Capture(victim.guest.namespace, victim.guest.nic) as seen:
        found = wandered(cloud, tunnel, claimed, family, forged)
        assert {name.partition(",")[0] for name in found["victim1"]} == opened
        # Another capture has seen them, and the control.
        until(partial(has, seen, b"isthmus-", len(found["victim1"]) + 1))
        sources = {frame[6:12] for frame in seen.having(b"isthmus-")}
    assert sources == {mac_bytes(claimed.mac)}


@pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)
@pytest.mark.parametrize("encapsulation", CLAIMED)
def test_what_comes_by_a_false_way_arrives_nowhere(
    cloud: RunningCloud, stranger: Stranger, encapsulation: str, family: int
) -> None:
    """True packets of a guest, from provider addresses of others, or in other segments."""
    claimed = cloud[CLAIMED[encapsulation]]
    true = Tunnel(stranger, encapsulation, vsid_of(cloud, "red"), provider_of(cloud, claimed))
    ways = {
        "a stranger": true._replace(source=stranger.provider_address),
        "nobody": true._replace(source="172.31.0.99"),
        "its own host": true._replace(source=HOSTS[0].provider_address),
        "another tenant's segment": true._replace(vsid=vsid_of(cloud, "blue")),
        "another subnet's segment": true._replace(vsid=vsid_of(cloud, "red", "db")),
        "no segment": true._replace(vsid=0),
        "an unknown segment": true._replace(vsid=0xABCDE),
        "the other encapsulation's key": true._replace(
            vsid=true.vsid >> 8 if encapsulation == "nvgre" else true.vsid << 8 & 0xFFFFFF
        ),
        **{
            f"{host.name}": true._replace(source=host.provider_address)
            for host in HOSTS
            if host.provider_address != true.source
        },
    }
    honestly: dict[str, Attack] = {"true": lambda scene, mark: scene.datagram(mark)}
    forged = {
        f"{way}{name[4:]}": frame
        for way, tunnel in ways.items()
        for name, frame in injected(cloud, tunnel, claimed, family, honestly).items()
    }
    assert wandered(cloud, true, claimed, family, forged) == {}


def injected(
    cloud: RunningCloud, tunnel: Tunnel, claimed: Nic, family: int, attacks: Mapping[str, Attack]
) -> dict[str, Frame]:
    """Each forgery in a tunnel to h1, for two guests there and for all."""
    peer = next(cloud[name] for name in ("victim2", "victim3") if cloud[name] is not claimed)
    near, blue = cloud["victim1"], cloud["blue1"]
    targets = {
        "victim1": (near.address(family), near.mac),
        "blue1": (blue.address(family), blue.mac),
        "all": ALL_NODES[family == 6],
    }

    def wrapped(attack: Attack, scene: Scene, mark: bytes) -> tuple[bytes, ...]:
        built = attack(scene, mark)
        return tuple(map(tunnel.wrap, (built,) if isinstance(built, bytes) else built))

    return {
        f"{name}, for {whom}": partial(
            wrapped, attack, Scene(cloud, claimed, peer, *target, family)
        )
        for name, attack in attacks.items()
        for whom, target in targets.items()
    }


def wandered(
    cloud: RunningCloud, tunnel: Tunnel, claimed: Nic, family: int, forged: Mapping[str, Frame]
) -> dict[str, set[str]]:
    """What of `forged` arrives at h1's guests, by the receiver's name. The control comes from the
    stranger too, with all true: an underlay without source checks lets that pass
    (docs/security.md says so)."""
    near, blue, other = cloud["victim1"], cloud["blue1"], cloud["blue2"]
    stranger = tunnel.stranger
    allowed = honest(claimed, near, family)

    def control(mark: bytes) -> bytes:
        inner = allowed(mark)
        assert isinstance(inner, bytes)
        return tunnel.wrap(inner)

    def send(built: list[bytes]) -> None:
        send_frames(stranger.namespace, stranger.nic, built[:-1])
        other.send(built[-1:])

    found = arrivals_at(
        {near: ("control",), blue: ("allowed",)},
        send,
        {**forged, "control": control, "allowed": honest(other, blue, family)},
    )
    assert "control" in found["victim1"] and "allowed" in found["blue1"]
    extra = {name: names - {"control", "allowed"} for name, names in found.items()}
    return {name: names for name, names in extra.items() if names}
