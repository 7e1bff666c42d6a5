# SPDX-License-Identifier: Apache-2.0
"""Headers hold addresses, and both ends of one family."""

from __future__ import annotations

import msgspec
import pytest

from isthmus.wire.headers import Headers

SOUND: dict[str, object] = {
    **{"source_mac": "02:00:00:00:00:01", "destination_mac": "02:00:00:00:00:02"},
    **{"source": "10.0.0.1", "destination": "10.0.0.2", "protocol": 6},
}


def read(**change: object) -> Headers:
    return msgspec.json.decode(msgspec.json.encode(SOUND | change), type=Headers)


def test_the_family_is_that_of_both_ends() -> None:
    assert read().family == 4
    assert read(source="fd00::1", destination="fd00::2").family == 6


@pytest.mark.parametrize(
    "change",
    [
        {"source": "fe80::1%0,in_port=1", "destination": "fe80::2"},
        *({"source": "x"}, {"source": "fd00::1"}, {"destination": "10.0.0.300"}, {"ttl": 256}),
        *({"source_mac": "x"}, {"protocol": -1}, {"source_port": 65_536}, {"fragment": "middle"}),
    ],
)
def test_what_no_packet_can_have_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(**change)
