# SPDX-License-Identifier: Apache-2.0
"""Match fields: their headers, and that each is there once."""

from __future__ import annotations

import pytest

from isthmus.wire import oxm_fields
from isthmus.wire.oxm_fields import FIELDS, REG, XREG, XXREG, Field


@pytest.mark.parametrize(
    ("field", "exact", "masked"),
    [
        # OpenFlow 1.4 section 7.2.2.3: class, field and hasmask, length of what follows.
        (oxm_fields.IN_PORT, "80000004", "80000108"),
        (oxm_fields.ETH_DST, "80000606", "8000070c"),
        (oxm_fields.ETH_TYPE, "80000a02", "80000b04"),
        (oxm_fields.IPV6_SRC, "80003410", "80003520"),
        (oxm_fields.TUNNEL_ID, "80004c08", "80004d10"),
        (REG[5], "00010a04", "00010b08"),
        (XREG[4], "80010808", "80010910"),
        (XXREG[3], "0001e410", "0001e520"),
        # Behind an experimenter's header stands the experimenter.
        (oxm_fields.TCP_FLAGS, "ffff54064f4e4600", "ffff55084f4e4600"),
    ],
)
def test_a_field_has_the_header_that_openflow_gives_it(
    field: Field, exact: str, masked: str
) -> None:
    assert (field.exact.hex(), field.masked.hex()) == (exact, masked)


def test_every_field_of_the_module_is_listed_once() -> None:
    named = [one for one in vars(oxm_fields).values() if isinstance(one, Field)]
    assert len(FIELDS) == len(set(FIELDS))
    assert set(FIELDS) == {*named, *REG, *XREG, *XXREG}


def test_no_two_fields_have_one_header_or_name() -> None:
    assert len({one.exact for one in FIELDS}) == len(FIELDS)
    assert len({one.name for one in FIELDS}) == len(FIELDS)


def test_a_mask_of_all_bits_of_a_narrow_field_is_no_mask() -> None:
    assert oxm_fields.IP_FRAG.ones == 3
    assert oxm_fields.VLAN_VID.ones == 0x1FFF
    assert REG[0].ones == 0xFFFFFFFF
    assert XXREG[0].ones == (1 << 128) - 1
