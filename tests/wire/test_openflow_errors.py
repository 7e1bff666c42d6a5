# SPDX-License-Identifier: Apache-2.0
"""Errors of a switch, by the names of Open vSwitch."""

from __future__ import annotations

import struct

import pytest

from isthmus.wire import openflow as of
from isthmus.wire.openflow_errors import switch_error
from tests.wire.switch_messages import message


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (struct.pack(">HH", 4, 9), "OFPBMC_BAD_PREREQ"),
        (struct.pack(">HH", 2, 10), "OFPBAC_MATCH_INCONSISTENT"),
        (struct.pack(">HH", 3, 2), "OFPBIC_BAD_TABLE_ID"),
        (struct.pack(">HH", 17, 13), "OFPBFC_MSG_FAILED"),
        (struct.pack(">HH", 12, 2), "OFPMMFC_INVALID_METER"),
        (struct.pack(">HHI", 0xFFFF, 15, 0x2320), "NXBAC_BAD_CONJUNCTION"),
        (struct.pack(">HH", 4, 99), "error type 4 code 99"),
        (
            struct.pack(">HHI", 0xFFFF, 7, 0x4F4E4600),
            "experimenter 0x4f4e4600 error type 65535 code 7",
        ),
    ],
)
def test_errors_have_the_names_of_open_vswitch(body: bytes, name: str) -> None:
    error = switch_error(message(of.Type.ERROR, body + b"what was sent"))
    assert error.name == name
    assert error.data == b"what was sent"
