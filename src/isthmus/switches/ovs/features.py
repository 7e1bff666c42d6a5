# SPDX-License-Identifier: Apache-2.0
"""The features of an Open vSwitch host, in the order in which their units feed each other."""

from __future__ import annotations

from isthmus.switches.ovs import (
    access_control,
    allowed,
    begun,
    dhcp,
    fixed,
    fragments,
    learned,
    networks,
    ports,
    probed,
    shown_drops,
    spoofing,
    tunnels,
    unreached,
)
from isthmus.switches.ovs.feature import Feature

FEATURES: tuple[Feature, ...] = (
    fixed.FEATURE,
    tunnels.FEATURE,
    networks.ROUTING,
    begun.FEATURE,
    access_control.FEATURE,
    spoofing.FEATURE,
    dhcp.FEATURE,
    ports.FEATURE,
    learned.FEATURE,
    unreached.FEATURE,
    networks.BROADCASTS,
    fragments.FEATURE,
    shown_drops.FEATURE,
    allowed.FEATURE,
    probed.FEATURE,
)
