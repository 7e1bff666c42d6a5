# SPDX-License-Identifier: Apache-2.0
"""OpenFlow errors: how they are read, and what they are called.

Names are Open vSwitch's, as its log and ovs-ofctl(8) print them. Standard: OpenFlow 1.4 section
7.5.4.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow import Message, Type
from isthmus.wire.openflow_actions import NICIRA

_HEAD = Struct(">HH")
_EXPERIMENTER_TYPE = 0xFFFF

# fmt: off
_NAMES: dict[int, tuple[str, tuple[str, ...]]] = {
    0: ("OFPHFC", ("INCOMPATIBLE", "EPERM")),
    1: ("OFPBRC", (
        "BAD_VERSION", "BAD_TYPE", "BAD_STAT", "BAD_VENDOR", "BAD_SUBTYPE", "EPERM", "BAD_LEN",
        "BUFFER_EMPTY", "BUFFER_UNKNOWN", "BAD_TABLE_ID", "IS_SECONDARY", "BAD_PORT", "BAD_PACKET",
        "MULTIPART_BUFFER_OVERFLOW", "MULTIPART_REQUEST_TIMEOUT", "MULTIPART_REPLY_TIMEOUT")),
    2: ("OFPBAC", (
        "BAD_TYPE", "BAD_LEN", "BAD_VENDOR", "BAD_VENDOR_TYPE", "BAD_OUT_PORT", "BAD_ARGUMENT",
        "EPERM", "TOO_MANY", "BAD_QUEUE", "BAD_OUT_GROUP", "MATCH_INCONSISTENT",
        "UNSUPPORTED_ORDER", "BAD_TAG", "BAD_SET_TYPE", "BAD_SET_LEN", "BAD_SET_ARGUMENT")),
    3: ("OFPBIC", (
        "UNKNOWN_INST", "UNSUP_INST", "BAD_TABLE_ID", "UNSUP_METADATA", "UNSUP_METADATA_MASK",
        "BAD_EXPERIMENTER", "BAD_EXP_TYPE", "BAD_LEN", "EPERM", "DUP_INST")),
    4: ("OFPBMC", (
        "BAD_TYPE", "BAD_LEN", "BAD_TAG", "BAD_DL_ADDR_MASK", "BAD_NW_ADDR_MASK", "BAD_WILDCARDS",
        "BAD_FIELD", "BAD_VALUE", "BAD_MASK", "BAD_PREREQ", "DUP_FIELD", "EPERM")),
    5: ("OFPFMFC", (
        "UNKNOWN", "TABLE_FULL", "BAD_TABLE_ID", "OVERLAP", "EPERM", "BAD_TIMEOUT", "BAD_COMMAND",
        "BAD_FLAGS", "CANT_SYNC", "BAD_PRIORITY", "IS_SYNC")),
    10: ("OFPSCFC", ("BAD_FLAGS", "BAD_LEN", "EPERM")),
    12: ("OFPMMFC", (
        "UNKNOWN", "METER_EXISTS", "INVALID_METER", "UNKNOWN_METER", "BAD_COMMAND", "BAD_FLAGS",
        "BAD_RATE", "BAD_BURST", "BAD_BAND", "BAD_BAND_VALUE", "OUT_OF_METERS", "OUT_OF_BANDS")),
    14: ("OFPBPC", (
        "BAD_TYPE", "BAD_LEN", "BAD_VALUE", "TOO_MANY", "DUP_TYPE", "BAD_EXPERIMENTER",
        "BAD_EXP_TYPE", "BAD_EXP_VALUE", "EPERM")),
    15: ("OFPACFC", ("INVALID", "UNSUPPORTED", "EPERM")),
    17: ("OFPBFC", (
        "UNKNOWN", "EPERM", "BAD_ID", "BUNDLE_EXIST", "BUNDLE_CLOSED", "OUT_OF_BUNDLES",
        "BAD_TYPE", "BAD_FLAGS", "MSG_BAD_LEN", "MSG_BAD_XID", "MSG_UNSUP", "MSG_CONFLICT",
        "MSG_TOO_MANY", "MSG_FAILED", "TIMEOUT", "BUNDLE_IN_PROGRESS")),
}

_NICIRA_NAMES = {
    2: "NXBRC_NXM_INVALID", 3: "NXBRC_NXM_BAD_TYPE", 4: "NXBRC_MUST_BE_ZERO", 5: "NXBRC_BAD_REASON",
    10: "NXBRC_UNENCODABLE_ERROR", 11: "NXBAC_MUST_BE_ZERO", 12: "NXFMFC_HARDWARE",
    13: "NXFMFC_BAD_TABLE_ID", 15: "NXBAC_BAD_CONJUNCTION", 22: "OFPBFC_BAD_VERSION",
    34: "NXR_NOT_SUPPORTED", 35: "NXR_STALE", 37: "NXFMFC_INVALID_TLV_FIELD",
    42: "NXBAC_CT_DATAPATH_SUPPORT", 43: "NXBMC_CT_DATAPATH_SUPPORT",
}
# fmt: on


class SwitchError(NamedTuple):
    """An error message. `data` is at least the first 64 bytes of the message that it answers."""

    type: int
    code: int
    experimenter: int
    data: bytes

    @property
    def name(self) -> str:
        """``OFPBMC_BAD_PREREQ``, or the numbers where there is no name."""
        prefix, codes = _NAMES.get(self.type, ("", ()))
        if self.experimenter == NICIRA and self.code in _NICIRA_NAMES:
            return _NICIRA_NAMES[self.code]
        if self.experimenter == 0 and self.code < len(codes):
            return f"{prefix}_{codes[self.code]}"
        vendor = f"experimenter {self.experimenter:#x} " if self.experimenter else ""
        return f"{vendor}error type {self.type} code {self.code}"


METER_EXISTS = (12, 1)
UNKNOWN_METER = (12, 3)
BUNDLE_MESSAGE_FAILED = (17, 13)


def switch_error(message: Message) -> SwitchError:
    """Read an error message. Raises Malformed."""
    if message.type != Type.ERROR or len(message.body) < 4:
        raise Malformed(f"not an OpenFlow error message: type {message.type}, {message.body.hex()}")
    kind, code = _HEAD.unpack_from(message.body)
    if kind != _EXPERIMENTER_TYPE:
        return SwitchError(kind, code, 0, message.body[4:])
    if len(message.body) < 8:
        raise Malformed("an OpenFlow experimenter error is cut short")
    return SwitchError(kind, code, int.from_bytes(message.body[4:8], "big"), message.body[8:])
