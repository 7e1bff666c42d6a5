# SPDX-License-Identifier: Apache-2.0
"""What a guest forges arrives nowhere, with packets; and what is true passes in every shape."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from isthmus_lab import frames6, packets
from tests.system.cloud import FAMILIES, RunningCloud
from tests.system.forgeries import FORGERIES, Attack, Scene, fragment4, fresh_numbers, ipv4, snapped
from tests.system.forging import assert_closed, assert_open, attacked_cloud

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with attacked_cloud() as made:
        yield made


@pytest.mark.parametrize("what", FORGERIES, ids=": ".join)
def test_what_a_guest_forges_arrives_nowhere(cloud: RunningCloud, what: tuple[str, str]) -> None:
    family = 4 if what[0] in ("IPv4", "ARP") else 6
    assert_closed(cloud, "attacker", family, {what[1]: FORGERIES[what]})


def optional(scene: Scene, mark: bytes) -> bytes:
    """A datagram with options, or behind some."""
    if scene.family == 4:
        return ipv4(scene, mark, scene.own, options=8)
    headers = frames6.options_header(60) + frames6.options_header(17)
    datagram = packets.udp(scene.own, scene.destination, (7, 9), mark)[40:]
    return scene.frame(
        packets.ipv6(scene.own, scene.destination, frames6.HOP_BY_HOP, headers + datagram)
    )


def echo_in_fragments(scene: Scene, mark: bytes) -> tuple[bytes, ...]:
    """An echo request. The first fragment, which could be taken for something else, has the mark
    as padding."""
    ends = scene.own, scene.destination
    kind = 8 if scene.family == 4 else 128
    whole = packets.icmp(*ends, kind, 0, struct.pack("!HH", next(fresh_numbers), 1) + bytes(100))
    if scene.family == 6:
        one, other = frames6.fragments(*ends, 58, whole[40:], 64, identifier=next(fresh_numbers))
    else:
        one = fragment4(scene, whole[20:][:64], 0, protocol=1, more=True)
        other = fragment4(scene, whole[20:][64:], 64, protocol=1, more=False)
    return scene.frame(one) + mark, scene.frame(other)


@pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)
def test_what_is_true_passes_in_every_shape(cloud: RunningCloud, family: int) -> None:
    shapes: dict[str, Attack] = {
        "options": optional,
        "fragments": echo_in_fragments,
        "unknown protocol": lambda s, mark: s.frame(packets.ip(s.own, s.destination, 99, mark)),
        "SNAP": lambda s, mark: snapped(s.datagram(mark)),
    }
    assert_open(cloud, "attacker", family, shapes)
