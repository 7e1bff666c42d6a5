# SPDX-License-Identifier: Apache-2.0
"""What things are called in policy, which knows no references to resources.

Names are made of resource ids in lower case: a router is called like its virtual network, a segment
``network/subnet``, a port like its networkInterface, a host like its server, a rule set like its
access control list, a group like its security tag.
"""

from __future__ import annotations

from isthmus.intent.model import Stored
from isthmus.intent.references import key_of


def name_of(stored: Stored) -> str:
    """The name of what a resource becomes."""
    return stored.resource_id.lower()


def named(ref: str | None) -> str:
    """The name of what a reference to a top-level resource becomes; empty for none."""
    return "" if ref is None else key_of(ref).rpartition("/")[2]


def segment_of(subnet_key: str) -> str:
    """``/virtualnetworks/v/subnets/s`` → ``v/s``."""
    _, _, network, _, subnet = subnet_key.split("/")
    return f"{network}/{subnet}"
