# SPDX-License-Identifier: Apache-2.0
"""The one error of all decoders."""

from __future__ import annotations

from isthmus.errors import Invalid


class Malformed(Invalid):
    """Bytes that are no message of the protocol.

    Decoders raise nothing else, whatever the bytes. A process counts it and goes on, or closes the
    connection where the protocol gives no way to find the next message.
    """

    default_code = "Malformed"
